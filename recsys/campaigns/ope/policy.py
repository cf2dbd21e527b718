"""A policy over the decisions of a log: the same for everybody, or a table of who would get what with which chance."""

import numpy as np
import polars as pl

from recsys.campaigns.ope.log import Floats
from recsys.campaigns.ope.tables import Logged
from recsys.errors import ConfigError, DataError
from recsys.lake.contract import nearest

UNIFORM, ALWAYS = "uniform", "always:"
NEVER_NAMED = ("none", "control")
"""Actions that stand for doing nothing, for customers whom a table does not name."""


def same_for_all(spec: str, logged: Logged) -> Floats:
    """`uniform` over the log's actions, or `always:ACTION`; float64 [N, A]. ConfigError for anything else."""
    actions = logged.log.actions
    if spec == UNIFORM:
        return np.full((len(logged.log), len(actions)), 1 / len(actions))
    wanted = spec.removeprefix(ALWAYS)
    if not spec.startswith(ALWAYS) or wanted not in actions:
        raise ConfigError(
            f"--policy {spec}: no such file, and the log knows no such action{nearest(wanted, actions)}; give a file, "
            f"the folder of a plan, {UNIFORM}, or {ALWAYS}ACTION with one of {', '.join(actions[:12])}"
            + (" …" if len(actions) > 12 else "")
        )
    return np.tile(np.eye(len(actions))[actions.index(wanted)], (len(logged.log), 1))


def from_table(table: pl.DataFrame, logged: Logged, otherwise: str | None = None) -> Floats:
    """A table of customer_id, action and, optionally, probability (1 where absent) over the log; float64 [N, A].

    What the probabilities of a customer leave of 1, and whoever the table does not name, gets `otherwise`: the action
    given or, of those called none or control, the one that the log knows. Raises DataError for probabilities outside
    [0, 1] or above 1 in sum and a customer's action named twice, ConfigError for actions that the log does not know.
    """
    log, actions = logged.log, logged.log.actions
    columns = {"customer_id", "action"}
    if missing := sorted(columns - set(table.columns)):
        raise DataError(f"policy: the table has no column {missing[0]}; it needs customer_id, action and probability")
    given = table.select(
        pl.col("customer_id").cast(pl.String),
        pl.col("action").cast(pl.String),
        (pl.col("probability").cast(pl.Float64) if "probability" in table.columns else pl.lit(1.0)).alias("chance"),
    )
    _check(given)
    asked = given.filter(pl.col("customer_id").is_in(logged.rows["customer_id"].unique().implode()))
    unknown = sorted(set(asked["action"].unique().to_list()) - set(actions))
    if unknown:
        raise ConfigError(
            f"policy: {len(unknown)} of its actions are not in the log (such as {unknown[0]!r}); what was never done "
            f"cannot be evaluated; the log has {', '.join(actions[:12])}"
        )
    rest = _otherwise(otherwise, actions)
    rows = logged.rows.select("customer_id").with_row_index("row")
    places = pl.DataFrame({"action": list(actions)}).with_row_index("place")
    cells = rows.join(asked, on="customer_id").join(places, on="action")
    found = np.zeros((len(log), len(actions)))
    found[cells["row"].to_numpy(), cells["place"].to_numpy()] = cells["chance"].to_numpy()
    left = 1 - found.sum(axis=1)
    if rest is None:
        if (left > 1e-6).any():
            raise ConfigError(
                f"policy: {int((left > 1e-6).sum()):,} decisions of the log are of customers whom it does not name, or "
                f"whose probabilities sum to less than 1; say with --otherwise which action they get: "
                f"{', '.join(actions[:12])}"
            )
    else:
        found[:, rest] += np.maximum(left, 0.0)
    return np.asarray(found / found.sum(axis=1, keepdims=True), dtype=np.float64)


def _otherwise(named: str | None, actions: tuple[str, ...]) -> int | None:
    if named is not None:
        if named not in actions:
            known = f"the log has {', '.join(actions[:12])}"
            raise ConfigError(f"--otherwise {named}: no such action{nearest(named, actions)}; {known}")
        return actions.index(named)
    return next((actions.index(name) for name in NEVER_NAMED if name in actions), None)


def _check(given: pl.DataFrame) -> None:
    if given.null_count().sum_horizontal().item():
        raise DataError("policy: customer_id, action and probability may not be missing")
    wrong = given.filter((pl.col("chance") < 0) | (pl.col("chance") > 1) | pl.col("chance").is_nan())
    if len(wrong):
        first = wrong.row(0)
        raise DataError(
            f"policy: {len(wrong):,} probabilities lie outside [0, 1] (first: customer {first[0]}, {first[1]}, "
            f"{first[2]:g})"
        )
    twice = given.filter(pl.struct("customer_id", "action").is_duplicated())
    if len(twice):
        name, action = twice.row(0)[:2]
        raise DataError(f"policy: {len(twice):,} rows repeat a customer's action (first: customer {name}, {action})")
    over = given.group_by("customer_id").agg(pl.col("chance").sum()).filter(pl.col("chance") > 1 + 1e-6)
    if len(over):
        name, total = over.sort("customer_id").row(0)
        raise DataError(f"policy: the probabilities of {len(over):,} customers sum to more than 1 ({name}: {total:g})")
