"""Rates of an outcome by channel, hour, segment and group: Wilson intervals by customer, small groups shrunk."""

from typing import Any

import numpy as np
import polars as pl

from recsys.segment_cards.intervals import Estimates, clustered_wilson, ratio_of_sums, rounded, shrunk
from recsys.segment_cards.suppression import hidden_shares

MOST_VALUES = 40
"""Values of one table, the most frequent."""


def rate_table(rows: pl.DataFrame, by: tuple[str, ...]) -> dict[str, Any]:
    """Rates of `outcome` for each value of the columns `by`, rows of one `customer_id` counting as one observation.

    `rate` with its Wilson interval is the group's own; `shrunk` is drawn to the rate of all as far as the groups do
    not really differ (beta-binomial empirical Bayes on the number of independent rows). A group is hidden whose rate
    tells of fewer than ten customers with the outcome, or without it, and others from which it could be worked out.
    """
    known = rows.drop_nulls(list(by))
    each = known.group_by(*by, "customer_id").agg(pl.col("outcome").sum().alias("x"), pl.len().alias("t"))
    x, t = pl.col("x").cast(pl.Float64), pl.col("t").cast(pl.Float64)
    sums = each.group_by(by).agg(
        x.sum(), t.sum(), (x * x).sum().alias("xx"), (x * t).sum().alias("xt"), (t * t).sum().alias("tt"),
        pl.len().alias("customers"), (x > 0).sum().alias("with"), (x < t).sum().alias("without"),
    )  # fmt: skip
    sums = sums.sort(["t", *by], descending=[True, *(False for _ in by)]).head(MOST_VALUES).sort(by)
    if not sums.height:
        return {"by": list(by), "overall": None, "rows": []}
    column = {name: sums[name].cast(pl.Float64).to_numpy() for name in sums.columns if name not in by}
    share, error = ratio_of_sums(*(column[name] for name in ("x", "t", "xx", "xt", "tt", "customers")))
    own, effective = clustered_wilson(share, error, column["t"])
    drawn = shrunk(own.value * effective, effective)
    hidden = hidden_shares(column["with"][:, None], column["customers"])[:, 0]
    hidden |= hidden_shares(column["without"][:, None], column["customers"])[:, 0]
    values = sums.select(by).rows()
    told = [_told(values[i], column, own, drawn, i, bool(hidden[i])) for i in range(sums.height)]
    return {"by": list(by), "overall": rounded(float(column["x"].sum() / column["t"].sum())), "rows": told}


def _told(
    value: tuple[Any, ...], column: dict[str, np.ndarray], own: Estimates, drawn: Estimates, i: int, hidden: bool
) -> dict[str, Any]:
    entry: dict[str, Any] = {"value": [str(part) for part in value]}
    if hidden:
        return {**entry, "hidden": True}
    entry |= {"rows": int(column["t"][i]), "customers": int(column["customers"][i])}
    for name, estimate in (("rate", own), ("shrunk", drawn)):
        entry[name] = [rounded(float(part[i])) for part in (estimate.value, estimate.low, estimate.high)]
    return entry
