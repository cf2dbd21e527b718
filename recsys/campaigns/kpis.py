"""Key figures of campaigns: each with numerator, denominator, window, population, interval and its method."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl

from recsys.campaigns.intervals import Estimate, clustered_share, fieller, rate, ratio, ratio_by_fieller
from recsys.segment_cards.intervals import rounded
from recsys.segment_cards.suppression import FEWEST, hidden_shares

Kind = Literal["share", "per_thousand", "ratio", "money", "price"]


@dataclass(frozen=True)
class Kpi:
    """A figure Σ numerator / Σ denominator over units; a unit where either is null is not in its population.

    share: of yes or no. per_thousand: events per thousand. ratio: of counts. money: minor units per unit of the
    denominator. price: cost per event.
    """

    name: str
    text: str
    numerator: str
    denominator: str
    population: str
    kind: Kind
    above: pl.Expr
    below: pl.Expr


def _number(name: str) -> pl.Expr:
    return pl.col(name).cast(pl.Float64)


_ONE = pl.lit(1.0)
_MADE = pl.col("contacted")
_BOUGHT = (pl.col("outcome") > 0).cast(pl.Float64)
_EARNED = pl.coalesce(_number("revenue"), pl.when(pl.col("outcome") <= 0).then(0.0))
"""Null for a conversion of which nobody knows what it brought."""
_CONTACTED = "contacted customers"


def _of(condition: pl.Expr, value: pl.Expr) -> pl.Expr:
    return pl.when(condition).then(value)


KPIS: tuple[Kpi, ...] = (
    Kpi("reach", "Reach", "contacted", "assigned, control included", "all who were drawn into the campaign", "share",
        _number("contacted"), _ONE),
    Kpi("delivery", "Delivery rate", "contacted", "assigned to be contacted", "arms other than the control", "share",
        _of(~pl.col("is_control"), _number("contacted")), _ONE),
    Kpi("engagement", "Engagement rate", "opened or clicked", "contacted", f"{_CONTACTED} whose channel tells", "share",
        _of(_MADE, _number("engaged")), _ONE),
    Kpi("ctr_unique", "Click-through, customers", "clicked", "contacted", f"{_CONTACTED} whose channel tells", "share",
        _of(_MADE, _number("clicked")), _ONE),
    Kpi("ctr", "Click-through, impressions", "clicks", "contacts made", f"{_CONTACTED} whose channel tells", "share",
        _of(_MADE & (pl.col("impressions") > 0), _number("clicks")), _number("impressions")),
    Kpi("ctr_exposures", "Clicks on the product per exposure", "clicks", "exposures", f"{_CONTACTED} who were shown it",
        "ratio", _of(_MADE & (pl.col("exposures") > 0), _number("exposure_clicks")), _number("exposures")),
    Kpi("consideration", "Consideration", "viewed, clicked or enquired about the product", "contacted",
        f"{_CONTACTED}, campaigns with a product", "share", _of(_MADE, _number("considered")), _ONE),
    Kpi("lead_rate", "Lead rate", "enquired about the product", "contacted", f"{_CONTACTED}, campaigns with a product",
        "share", _of(_MADE, _number("lead")), _ONE),
    Kpi("conversion", "Conversion of those assigned", "converted", "assigned to be contacted",
        "arms other than the control, contacted or not", "share", _of(~pl.col("is_control"), _BOUGHT), _ONE),
    Kpi("conversion_contacted", "Conversion of those contacted", "converted", "contacted",
        f"{_CONTACTED} only: a choice made after the draw", "share", _of(_MADE, _BOUGHT), _ONE),
    Kpi("conversion_control", "Conversion of the control", "converted", "assigned to the control", "the control",
        "share", _of(pl.col("is_control"), _BOUGHT), _ONE),
    Kpi("retention", "Retention", "active in the window after the campaign's", "active in the window before",
        f"{_CONTACTED} who can be followed so long", "share",
        _of(_MADE & pl.col("active_before"), _number("active_after")), _ONE),
    Kpi("churn", "Churn", "not active in the window after the campaign's", "active in the window before",
        f"{_CONTACTED} who can be followed so long", "share",
        _of(_MADE & pl.col("active_before"), 1 - _number("active_after")), _ONE),
    Kpi("loyalty", "Loyalty", "active in the window after the campaign's", "converted",
        "contacted converters who can be followed so long", "share",
        _of(_MADE & (pl.col("outcome") > 0), _number("active_after")), _ONE),
    Kpi("loyal", "Loyal customers", "converted, and active in the window after the campaign's", "contacted",
        f"{_CONTACTED} who can be followed so long", "share",
        _of(_MADE & pl.col("outcome").is_not_null(), _BOUGHT * _number("active_after")), _ONE),
    Kpi("opt_outs", "Opt-outs per thousand contacts", "withdrew consent for the channel", "contacts made", _CONTACTED,
        "per_thousand", _of(_MADE, _number("opted_out")), _number("contacts")),
    Kpi("contacts", "Contacts per customer", "contacts made", "contacted", _CONTACTED, "ratio",
        _of(_MADE, _number("contacts")), _ONE),
    Kpi("pressure", "Contact pressure", "earlier contacts of all campaigns, halved every 30 days", "contacted",
        _CONTACTED, "ratio", _of(_MADE, _number("pressure")), _ONE),
    Kpi("revenue_per_customer", "Revenue per contacted customer", "revenue", "contacted", _CONTACTED, "money",
        _of(_MADE, _EARNED), _ONE),
    Kpi("customer_value", "Revenue per converter", "revenue", "contacted and converted", _CONTACTED, "money",
        _of(_MADE & (pl.col("outcome") > 0), _number("revenue")), _ONE),
    Kpi("cost_per_contact", "Cost per contact", "cost", "contacts made", f"{_CONTACTED} with a known cost", "money",
        _of(_MADE, _number("cost")), _number("contacts")),
    Kpi("cost_per_click", "Cost per click", "cost", "customers who clicked", f"{_CONTACTED} whose channel tells",
        "price", _of(_MADE & pl.col("clicked").is_not_null(), _number("cost")), _number("clicked")),
    Kpi("cost_per_lead", "Cost per lead", "cost", "customers who enquired", f"{_CONTACTED}, campaigns with a product",
        "price", _of(_MADE & pl.col("lead").is_not_null(), _number("cost")), _number("lead")),
    Kpi("cost_per_conversion", "Cost per conversion", "cost", "contacted and converted", f"{_CONTACTED}; counts those "
        "who would have converted anyway", "price", _of(_MADE, _number("cost")), _BOUGHT),
    Kpi("roas", "Revenue per cost", "revenue", "cost", f"{_CONTACTED}; counts what would have come anyway", "ratio",
        _of(_MADE, _EARNED), _number("cost")),
)  # fmt: skip
"""In the order of the funnel. `is_control`, `cost` and the columns of a unit must be there."""

FUNNEL = ("reach", "engagement", "consideration", "conversion_contacted", "loyal")


def kpi_rows(units: pl.DataFrame, days: int, fixed: float = 0.0, kpis: Sequence[Kpi] = KPIS) -> list[dict[str, Any]]:
    """Each figure of these units that has a denominator; `fixed` is added to the cost of those with a price.

    Customers are independent; units of one customer count as one observation.
    """
    customer = units["customer_id"].rank("dense").cast(pl.Int64).to_numpy() - 1 if units.height else np.zeros(0, int)
    count = int(customer.max()) + 1 if len(customer) else 0
    found = []
    for kpi, above, below in _columns(units, kpis):
        known = ~(np.isnan(above) | np.isnan(below))
        if not known.any() or (below[known].sum() <= 0 and kpi.kind != "price"):
            continue
        x, t = (np.bincount(customer[known], weights=part[known], minlength=count) for part in (above, below))
        here = np.bincount(customer[known], minlength=count) > 0
        found.append(_told(kpi, x[here], t[here], days, fixed if kpi.kind == "price" else 0.0))
    return found


def breakdown(
    units: pl.DataFrame, by: str, days: int, kpis: Sequence[Kpi] = KPIS, most: int = 60
) -> list[dict[str, Any]]:
    """The figures of each value of a column, the most frequent `most` in order: `value`, `customers`, `kpis`.

    A share that tells of fewer than ten customers with the event, or without it, is hidden, and with it others from
    which it could be worked out; so is a price whose event is.
    """
    known = units.drop_nulls(by)
    counts = known.group_by(by).agg(pl.col("customer_id").n_unique().alias("n")).sort("n", by, descending=[True, False])
    kept = counts.head(most)[by].sort().to_list()
    groups = [(value, known.filter(pl.col(by) == value)) for value in kept]
    found = [
        {
            "value": str(value),
            "customers": part["customer_id"].n_unique(),
            "kpis": kpi_rows(part, days, kpis=kpis) if part["customer_id"].n_unique() >= FEWEST else [],
        }
        for value, part in groups
    ]
    for kpi in kpis:
        _hide(found, kpi)
    return found


def _columns(units: pl.DataFrame, kpis: Sequence[Kpi]) -> Iterator[tuple[Kpi, np.ndarray, np.ndarray]]:
    pairs = [expr.alias(f"{kpi.name}.{side}") for kpi in kpis for side, expr in (("x", kpi.above), ("t", kpi.below))]
    made = units.select(pl.col("customer_id"), *pairs)  # the id gives constants their length
    for kpi in kpis:
        above, below = (made[f"{kpi.name}.{side}"].cast(pl.Float64).fill_null(np.nan).to_numpy() for side in ("x", "t"))
        yield kpi, above, below


def _told(kpi: Kpi, x: np.ndarray, t: np.ndarray, days: int, fixed: float) -> dict[str, Any]:
    above, below = float(x.sum()) + fixed, float(t.sum())
    told = {
        "kpi": kpi.name,
        "text": kpi.text,
        "numerator": {"text": kpi.numerator, "value": rounded(above)},
        "denominator": {"text": kpi.denominator, "value": rounded(below)},
        "population": kpi.population,
        "customers": len(x),
        "window_days": days,
        "kind": kpi.kind,
    }
    if kpi.kind == "price":
        return told | _price(x, t, fixed)
    if kpi.kind == "share":
        return told | clustered_share(x, t).told()
    if kpi.kind == "per_thousand":
        return told | rate(above, below / 1000).told()
    if kpi.name == "roas":
        return told | ratio_by_fieller(x, t).told()
    return told | ratio(x, t).told()


def _price(x: np.ndarray, t: np.ndarray, fixed: float) -> dict[str, Any]:
    """Cost per event; where there was none, at least the cost by Garwood's upper limit of the events."""
    cost, events, n = float(x.sum()) + fixed, float(t.sum()), len(x)
    if events <= 0:
        least = cost / rate(0, 1).high
        return Estimate(np.nan, least, np.nan, "Garwood, no event").told()
    if n < 2:
        return Estimate(cost / events, np.nan, np.nan, "Fieller").told()
    spread = np.cov(x, t) / n
    return fieller(cost / n, events / n, spread[0, 0], spread[1, 1], spread[0, 1]).told()


def _hide(found: list[dict[str, Any]], kpi: Kpi) -> None:
    cells: list[dict[str, Any]] = [row for group in found for row in group["kpis"] if row["kpi"] == kpi.name]
    if kpi.kind not in ("share", "price", "per_thousand") or not cells:
        return
    counted = "denominator" if kpi.kind == "price" else "numerator"
    having = np.array([[float(row[counted]["value"] or 0)] for row in cells])
    of = np.array([float(row["denominator"]["value"] or 0) for row in cells])
    if kpi.kind == "price":
        of = np.array([float(row["customers"]) for row in cells])
    for row, hidden in zip(cells, hidden_shares(having, np.maximum(of, having[:, 0]))[:, 0], strict=True):
        if hidden:
            for key in ("value", "low", "high", "numerator", "denominator"):
                row[key] = None
            row["hidden"] = True


def by_name(rows: Sequence[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """The figures by their name."""
    return {row["kpi"]: row for row in rows}
