"""Key figures: each with what it is made of, hidden where it tells of too few, a lower bound where nothing came."""

from typing import Any

import polars as pl
import pytest

from recsys.campaigns.kpis import KPIS, breakdown, by_name, kpi_rows
from recsys.campaigns.ledger import Costs, with_costs
from recsys.campaigns.units import UNITS


def units(rows: list[dict[str, Any]], costs: Costs = Costs()) -> pl.DataFrame:  # noqa: B008
    base = {"campaign_id": "K", "arm": "treated", "arms": 1, "contacted": True, "contacts": 1, "outcome": 0.0,
            "logged_cost": 10, "impressions": 1, "clicks": 0, "clicked": False, "engaged": False}  # fmt: skip
    filled = [base | {"customer_id": f"C{i:03d}"} | row for i, row in enumerate(rows)]
    frame = pl.DataFrame(filled, schema_overrides={n: t for n, t in UNITS.items() if n in filled[0]})
    missing = [pl.lit(None, dtype=t).alias(n) for n, t in UNITS.items() if n not in frame.columns]
    return with_costs(frame.with_columns(*missing, is_control=pl.col("arm") == "control"), costs)


def test_every_figure_says_what_it_is_made_of() -> None:
    control = [{"arm": "control", "contacted": False, "contacts": 0}] * 50
    treated = [{"outcome": 1.0, "revenue": 500.0, "clicked": True, "engaged": True, "clicks": 1}] * 10 + [{}] * 40
    rows = kpi_rows(units([*control, *treated]), 30)
    found = by_name(rows)
    assert found["reach"]["value"] == 0.5 and found["conversion"]["value"] == 0.2
    assert found["conversion"]["numerator"] == {"text": "converted", "value": 10.0}
    assert found["conversion"]["denominator"]["value"] == 50 and found["conversion"]["method"] == "Wilson"
    assert found["conversion_control"]["value"] == 0
    assert found["cost_per_conversion"]["value"] == 50 and found["cost_per_conversion"]["method"] == "Fieller"
    assert found["roas"]["value"] == 10 and found["revenue_per_customer"]["value"] == 100
    assert "retention" not in found and "lead_rate" not in found, "what the lake does not know is not there"
    for row in rows:
        assert {"numerator", "denominator", "population", "window_days", "method", "low", "high"} <= set(row)
        assert row["low"] is None or row["low"] <= row["value"] <= row["high"]


def test_nobody_converted() -> None:
    found = by_name(kpi_rows(units([{}] * 100), 30))
    assert found["conversion"]["value"] == 0 and found["conversion"]["high"] > 0.03
    price = found["cost_per_conversion"]
    assert price["value"] is None and price["low"] == pytest.approx(1000 / 3.6889, rel=1e-3), (
        "at least cost over Garwood"
    )
    assert "customer_value" not in found


def test_costs_that_are_missing_make_no_price() -> None:
    found = by_name(kpi_rows(units([{"logged_cost": None, "outcome": 1.0}] * 20), 30))
    assert "cost_per_conversion" not in found and "cost_per_contact" not in found
    told = by_name(kpi_rows(units([{"logged_cost": None, "outcome": 1.0}] * 20, Costs(per_contact=7)), 30))
    assert told["cost_per_contact"]["value"] == 7


def test_one_customer_in_several_campaigns_is_one_observation() -> None:
    rows = [
        {"customer_id": f"C{i % 20}", "campaign_id": f"K{i // 20}", "outcome": float(i % 20 < 5)} for i in range(200)
    ]
    own = by_name(kpi_rows(units(rows), 30))["conversion"]
    assert own["customers"] == 20 and own["high"] - own["low"] > 0.3, "ten identical campaigns tell no more than one"


def test_small_groups_are_hidden_with_their_complement() -> None:
    rows = [{"channel": "email", "outcome": float(i < 3)} for i in range(60)]
    rows += [{"channel": "phone", "outcome": float(i < 20)} for i in range(60)]
    rows += [{"channel": "sms", "outcome": float(i < 25)} for i in range(60)]
    rows += [{"channel": "post", "outcome": 1.0}] * 4
    groups = {group["value"]: group for group in breakdown(units(rows), "channel", 30, KPIS)}
    assert groups["post"]["kpis"] == [], "fewer than ten customers"
    hidden = {name for name, group in groups.items() if by_name(group["kpis"]).get("conversion", {}).get("hidden")}
    assert "email" in hidden and len(hidden) > 1, "else it is the total less the others"
    assert by_name(groups["email"]["kpis"])["cost_per_conversion"]["value"] is None
