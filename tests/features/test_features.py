"""The promises of `features`: only the past, nothing hidden, the same row in any company and any order."""

from datetime import date, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from recsys.features.definition import Column, FeatureDefinition
from recsys.features.examples import scoring_examples
from recsys.features.features import features

DAY = date(2024, 7, 1)
CUSTOMERS = 200
PRODUCTS = [f"P{i}" for i in range(8)]


def definition(**changes: object) -> FeatureDefinition:
    values: dict[str, object] = dict(
        dated=True,
        windows=(7, 30, 90, 365),
        history_length=5,
        profile=(
            Column(name="born", kind="date"),
            Column(name="income", kind="number"),
            Column(name="interests", kind="tags"),
            Column(name="occupation", kind="category"),
        ),
        product_attributes=(),
        holdings=True,
        holdings_length=128,
        interaction_kinds=("acquired", "closed", "viewed"),
        history_kinds=("acquired", "closed", "viewed"),
        transactions=True,
        transaction_categories=("food", "travel"),
        transaction_channels=("card",),
        contacts=True,
        contact_channels=("email",),
        balances=True,
        accounts=True,
    )
    return FeatureDefinition.model_validate(values | changes)


def times(rng: np.random.Generator, n: int, start: int, end: int) -> list[datetime]:
    """Random minutes from `start` to `end` days before the day."""
    midnight = datetime(DAY.year, DAY.month, DAY.day)
    return [midnight - timedelta(minutes=int(m)) for m in rng.integers(end * 1440 + 1, start * 1440, n)]


def bank(seed: int = 0, start: int = 500, end: int = 0, prefix: str = "") -> dict[str, pl.DataFrame]:
    """Random rows of every table between two ages in days; a joint account for every tenth customer."""
    rng = np.random.default_rng(seed)
    ids = [f"C{i:04d}" for i in range(CUSTOMERS)]
    someone = lambda n: [ids[i] for i in rng.integers(0, CUSTOMERS, n)]  # noqa: E731
    some = lambda words, n: [words[i] for i in rng.integers(0, len(words), n)]  # noqa: E731
    customers = pl.DataFrame(
        {
            "customer_id": ids,
            "born": [date(1950, 1, 1) + timedelta(days=int(d)) for d in rng.integers(0, 20_000, CUSTOMERS)],
            "income": [None if i % 7 == 0 else float(i) for i in range(CUSTOMERS)],
            "interests": [["golf", "opera"][: i % 3] for i in range(CUSTOMERS)],
            "occupation": some(["clerk", "nurse", None], CUSTOMERS),
        }
    )
    accounts = [f"A{i:04d}" for i in range(CUSTOMERS)]
    holders = pl.DataFrame({"account_id": accounts + accounts[::10], "customer_id": ids + ids[1::10]})
    n = 3000
    return {
        "customers": customers,
        "products": pl.DataFrame({"product_id": PRODUCTS}),
        "accounts": pl.DataFrame(
            {"account_id": accounts, "product_id": some(PRODUCTS, CUSTOMERS), "opened": [date(2020, 1, 1)] * CUSTOMERS}
        ),
        "account_holders": holders,
        "interactions": pl.DataFrame(
            {
                "customer_id": someone(n),
                "product_id": some(PRODUCTS, n),
                "kind": some(["acquired", "closed", "viewed"], n),
                "at": times(rng, n, start, end),
                "event_id": [f"{prefix}i{i}" for i in range(n)],
            },
            schema_overrides={"at": pl.Datetime("us")},
        ),
        "transactions": pl.DataFrame(
            {
                "account_id": some(accounts, n),
                "at": times(rng, n, start, end),
                "amount": rng.integers(-50_000, 50_000, n),
                "category": some(["food", "travel", "other", None], n),
                "channel": some(["card", "branch"], n),
                "event_id": [f"{prefix}t{i}" for i in range(n)],
            },
            schema_overrides={"at": pl.Datetime("us")},
        ),
        "balances": pl.DataFrame(
            {"account_id": some(accounts, n), "at": times(rng, n, start, end), "amount": rng.integers(0, 10**6, n)},
            schema_overrides={"at": pl.Datetime("us")},
        ),
        "campaigns": pl.DataFrame({"campaign_id": ["K0", "K1"], "product_id": ["P0", None]}),
        "contacts": pl.DataFrame(
            {
                "contact_id": [f"{prefix}c{i}" for i in range(n)],
                "customer_id": someone(n),
                "campaign_id": some(["K0", "K1"], n),
                "at": times(rng, n, start, end),
                "channel": some(["email", "phone"], n),
                "contacted": some([True, False], n),
            },
            schema_overrides={"at": pl.Datetime("us")},
        ),
    }


EVENTS = ("interactions", "transactions", "balances", "contacts")


def everyone() -> pl.DataFrame:
    return scoring_examples([f"C{i:04d}" for i in range(CUSTOMERS)], DAY)


def test_one_row_per_example_in_their_order_with_the_named_columns() -> None:
    examples = everyone().sample(fraction=1.0, shuffle=True, seed=3)
    rows = features(bank(), examples, definition())
    assert rows["customer_id"].to_list() == examples["customer_id"].to_list()
    numbers = definition().numbers
    assert set(numbers) <= set(rows.columns)
    assert all(rows.schema[name] == pl.Float64 for name in numbers)
    assert rows["transactions.count.365d"].sum() > 0 and rows["contacts.email.count.90d"].sum() > 0


def test_noise_on_and_after_the_day_changes_nothing() -> None:
    past = bank()
    noise = bank(seed=1, start=0, end=-200, prefix="later")
    both = {name: pl.concat([table, noise[name]]) if name in EVENTS else table for name, table in past.items()}
    assert_frame_equal(features(past, everyone(), definition()), features(both, everyone(), definition()))


def test_one_customer_alone_has_the_row_it_has_among_all() -> None:
    among = features(bank(), everyone(), definition())
    tables = bank()
    for i in (0, 1, 17, 100):
        name = f"C{i:04d}"
        held = tables["account_holders"].filter(pl.col("customer_id") == name)
        own = {}
        for table, rows in tables.items():
            if "customer_id" in rows.columns:
                own[table] = rows.filter(pl.col("customer_id") == name)
            elif "account_id" in rows.columns:
                own[table] = rows.filter(pl.col("account_id").is_in(held["account_id"].implode()))
            else:
                own[table] = rows
        alone = features(own, scoring_examples([name], DAY), definition())
        assert_frame_equal(alone, among.filter(pl.col("customer_id") == name))


def test_shuffled_input_rows_give_identical_bytes() -> None:
    shuffled = {name: table.sample(fraction=1.0, shuffle=True, seed=9) for name, table in bank().items()}
    first, second = features(bank(), everyone(), definition()), features(shuffled, everyone(), definition())
    assert first.write_json() == second.write_json()


def test_a_hidden_product_leaves_no_trace() -> None:
    tables = bank()
    hidden = everyone().with_columns(hidden=pl.lit(["P0"]))
    accounts = tables["accounts"].filter(pl.col("product_id") != "P0")
    kept = tables | {
        "accounts": accounts,
        "interactions": tables["interactions"].filter(pl.col("product_id") != "P0"),
        "contacts": tables["contacts"].filter(pl.col("campaign_id") != "K0"),
    }
    for name in ("account_holders", "transactions", "balances"):
        kept[name] = tables[name].filter(pl.col("account_id").is_in(accounts["account_id"].implode()))
    with_hidden = features(tables, hidden, definition())
    assert not with_hidden["holdings"].list.contains("P0").any()
    assert_frame_equal(with_hidden, features(kept, everyone(), definition()))


def test_holdings_follow_acquisitions_and_closures_before_the_point() -> None:
    tables = {
        "customers": pl.DataFrame({"customer_id": ["a"]}),
        "interactions": pl.DataFrame(
            {
                "customer_id": ["a"] * 5,
                "product_id": ["loan", "card", "loan", "card", "fund"],
                "kind": ["acquired", "acquired", "closed", "viewed", "acquired"],
                "at": [datetime(2024, 1, day) for day in (1, 2, 3, 4, 9)],
            },
            schema_overrides={"at": pl.Datetime("us")},
        ),
    }
    plain = definition(profile=(), transactions=False, contacts=False, balances=False, accounts=False, history_length=3)
    row = features(tables, scoring_examples(["a"], date(2024, 1, 9)), plain)
    assert row["holdings"].to_list() == [["card"]]
    assert row["history"].to_list() == [["card", "loan", "card"]]
    assert row["history_kind"].to_list() == [["acquired", "closed", "viewed"]]
    assert row["history_age"].to_list() == [[7, 6, 5]]
    assert row["interactions.viewed.count.7d"].item() == 1 and row["interactions.viewed.recency"].item() == 5


def test_a_row_that_only_says_holds_is_seen_from_every_day() -> None:
    tables = {
        "customers": pl.DataFrame({"customer_id": ["a"]}),
        "interactions": pl.DataFrame({"customer_id": ["a"], "product_id": ["card"], "kind": ["holds"]}),
    }
    plain = definition(profile=(), transactions=False, contacts=False, balances=False, accounts=False)
    for day in (None, date(1999, 1, 1)):
        assert features(tables, scoring_examples(["a"], day), plain)["holdings"].to_list() == [["card"]]


def test_a_position_limits_an_undated_sequence() -> None:
    tables = {
        "customers": pl.DataFrame({"customer_id": ["a"]}),
        "interactions": pl.DataFrame(
            {"customer_id": ["a"] * 3, "product_id": ["x", "y", "z"], "kind": ["acquired"] * 3, "position": [1, 2, 3]}
        ),
    }
    undated = definition(
        dated=False,
        profile=(),
        transactions=False,
        contacts=False,
        balances=False,
        accounts=False,
        interaction_kinds=(),
    )
    examples = scoring_examples(["a"], None).with_columns(position=pl.lit(3, dtype=pl.Int64))
    row = features(tables, examples, undated)
    assert row["history"].to_list() == [["x", "y"]] and row["holdings"].to_list() == [["x", "y"]]


def test_a_customer_with_nothing_has_a_row_of_zeros_and_unknowns() -> None:
    row = features(bank(), scoring_examples(["nobody"], DAY), definition())
    assert row.height == 1
    assert row["transactions.count.365d"].item() == 0 and row["transactions.recency"].item() is None
    assert row["holdings"].to_list() == [[]] and row["income"].item() is None


def test_no_examples_give_no_rows_with_the_same_columns() -> None:
    rows = features(bank(), everyone().head(0), definition())
    assert rows.height == 0 and rows.schema == features(bank(), everyone(), definition()).schema


def test_windows_count_whole_days() -> None:
    tables = {
        "customers": pl.DataFrame({"customer_id": ["a"]}),
        "transactions": pl.DataFrame(
            {
                "customer_id": ["a"] * 4,
                "at": [
                    datetime(2024, 6, 30, 23, 59),
                    datetime(2024, 6, 24),
                    datetime(2024, 6, 23, 23),
                    datetime(2023, 7, 1),
                ],
                "amount": [-100, -200, 400, -800],
                "category": ["food"] * 4,
                "event_id": list("abcd"),
            },
            schema_overrides={"at": pl.Datetime("us")},
        ),
    }
    row = features(tables, scoring_examples(["a"], DAY), definition(profile=(), holdings=False))
    assert [row[f"transactions.count.{d}d"].item() for d in (7, 30, 90, 365)] == [2, 3, 3, 3]
    assert row["transactions.out.7d"].item() == 300 and row["transactions.in.30d"].item() == 400
    assert row["transactions.category.food.out.365d"].item() == 300


def test_an_attribute_that_changed_is_read_as_it_was() -> None:
    customers = pl.DataFrame(
        {
            "customer_id": ["a", "a"],
            "valid_from": [date(2020, 1, 1), date(2024, 1, 1)],
            "income": [1.0, 2.0],
        }
    )
    only = definition(
        profile=(Column(name="income", kind="number"),),
        transactions=False,
        contacts=False,
        balances=False,
        accounts=False,
    )
    for day, income in ((date(2023, 5, 5), 1.0), (date(2024, 1, 1), 2.0), (date(2019, 1, 1), None)):
        assert features({"customers": customers}, scoring_examples(["a"], day), only)["income"].item() == income


def test_an_attribute_that_the_table_lacks_is_named() -> None:
    from recsys.errors import DataError

    tables = bank() | {"customers": bank()["customers"].drop("income")}
    with pytest.raises(DataError, match="income"):
        features(tables, everyone(), definition())
