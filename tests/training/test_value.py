"""`recsys value`: published figures from a lake, a row for every customer, and refusals that say what is wrong."""

import json
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsys.__main__ import main
from recsys.errors import ConfigError, DataError, LakeError
from recsys.lake.catalog import import_catalog
from recsys.lake.store import Lake, LakeWriter
from recsys.lifetime_value.config import PurchaseConfig
from recsys.shipped import shipped
from tests.conftest import SmallBank, called
from training.value import COLUMNS
from training.value_gather import gather, last_day, purchases_of


def quiet(done: int, total: int, what: str) -> None:
    pass


@pytest.fixture(scope="module")
def cdnow(datasets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cdnow")
    import_catalog(shipped("catalog", "cdnow"), folder / "lake", datasets / "cdnow")
    called("value", str(folder / "lake"), "--out", str(folder / "value"), "--set", "purchases.holdout_days=273")
    return folder


def test_a_lake_of_cdnow_gives_the_published_figures(cdnow: Path) -> None:
    content = json.loads((cdnow / "value" / "value.json").read_text())
    assert content["days"] == {"first": "1997-01-01", "cut": "1997-09-30", "last": "1998-06-30"}
    fitted = content["parameters"]["calibration"]
    published = {"bg_nbd": {"r": 0.243, "alpha": 4.414, "a": 0.793, "b": 2.426}}
    published["gamma_gamma"] = {"p": 6.25, "q": 3.74, "v": 1544.0}
    for model, values in published.items():
        for name, value in values.items():
            assert fitted[model]["values"][name]["value"] == pytest.approx(value, rel=0.01)
    judged = content["holdout"]
    assert judged["customers"] == 2_357 and judged["purchases"]["actual"] == 1_882
    error = judged["purchases"]["mean_absolute_error"]
    assert error["model"] < 0.8 * error["own pace so far"]
    assert 0.6 < judged["purchases"]["gini"]["model"]["value"] < 0.75
    assert len(judged["purchases"]["deciles"]) == 10
    assert any("1,882" in warning for warning in content["warnings"])


def test_every_customer_has_a_row_and_the_rows_make_the_totals(cdnow: Path) -> None:
    rows = pl.read_parquet(cdnow / "value" / "bucket=*.parquet")
    content = json.loads((cdnow / "value" / "value.json").read_text())
    assert dict(rows.schema) == COLUMNS and rows["customer_id"].n_unique() == rows.height == 2_357
    assert rows.null_count().sum_horizontal().item() == 0
    assert rows["value"].sum() == pytest.approx(content["totals"]["value"]["value"], rel=1e-4)
    assert rows["purchases"].sum() == pytest.approx(content["totals"]["purchases"]["value"], rel=1e-4)
    assert (rows["value_low"] <= rows["value_high"]).all() and rows["p_alive"].is_between(0, 1).all()


def test_the_page_needs_nothing_beside_itself_and_names_nobody(cdnow: Path) -> None:
    page = (cdnow / "value" / "value.html").read_text()
    assert page.count("<svg") == 6 and "http" not in page and "<script" not in page
    for customer in pl.read_parquet(cdnow / "value" / "bucket=*.parquet")["customer_id"].sample(50, seed=0):
        assert f">{customer}<" not in page and f'"{customer}"' not in page


def test_invoices_of_a_wholesaler_are_purchases_but_credit_notes_are_not(datasets: Path, tmp_path: Path) -> None:
    lake = import_catalog(
        shipped("catalog", "online_retail_invoices"), tmp_path / "lake", datasets / "online_retail_ii"
    )
    assert {name: info.rows for name, info in lake.tables.items()} == {"customers": 4_314, "transactions": 22_986}
    every = lake.read("transactions")
    back = every.filter(pl.col("category") == "credit_note")
    assert (back["amount"] >= 0).all() and (every.filter(pl.col("category") == "purchase")["amount"] <= 0).all()
    config = PurchaseConfig(categories=("purchase",))
    bought = pl.concat([purchases_of(lake, b, config, date(2010, 12, 9)).collect() for b in range(lake.buckets)])
    assert bought["amount"].sum() == -every.filter(pl.col("category") == "purchase")["amount"].sum()


def test_a_joint_account_buys_once(tmp_path: Path) -> None:
    holders = pl.DataFrame({"account_id": ["j", "j", "s"], "customer_id": ["C2", "C1", "C3"]})
    booked = pl.DataFrame(
        {
            "event_id": ["1", "2", "3", "4"],
            "account_id": ["j", "j", "s", "s"],
            "at": [datetime(2024, 1, day, 9) for day in (1, 2, 3, 4)],
            "amount": [-10, -20, -40, 500],
        }
    )
    with LakeWriter(tmp_path / "lake", buckets=4, until=date(2024, 2, 1)) as writer:
        writer.append("customers", pl.DataFrame({"customer_id": ["C1", "C2", "C3"]}))
        writer.append("account_holders", holders)
        writer.append("accounts", pl.DataFrame({"account_id": ["j", "s"]}))
        writer.append("transactions", booked)
    lake = Lake.open(tmp_path / "lake")

    def bought(**asked: object) -> list[tuple[str, int]]:
        config = PurchaseConfig.model_validate(asked)
        rows = [purchases_of(lake, b, config, date(2024, 1, 4)).collect() for b in range(lake.buckets)]
        return pl.concat(rows).sort("day").select("customer_id", "amount").rows()

    assert bought() == [("C1", 10), ("C1", 20), ("C3", 40)]
    assert bought(direction="in") == [("C3", 500)]
    with pytest.raises(ConfigError, match="have no category"):
        bought(categories=("food",))


def test_a_bank_with_joint_accounts_is_valued(small_bank: SmallBank, tmp_path: Path) -> None:
    categories = ["--set", "purchases.categories=[travel]", "--set", "purchases.margin=0.01"]
    printed = called("value", str(small_bank.lake), "--out", str(tmp_path), "--set", "purchases.draws=40", *categories)
    assert printed[-1] == str(tmp_path / "value.html")
    rows = pl.read_parquet(tmp_path / "bucket=*.parquet")
    assert rows["customer_id"].n_unique() == rows.height <= 300
    lake = Lake.open(small_bank.lake)
    booked = lake.read("transactions").filter((pl.col("category") == "travel") & (pl.col("amount") <= 0))
    firsts = rows["frequency"].sum() + rows.height
    assert 0 < firsts <= booked.height  # a day is one purchase


def test_what_cannot_be_valued_is_refused(
    small_bank: SmallBank, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with LakeWriter(tmp_path / "bare", buckets=1) as writer:
        writer.append("customers", pl.DataFrame({"customer_id": ["C1"]}))
    with pytest.raises(LakeError, match="needs dated transactions"):
        last_day(Lake.open(tmp_path / "bare"), None)
    lake = Lake.open(small_bank.lake)
    last = last_day(lake, None)
    with pytest.raises(DataError, match="no purchase: no transaction with money leaving the customer in nonsense"):
        gather(lake, PurchaseConfig(categories=("nonsense",)), last, quiet)
    with pytest.raises(ConfigError, match=r"purchases\.holdout_days: 5000 of .* days"):
        gather(lake, PurchaseConfig(holdout_days=5_000), last, quiet)
    for words, message in (
        (["--set", "horizon=3"], "did you mean 'horizon_months'"),
        (["--set", "purchases.margin=0"], "purchases.margin"),
        (["--as-of", "tomorrow"], "is not a day"),
    ):
        with pytest.raises(SystemExit) as left:
            main(["value", str(small_bank.lake), "--out", str(tmp_path / "out"), *words])
        assert left.value.code == 2 and message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def shop(path: Path, bought: list[tuple[int, int, int]]) -> Path:
    """A lake of purchases: customer, day, amount."""
    rows = [
        (f"e{k}", f"C{who}", datetime(2024, 1, 1) + timedelta(days=day), -amount)
        for k, (who, day, amount) in enumerate(bought)
    ]
    with LakeWriter(path, buckets=2, until=date(2024, 12, 31)) as writer:
        writer.append("customers", pl.DataFrame({"customer_id": sorted({row[1] for row in rows})}))
        columns = ["event_id", "customer_id", "at", "amount"]
        writer.append("transactions", pl.DataFrame(rows, schema=columns, orient="row"))
    return path


def test_where_nothing_followed_and_little_is_known_the_page_says_so(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    once = [(who, int(day), int(rng.integers(1, 999))) for who in range(120) for day in rng.integers(0, 100, 3)]
    lake = shop(tmp_path / "lake", once)
    called("value", str(lake), "--out", str(tmp_path / "out"), "--as-of", "2024-09-01", "--set", "purchases.draws=40")
    content = json.loads((tmp_path / "out" / "value.json").read_text())
    assert content["holdout"]["purchases"]["actual"] == 0 and content["holdout"]["purchases"]["gini"] == {}
    assert content["warnings"]
    page = (tmp_path / "out" / "value.html").read_text()
    assert "not known" in page and "nan" not in page.lower()
    few = shop(tmp_path / "few", [(who, int(day), 500) for who in range(12) for day in rng.integers(0, 200, 4)])
    called("value", str(few), "--out", str(tmp_path / "few-out"), "--set", "purchases.draws=40")
    told = json.loads((tmp_path / "few-out" / "value.json").read_text())
    assert told["parameters"]["all days"]["gamma_gamma"] is None
    assert any("Purchases are told, value is not" in warning for warning in told["warnings"])


def test_a_hold_out_that_leaves_nothing_to_learn_from_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lake = shop(tmp_path / "lake", [(who, day, 50) for who in range(50) for day in (0, 300)])
    with pytest.raises(SystemExit) as left:
        main(["value", str(lake), "--out", str(tmp_path / "out")])
    assert left.value.code == 1 and "up to 2024-07-19, before the hold-out of 100 days" in capsys.readouterr().err
