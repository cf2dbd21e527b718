"""The protocols: who is asked about, from where, what is hidden, and that no part sees another's answer."""

from datetime import date, datetime

import polars as pl
import pytest

from recsys.errors import DataError
from recsys.features.definition import FeatureConfig, define
from recsys.features.examples import EvaluationConfig, Learning, Part, cuts, fitting_holdings, protocol_examples
from recsys.features.features import features
from recsys.lake.store import Lake
from tests.conftest import SmallBank

IDS = [f"C{i:03d}" for i in range(300)]
PARTS: tuple[Part, ...] = ("train", "validation", "test")


def holdings(n: int = 3) -> dict[str, pl.DataFrame]:
    pairs = [(c, f"P{(i + j) % 7}") for i, c in enumerate(IDS) for j in range(n)]
    return {
        "customers": pl.DataFrame({"customer_id": IDS}),
        "interactions": pl.DataFrame(pairs, schema=["customer_id", "product_id"], orient="row").with_columns(
            kind=pl.lit("holds")
        ),
    }


def test_hold_one_out_parts_are_disjoint_and_cover_everyone() -> None:
    config = EvaluationConfig(protocol="hold_one_out", seed=4)
    parts = {part: protocol_examples(holdings(), config, part, None) for part in PARTS}
    customers = {part: set(examples["customer_id"]) for part, examples in parts.items()}
    assert set.union(*customers.values()) == set(IDS)
    assert sum(map(len, customers.values())) == len(IDS)
    assert 0.12 < len(customers["test"]) / len(IDS) < 0.28
    assert parts["test"].height == len(customers["test"])
    assert parts["test"]["hidden"].to_list() == parts["test"]["targets"].to_list()
    per_customer = parts["train"].group_by("customer_id").agg(pl.len(), pl.col("weight").sum())
    assert per_customer["len"].unique().to_list() == [3]
    assert per_customer["weight"].to_list() == pytest.approx([1.0] * per_customer.height)


def test_hold_one_out_does_not_depend_on_the_company_and_does_on_the_seed() -> None:
    config = EvaluationConfig(protocol="hold_one_out", seed=4)
    test = protocol_examples(holdings(), config, "test", None)
    some = {name: table.filter(pl.col("customer_id") < "C100").reverse() for name, table in holdings().items()}
    assert protocol_examples(some, config, "test", None).equals(test.filter(pl.col("customer_id") < "C100"))
    other = protocol_examples(holdings(), config.model_copy(update={"seed": 5}), "test", None)
    assert set(other["customer_id"]) != set(test["customer_id"])


def test_baselines_never_see_a_test_customer() -> None:
    config = EvaluationConfig(protocol="hold_one_out")
    fitted = set(fitting_holdings(holdings(), config, None)["customer_id"])
    tested = set(protocol_examples(holdings(), config, "test", None)["customer_id"])
    assert tested and not fitted & tested and fitted | tested == set(IDS)


def sequence() -> dict[str, pl.DataFrame]:
    rows = [("long", f"P{i}", i) for i in range(1, 7)] + [("short", "P1", 1), ("short", "P2", 2)]
    return {
        "customers": pl.DataFrame({"customer_id": ["long", "short"]}),
        "interactions": pl.DataFrame(rows, schema=["customer_id", "product_id", "position"], orient="row")
        .with_columns(kind=pl.lit("acquired"))
        .reverse(),
    }


def test_leave_last_out_takes_the_last_two_and_trains_on_every_prefix() -> None:
    config = EvaluationConfig(protocol="leave_last_out")
    test, validation, train = (protocol_examples(sequence(), config, p, None) for p in ("test", "validation", "train"))
    assert test["targets"].to_list() == [["P6"]] and test["position"].to_list() == [6]
    assert validation["targets"].to_list() == [["P5"]] and validation["position"].to_list() == [5]
    assert train["targets"].to_list() == [["P2"], ["P3"], ["P4"]]
    assert fitting_holdings(sequence(), config, None)["holdings"].to_list() == [["P1", "P2", "P3", "P4"]]


def test_leave_last_out_refuses_a_source_without_order() -> None:
    with pytest.raises(DataError, match="position"):
        protocol_examples(holdings(), EvaluationConfig(protocol="leave_last_out"), "test", None)


def dated(*events: tuple[str, str, str, date]) -> dict[str, pl.DataFrame]:
    interactions = pl.DataFrame(events, schema=["customer_id", "product_id", "kind", "at"], orient="row")
    return {
        "customers": interactions.select("customer_id").unique(),
        "interactions": interactions.with_columns(pl.col("at").cast(pl.Datetime("us"))),
    }


UNTIL = date(2024, 7, 1)
TEMPORAL = EvaluationConfig(protocol="temporal", horizon_days=30, snapshots=2, stride_days=10)


def test_temporal_horizons_end_before_the_next_part_begins() -> None:
    days = cuts(TEMPORAL, UNTIL)
    assert days["test"] == (date(2024, 6, 1),) and days["validation"] == (date(2024, 5, 2),)
    assert days["train"] == (date(2024, 3, 23), date(2024, 4, 2))


def test_temporal_targets_are_new_products_of_known_customers() -> None:
    tables = dated(
        ("a", "card", "acquired", date(2024, 1, 1)),
        ("a", "card", "acquired", date(2024, 6, 10)),  # held already
        ("a", "loan", "acquired", date(2024, 6, 30)),
        ("a", "fund", "viewed", date(2024, 6, 5)),
        ("b", "loan", "acquired", date(2024, 6, 2)),  # unknown before the cut
        ("c", "loan", "viewed", date(2024, 5, 1)),
        ("c", "fund", "acquired", date(2024, 6, 1)),  # the first day counts
        ("d", "card", "acquired", date(2024, 2, 1)),
        ("d", "card", "closed", date(2024, 3, 1)),
        ("d", "card", "acquired", date(2024, 6, 3)),  # taken again after closing
    )
    test = protocol_examples(tables, TEMPORAL, "test", UNTIL)
    assert dict(zip(test["customer_id"], test["targets"].to_list(), strict=True)) == {
        "a": ["loan"],
        "c": ["fund"],
        "d": ["card"],
    }
    assert test["as_of"].unique().to_list() == [date(2024, 6, 1)]


def test_training_learns_from_customers_on_their_first_day_too() -> None:
    tables = dated(
        ("early", "card", "acquired", date(2024, 3, 22)),  # a customer at the first cut
        ("early", "loan", "acquired", date(2024, 3, 30)),
        ("first", "card", "acquired", date(2024, 3, 23)),
        ("between", "fund", "viewed", date(2024, 3, 28)),
        ("between", "card", "acquired", date(2024, 3, 29)),
        ("between", "loan", "acquired", date(2024, 4, 26)),  # the horizon's last day, from the first day on
        ("between", "fund", "acquired", date(2024, 4, 27)),
        ("last", "loan", "acquired", date(2024, 4, 2)),
        ("late", "loan", "acquired", date(2024, 4, 3)),
        ("looks", "loan", "viewed", date(2024, 3, 25)),
    )

    def asked(part: Learning, newcomers: bool) -> set[tuple[str, date, tuple[str, ...]]]:
        config = TEMPORAL.model_copy(update={"newcomers": newcomers})
        found = protocol_examples(tables, config, part, UNTIL).select("customer_id", "as_of", "targets").iter_rows()
        return {(customer, day, tuple(targets)) for customer, day, targets in found}

    assert asked("train", True) - asked("train", False) == {
        ("first", date(2024, 3, 23), ("card",)),
        ("between", date(2024, 3, 28), ("card", "loan")),
        ("last", date(2024, 4, 2), ("loan",)),
    }
    assert asked("train", False) <= asked("train", True)
    assert ("late", date(2024, 4, 3), ("loan",)) in asked("refit", True) - asked("refit", False)
    for part in ("validation", "test"):
        assert asked(part, True) == asked(part, False)


def test_of_a_newcomer_nothing_is_seen(small_bank: SmallBank) -> None:
    lake = Lake.open(small_bank.lake)
    definition = define(lake, FeatureConfig())
    config = EvaluationConfig(horizon_days=92)
    tables = lake.bucket(0)
    known, both = (
        protocol_examples(tables, config.model_copy(update={"newcomers": new}), "train", lake.as_of)
        for new in (False, True)
    )
    new = both.join(known, on=["customer_id", "as_of"], how="anti")
    assert new.height and known.height + new.height == both.height
    rows = features(tables, new, definition)
    for name in ("holdings", "history"):
        assert rows[name].list.len().sum() == 0
    assert (features(tables, known, definition)["history"].list.len() > 0).all()


def test_what_happens_after_the_validation_horizon_changes_no_training_example() -> None:
    early = [(c, "card", "acquired", date(2024, 3, 1)) for c in "abc"] + [
        (c, "loan", "acquired", date(2024, 4, 10)) for c in "ab"
    ]
    late = [(c, p, "acquired", date(2024, 6, 2)) for c in "abc" for p in ("fund", "loan")]
    for part in ("train", "validation"):
        before = protocol_examples(dated(*early), TEMPORAL, part, UNTIL)
        assert before.equals(protocol_examples(dated(*early, *late), TEMPORAL, part, UNTIL))


def test_temporal_refuses_a_lake_without_dates() -> None:
    with pytest.raises(DataError, match="hold_one_out"):
        protocol_examples(holdings(), EvaluationConfig(protocol="temporal"), "test", None)


def test_datetimes_of_the_last_day_count() -> None:
    tables = dated(("a", "card", "acquired", date(2024, 1, 1)))
    last = pl.DataFrame(
        {"customer_id": ["a"], "product_id": ["loan"], "kind": ["acquired"], "at": [datetime(2024, 6, 30, 23, 59)]},
        schema_overrides={"at": pl.Datetime("us")},
    )
    tables["interactions"] = pl.concat([tables["interactions"], last])
    assert protocol_examples(tables, TEMPORAL, "test", UNTIL)["targets"].to_list() == [["loan"]]


GIVEN = EvaluationConfig(protocol="given", folds=3)


def given() -> dict[str, pl.DataFrame]:
    """Customers with 1, 2, 7 and 20 products and two test rows each; `new` has test rows only."""
    sizes = {"one": 1, "two": 2, "seven": 7, "twenty": 20, "new": 0}
    rows = [(c, f"P{i:02d}", False) for c, n in sizes.items() for i in range(n)]
    rows += [(c, f"P{i:02d}", True) for c in sizes for i in (30, 31)]
    interactions = pl.DataFrame(rows, schema=["customer_id", "product_id", "test"], orient="row")
    return {
        "customers": pl.DataFrame({"customer_id": list(sizes)}),
        "interactions": interactions.with_columns(kind=pl.lit("holds")),
    }


def test_given_asks_for_exactly_the_test_rows() -> None:
    test = protocol_examples(given(), GIVEN, "test", None)
    assert test["customer_id"].to_list() == ["new", "one", "seven", "twenty", "two"]
    assert all(targets == ["P30", "P31"] for targets in test["targets"].to_list())
    assert test["hidden"].list.len().sum() == 0


def test_given_never_shows_a_test_row() -> None:
    asked = [protocol_examples(given(), GIVEN, part, None) for part in ("train", "validation", "refit")]
    named = pl.concat([examples.select(pl.concat_list("targets", "hidden")) for examples in asked])
    assert not set(named.to_series().explode()) & {"P30", "P31"}
    assert not set(fitting_holdings(given(), GIVEN, None)["holdings"].explode()) & {"P30", "P31"}
    changed = given()
    changed["interactions"] = changed["interactions"].with_columns(
        product_id=pl.when("test").then(pl.lit("P99")).otherwise("product_id")
    )
    for part, examples in zip(("train", "validation", "refit"), asked, strict=True):
        assert protocol_examples(changed, GIVEN, part, None).equals(examples)


def test_given_keeps_a_tenth_of_each_customers_products_for_validation() -> None:
    validation, train = (protocol_examples(given(), GIVEN, part, None) for part in ("validation", "train"))
    kept = dict(zip(validation["customer_id"], validation["targets"].to_list(), strict=True))
    assert {customer: len(products) for customer, products in kept.items()} == {"seven": 1, "twenty": 2}
    for customer, targets, hidden in train.select("customer_id", "targets", "hidden").iter_rows():
        assert set(hidden) == {*targets, *kept.get(customer, [])} and not {*targets} & {*kept.get(customer, [])}


def test_given_asks_for_each_part_of_what_a_customer_has_from_the_others() -> None:
    for part, count in (
        ("train", {"seven": 6, "twenty": 18, "two": 2}),
        ("refit", {"seven": 7, "twenty": 20, "two": 2}),
    ):
        found = protocol_examples(given(), GIVEN, part, None)
        per = found.group_by("customer_id").agg(pl.len(), pl.col("weight").sum(), pl.col("targets").explode())
        for customer, folds, weight, targets in per.iter_rows():
            assert folds == min(3, count[customer]) and weight == pytest.approx(1.0)
            assert len(targets) == len(set(targets)) == count[customer], "each product is asked for once"
        assert set(per["customer_id"]) == set(count), "one product has nothing to be found from"


@pytest.mark.parametrize("protocol", ["hold_one_out", "leave_last_out", "temporal"])
def test_test_rows_and_protocol_must_agree(protocol: str) -> None:
    with pytest.raises(DataError, match="column `test`"):
        protocol_examples(given(), EvaluationConfig(protocol=protocol), "train", date(2024, 1, 1))
    with pytest.raises(DataError, match="leave_last_out"):
        protocol_examples(sequence(), GIVEN, "train", None)


def test_a_refit_learns_from_training_and_validation_together() -> None:
    last = EvaluationConfig(protocol="leave_last_out", refit=True)
    refit = protocol_examples(sequence(), last, "refit", None)
    assert refit["targets"].to_list() == [["P2"], ["P3"], ["P4"], ["P5"]]
    assert fitting_holdings(sequence(), last, None)["holdings"].to_list() == [["P1", "P2", "P3", "P4", "P5"]]
    hold = EvaluationConfig(protocol="hold_one_out", seed=4)
    parts = {p: set(protocol_examples(holdings(), hold, p, None)["customer_id"]) for p in (*PARTS, "refit")}
    assert parts["refit"] == parts["train"] | parts["validation"]
    rows = [("a", "card", "acquired", date(2024, 1, 1)), ("a", "loan", "acquired", date(2024, 4, 10))]
    rows += [("a", "fund", "acquired", date(2024, 5, 9)), ("a", "home", "acquired", date(2024, 6, 9))]
    together = [protocol_examples(dated(*rows), TEMPORAL, p, UNTIL) for p in ("train", "validation")]
    found = protocol_examples(dated(*rows), TEMPORAL, "refit", UNTIL)
    assert found.height == sum(part.height for part in together) and "home" not in found["targets"].explode()
