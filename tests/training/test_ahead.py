"""The part of an embedding that looks ahead: which customers and days it learns from, and where there is none."""

from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from recsys.bundle import Bundle, verify
from recsys.bundle.embedding import CustomerEmbedding
from recsys.errors import DataError
from recsys.features.examples import scoring_examples
from recsys.features.features import features
from recsys.lake.store import Attribute, Lake, LakeWriter
from training.ahead import Earlier, earlier
from training.config import Config, parse_config
from training.customers import Customers
from training.fit import train
from training.preflight import preflight

CUSTOMERS = 240
UNTIL = date(2024, 12, 31)
CUT = UNTIL - timedelta(days=90)
START = datetime(2023, 6, 1)
ATTRIBUTES = (
    Attribute("income", "feature", "number"),
    Attribute("left", "label", "flag"),
    Attribute("profit", "outcome", "number"),
    Attribute("sex", "protected", "category"),
)


def silent(done: int, total: int, what: str) -> None:
    """No progress."""


def people() -> pl.DataFrame:
    """Every third has left the bank, and the label says so."""
    rng = np.random.default_rng(0)
    left = np.arange(CUSTOMERS) % 3 == 0
    return pl.DataFrame(
        {
            "customer_id": [f"C{i:04d}" for i in range(CUSTOMERS)],
            "income": rng.normal(size=CUSTOMERS),
            "left": left,
            "profit": 100.0 * left,
            "sex": [["f", "m"][i % 2] for i in range(CUSTOMERS)],
        }
    )


def visits() -> pl.DataFrame:
    """Logins of everybody and clicks of most, of two thirds until the end; every eighth came after the cut."""
    rng, rows = np.random.default_rng(1), []
    for i in range(CUSTOMERS):
        first = datetime.combine(CUT, datetime.min.time()) + timedelta(days=3) if i % 8 == 7 else START
        last = datetime(2024, 8, 1) if i % 3 == 0 and i % 8 != 7 else datetime(2025, 2, 1)
        for kind, every in (("login", 9 + i % 5), ("clicked", 30))[: 1 + (i % 4 > 0)]:
            day = first + timedelta(hours=int(rng.integers(0, 99)))
            while day < last:
                rows.append((f"C{i:04d}", kind, day))
                day += timedelta(days=every)
    frame = pl.DataFrame(rows, schema=["customer_id", "kind", "at"], orient="row")
    return frame.with_columns(
        pl.col("at").cast(pl.Datetime("us")),
        product_id=pl.lit(None, dtype=pl.String),
        event_id=pl.format("E{}", pl.int_range(pl.len())),
    )


def write_bank(path: Path, events: pl.DataFrame, rows: pl.DataFrame | None = None) -> Lake:
    with LakeWriter(path, buckets=2, until=date(2025, 3, 1), attributes={"customers": list(ATTRIBUTES)}) as writer:
        writer.append("customers", people() if rows is None else rows)
        writer.append("interactions", events)
    return Lake.open(path)


def config(**embedding: Any) -> Config:
    small = {"autoencoder": {"dim": 3, "hidden": 8, "epochs": 1, "batch_size": 64}, "ahead": {"components": 3}}
    raw: dict[str, Any] = {"name": "ahead", "threads": 1, "recommender": False, "evaluation": {"until": str(UNTIL)}}
    return parse_config(raw | {"features": {"windows": [30, 90, 365]}, "embedding": small | embedding}, "config.yaml")


def made(lake: Lake, folder: Path, asked: Config) -> tuple[Bundle, dict[str, Any]]:
    preflight(asked, lake)
    bundle = Bundle.load(train(asked, lake, folder, silent))
    report: dict[str, Any] = bundle.json("report/metrics.json")["embedding"]["ahead"]
    return bundle, report


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> tuple[Lake, Bundle, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("ahead")
    lake = write_bank(folder / "lake", visits())
    return lake, *made(lake, folder / "bundles", config())


def test_the_part_is_served_and_told_of(bank: tuple[Lake, Bundle, dict[str, Any]]) -> None:
    lake, bundle, report = bank
    about = CustomerEmbedding(bundle).about
    assert about.autoencoder == 3 and about.ahead == about.dimensions - 3 == report["components"] + report["directions"]
    assert report["targets"] == 2 and report["directions"] == 2, "logins and clicks"
    assert report["told_ahead"] > 0.5, "who has stopped does nothing next"
    assert report["snapshots"] == 2 and report["bends"] == 2, "no more than there are directions"
    assert [check for check in verify(bundle.path) if not check.ok] == []
    told = bundle.json("report/metrics.json")["embedding"]["told"]["features"]
    assert set(told) == {"autoencoder", "ahead", "all"}
    tables = {"customers": lake.read("customers"), "interactions": lake.read("interactions")}
    ids = tables["customers"]["customer_id"].sort()
    vectors = CustomerEmbedding(bundle).embed(features(tables, scoring_examples(ids, UNTIL), bundle.definition)).vectors
    part = vectors[:, about.parts["ahead"]]
    np.testing.assert_allclose(part.mean(axis=0), 0, atol=1e-4)
    assert float((part**2).sum(axis=1).mean()) == pytest.approx(1.0, abs=1e-3)
    spread = part.var(axis=0)
    assert spread.max() / spread.min() < 2, "no direction drowns another"


def test_labels_outcomes_protected_columns_and_later_events_change_nothing(
    bank: tuple[Lake, Bundle, dict[str, Any]], tmp_path: Path
) -> None:
    _, bundle, _ = bank
    other = people().with_columns(pl.col("left", "profit", "sex").shuffle(3))
    seen = visits().with_columns(late=pl.col("at") >= datetime.combine(UNTIL, datetime.min.time()))
    kept = seen.filter(~pl.col("late") | (pl.col("customer_id") < "C0100")).drop("late")
    assert kept.height < seen.height
    again, _ = made(write_bank(tmp_path / "lake", kept, other), tmp_path, config())
    assert again.part("embedding") == bundle.part("embedding"), "and training is repeatable to the last bit"


@pytest.mark.parametrize("back", [1, 2])
def test_what_was_done_is_what_the_lake_says(back: int, tmp_path: Path) -> None:
    """`known` is read before the cut alone, `did` from the cut to the last day, or the cut before, alone."""
    lake, asked = write_bank(tmp_path / "lake", visits()), config()
    each = _earlier(lake, asked, tmp_path)
    assert len(each) == 2
    found = each[back - 1]
    ids, events = people()["customer_id"], lake.read("interactions")
    end = datetime.combine(UNTIL, datetime.min.time()) - timedelta(days=90 * (back - 1))
    cut = end - timedelta(days=90)
    since = events.filter(pl.col("at").is_between(cut, end, closed="left"))
    order = pl.concat([pl.read_parquet(path)["customer_id"] for path in found.customers.rows])
    assert sorted(order) == sorted(ids) and found.targets == tuple(
        f"interactions.{kind}.count.90d" for kind in ("clicked", "login")
    )
    for column, kind in enumerate(("clicked", "login")):
        wanted = order.is_in(since.filter(kind=kind)["customer_id"].implode())
        assert np.array_equal(found.did[:, column], wanted.to_numpy()) and wanted.mean() > 0  # type: ignore[operator]
    before = events.filter(pl.col("at").is_between(cut - timedelta(days=365), cut, closed="left"))
    assert np.array_equal(found.known, order.is_in(before["customer_id"].implode()).to_numpy())
    assert 0 < found.known.mean() < 1


def _earlier(lake: Lake, asked: Config, work: Path) -> list[Earlier]:
    from recsys.features.definition import define
    from training.embedding import inputs_of, prepare_customers, prepare_earlier

    assert asked.embedding is not None
    definition = define(lake, asked.features)
    now, encoder = prepare_customers(lake, asked.embedding, definition, None, UNTIL, 4 << 30, work / "now", silent)
    inputs = inputs_of(asked.embedding, lake, encoder)
    found = prepare_earlier(
        lake, asked.embedding, now, inputs, definition, encoder, UNTIL, 4 << 30, work / "earlier", silent
    )
    assert not isinstance(found, str)
    return found


@pytest.mark.parametrize(
    ("ahead", "reason"),
    [
        (None, "not asked for"),
        ({"horizon_days": 60}, "60 days are none of features.windows"),
        ({"horizon_days": 365}, "only 0 customers did anything before the last 365 days"),
    ],
)
def test_where_nothing_can_be_learned_the_part_is_left_out_and_the_report_says_why(
    ahead: dict[str, Any] | None, reason: str, tmp_path: Path
) -> None:
    late = visits().filter(pl.col("at") >= datetime(2024, 1, 5))
    bundle, report = made(write_bank(tmp_path / "lake", late), tmp_path, config(ahead=ahead))
    assert CustomerEmbedding(bundle).about.ahead == 0 and report == {"left_out": reason}


def test_a_lake_without_events_has_no_such_part(card_bundle: Path) -> None:
    bundle = Bundle.load(card_bundle)
    assert CustomerEmbedding(bundle).about.parts == {"autoencoder": slice(0, 3)}
    left_out = bundle.json("report/metrics.json")["embedding"]["ahead"]
    assert left_out == {"left_out": "the lake has no dated events"}


def test_customers_of_two_days_are_read_in_one_order(tmp_path: Path) -> None:
    paths = []
    for name, ids in (("now", ["A", "B"]), ("then", ["A", "C"])):
        paths.append(tmp_path / f"{name}.parquet")
        pl.DataFrame({"customer_id": ids, "transactions.count.90d": [1.0, None]}).write_parquet(paths[-1])
    one, other = (Customers((path,), {}, 1.0) for path in paths)

    class Definition:
        activity = ("transactions.count.90d",)
        windows = (90,)

    found = earlier(one, one, Definition(), ("transactions.count.90d",))  # type: ignore[arg-type]
    assert found.did.tolist() == [[True], [False]] and found.known.tolist() == [True, False]
    with pytest.raises(DataError, match="hold different customers; delete the folder and train again"):
        earlier(one, other, Definition(), ("transactions.count.90d",))  # type: ignore[arg-type]


def test_the_check_before_training_says_whether_it_looks_ahead(tmp_path: Path) -> None:
    lake = write_bank(tmp_path / "lake", visits())
    said = {days: preflight(config(ahead={"horizon_days": days}), lake)[-1] for days in (90, 60)}
    assert said[90].endswith("; what they do in 90 days")
    assert said[60].endswith("; 60 days ahead are none of features.windows")
    assert "ahead" not in preflight(config(ahead=None), lake)[-1]
