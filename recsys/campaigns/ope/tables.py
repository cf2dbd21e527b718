"""Logs of decisions read from a lake's tables: `decisions` with `outcomes`, or the `contacts` of one campaign."""

from dataclasses import dataclass

import polars as pl

from recsys.campaigns.ope.log import Log, make_log
from recsys.errors import ConfigError, DataError

REVENUE = "revenue"
"""The reward that is money, in minor units; any other name is a kind of outcome, counted as 0 or 1."""
CONVERTED = "converted"


@dataclass(frozen=True)
class Logged:
    """A log and its rows in the same order: customer_id, action and at."""

    log: Log
    rows: pl.DataFrame


def from_decisions(
    decisions: pl.DataFrame, outcomes: pl.DataFrame, reward: str, days: int | None = None, by: str = "product_id"
) -> Logged:
    """The log of decisions: the action is their column `by` (product_id or action), null meaning none.

    reward: `revenue`, the money of a decision's outcomes, or a kind of outcome: whether it came about. Only outcomes
    within `days` of their decision count. Raises DataError for no decisions, decisions without propensity, and outcomes
    before their decision or of none that is known; ConfigError for a reward that no outcome has.
    """
    if decisions.is_empty():
        raise DataError("decisions: the table holds none of those asked for; there is nothing to evaluate a policy on")
    _check_columns(decisions, ("decision_id", "customer_id", "at", by, "propensity"), "decisions")
    known = outcomes.filter(pl.col("decision_id").is_not_null()) if "decision_id" in outcomes.columns else outcomes[:0]
    joined = known.join(decisions.select("decision_id", made=pl.col("at")), on="decision_id", how="inner")
    early = joined.filter(pl.col("at") < pl.col("made"))
    if len(early):
        first = early.row(0, named=True)
        raise DataError(
            f"outcomes.at: {len(early):,} of {len(joined):,} are before their decision (first: {first['outcome_id']}, "
            f"{first['at']}, decided {first['made']}); an outcome follows what caused it"
        )
    if days is not None:
        joined = joined.filter(pl.col("at") < pl.col("made") + pl.duration(days=days))
    if reward == REVENUE:
        _check_columns(outcomes, (REVENUE,), "outcomes")
        earned = joined.group_by("decision_id").agg(pl.col(REVENUE).sum().cast(pl.Float64).alias("reward"))
    else:
        kinds = outcomes["kind"].unique().sort().to_list()
        if reward not in kinds:
            raise ConfigError(f"reward {reward!r}: the outcomes' kinds are {', '.join(kinds) or 'none'}, and {REVENUE}")
        came = joined.filter(pl.col("kind") == reward)
        earned = came.select(pl.col("decision_id").unique(), pl.lit(1.0).alias("reward"))
    rows = decisions.with_columns(pl.col(by).fill_null("none").alias("taken")).sort("at", "decision_id")
    return _logged(rows.join(earned, on="decision_id", how="left", maintain_order="left"))


def from_contacts(contacts: pl.DataFrame, reward: str) -> Logged:
    """The log of one campaign's contacts: the action is the arm; who was withheld counts as any other arm does.

    reward: `converted`, or `revenue` less cost. Raises DataError for no contacts or one without propensity.
    """
    if contacts.is_empty():
        raise DataError("contacts: the table holds none of the campaign asked for")
    if reward not in (CONVERTED, REVENUE):
        raise ConfigError(f"reward {reward!r}: contacts have {CONVERTED} and {REVENUE}")
    _check_columns(contacts, ("arm", "propensity", reward), "contacts")
    money = pl.col(REVENUE).fill_null(0) - (pl.col("cost").fill_null(0) if "cost" in contacts.columns else 0)
    earned = money.cast(pl.Float64) if reward == REVENUE else pl.col(CONVERTED).fill_null(False).cast(pl.Float64)
    rows = contacts.with_columns(pl.col("arm").alias("taken"), earned.alias("reward")).sort("at", "contact_id")
    return _logged(rows)


def _logged(rows: pl.DataFrame) -> Logged:
    actions = rows["taken"].unique().sort().to_list()
    place = {name: number for number, name in enumerate(actions)}
    log = make_log(
        rows["taken"].replace_strict(place, return_dtype=pl.Int64).to_numpy(),
        rows["propensity"].to_numpy(),
        rows["reward"].fill_null(0.0).to_numpy(),
        actions,
        rows["customer_id"].to_numpy(),
    )
    return Logged(log, rows.select("customer_id", pl.col("taken").alias("action"), "at"))


def _check_columns(frame: pl.DataFrame, names: tuple[str, ...], table: str) -> None:
    missing = [name for name in names if name not in frame.columns]
    if missing:
        raise DataError(f"{table}: has no column {missing[0]}, without which no policy can be evaluated on it")
