"""Public sets with a yes or no about each customer: what their catalogs let a model read, and what they keep back."""

from bisect import bisect_left
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest

from recsys.errors import DataError
from recsys.features.definition import define
from recsys.lake.catalog import import_catalog
from recsys.lake.store import Lake
from recsys.shipped import shipped
from training.config import load_config
from training.preflight import preflight


@pytest.fixture(scope="module")
def marketing(datasets: Path, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    out = tmp_path_factory.mktemp("uci") / "lake"
    return import_catalog(shipped("catalog", "uci_bank_marketing"), out, datasets / "uci_bank_marketing")


def test_the_length_of_the_call_is_known_afterwards_and_not_read(marketing: Lake) -> None:
    config = load_config("uci_bank_marketing")
    lines = preflight(config, marketing)
    assert any("known only afterwards, so never read (role outcome): call_seconds" in line for line in lines)
    read = {column.name for column in define(marketing, config.features).profile}
    assert len(read) == 16 and {"contact_month_number", "contact_day_of_year"} < read
    assert not read & {"call_seconds", "subscribed", "contact_order", "age_band", "contact_month"}
    assert not read & {"bank_calls_7d", "bank_calls_28d"}


def test_the_contacts_of_the_bank_are_as_its_publisher_says(marketing: Lake) -> None:
    rows = marketing.read("customers").sort("contact_order")
    assert (rows.height, int(rows["subscribed"].sum())) == (45_211, 5_289)
    assert rows["balance"].min() < 0 < rows["balance"].max()  # type: ignore[operator]
    first = rows.row(0, named=True)
    wanted = ("U00001", 58.0, "management", 2143.0, True, None, 5.0, "may", None, 261.0, False)
    names = ("customer_id", "age", "job", "balance", "housing_loan", "contact_channel", "contact_day")
    assert (
        tuple(first[n] for n in (*names, "contact_month", "days_since_last_campaign", "call_seconds", "subscribed"))
        == wanted
    )
    assert (first["contact_month_number"], first["contact_day_of_year"]) == (5.0, 125.0)
    months = rows.group_by("contact_month").agg(pl.col("contact_month_number").unique()).explode("contact_month_number")
    assert months.height == 12 and months.sort("contact_month_number")["contact_month"][0] == "jan"
    order = rows.filter(pl.col("contact_month") == "may")["contact_order"]
    assert order.is_sorted()


def test_the_calls_of_the_bank_are_those_of_the_days_before(marketing: Lake) -> None:
    rows = marketing.read("customers").sort("contact_order")
    month, day = rows["contact_month_number"].to_list(), rows["contact_day"].to_list()
    year, dates = 2008, []
    for place in range(rows.height):
        year += place > 0 and month[place] < month[place - 1]
        dates.append(date(year, int(month[place]), int(day[place])))
    assert dates == sorted(dates) and (dates[0], dates[-1]) == (date(2008, 5, 5), date(2010, 11, 17))
    for days in (7, 28):
        found = rows[f"bank_calls_{days}d"]
        for place in (*range(0, rows.height, 997), rows.height - 1):
            first = dates[place] - timedelta(days)
            wanted = bisect_left(dates, dates[place]) - bisect_left(dates, first) if first >= dates[0] else None
            assert found[place] == wanted


def test_digital_marketing_is_read_but_for_gender(datasets: Path, tmp_path: Path) -> None:
    catalog = shipped("catalog", "digital_marketing")
    lake = import_catalog(catalog, tmp_path / "lake", datasets / "digital_marketing")
    lines = preflight(load_config("digital_marketing"), lake)
    (said,) = [line for line in lines if line.startswith("churn: customers.converted is true")]
    assert "(test)" in said and "gender" not in next(line for line in lines if line.startswith("profile"))
    assert int(lake.read("customers")["converted"].sum()) == 7012


def test_a_complaint_that_equals_leaving_is_refused_unless_it_is_known_afterwards(
    datasets: Path, tmp_path: Path
) -> None:
    catalog, root = shipped("catalog", "bank_customer_churn_records"), datasets / "bank_customer_churn_records"
    config = load_config("bank_churn_modelling", ["embedding=null", "segments=null"])
    honest = import_catalog(catalog, tmp_path / "honest", root)
    lines = preflight(config, honest)
    assert any("complained, satisfaction_score" in line for line in lines)
    text = catalog.read_text()
    leaking = tmp_path / "leaking.yaml"
    leaking.write_text(text.replace("complained: {role: outcome", "complained: {role: feature"))
    assert leaking.read_text() != text
    with pytest.raises(DataError, match=r"customers.complained: alone tells who leaves \(AUC 0.99"):
        preflight(config, import_catalog(leaking, tmp_path / "lake", root))
