"""The units of a bucket: whom a trial drew into which arm, seen from the day of the contact, and what came of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal

import numpy as np
import polars as pl

from recsys.errors import DataError
from recsys.lake.buckets import stable_hashes
from recsys.uplift.config import UpliftConfig
from recsys.uplift.trials import Trial, Trials, with_arms

Part = Literal["train", "test"]
FEWEST = 20
"""Units with the outcome, and without it, among the contacted and among the others."""
LEAST_CHANCE = 0.01
"""A unit whose arm had a smaller chance, or all others together, is compared with nobody and left out."""


@dataclass(frozen=True)
class Split:
    """Which trials, or which customers, training sees nothing of."""

    train: tuple[int, ...]
    """Places among the trials."""
    test: tuple[int, ...]
    test_from: date | None
    """The first day of the test; None where customers are drawn instead."""
    left_out: dict[str, str]


def split_of(trials: Trials, config: UpliftConfig) -> Split:
    """The latest trials, with `test_share` of all units, are the test; where they cannot be parted, customers are.

    A trial whose outcomes were not complete before the test's first day is in neither.
    """
    days = [trial.first for trial in trials.found]
    everywhere = tuple(range(len(days)))
    starts = sorted({day for day in days if day is not None})
    cut = None
    for day in reversed(starts[1:]):
        later = sum(trial.units for trial in trials.found if trial.first is not None and trial.first >= day)
        cut = day
        if later >= config.test_share * trials.units:
            break
    if cut is None or any(day is None for day in days):
        return Split(everywhere, everywhere, None, {})
    test = tuple(i for i, day in enumerate(days) if day is not None and day >= cut)
    late = {i for i in everywhere if i not in test and (trials.found[i].last or cut) >= cut}
    train = tuple(i for i in everywhere if i not in test and i not in late)
    if not train:
        return Split(everywhere, everywhere, None, {})
    why = f"its outcomes were not complete before {cut}, the first day of the test"
    return Split(train, test, cut, {trials.found[i].campaign: why for i in late})


def units(
    tables: Mapping[str, pl.DataFrame], config: UpliftConfig, trials: Sequence[Trial], split: Split, part: Part
) -> pl.DataFrame:
    """`customer_id`, `as_of`, `trial`, `arm` (int, 0 the control), `propensity`, `outcome` (0 or 1), ordered.

    A unit whose outcome is not known is left out. Raises DataError for an outcome that is neither yes nor no.
    """
    if config.treatment is not None:
        found = _drawn(tables["customers"], config, trials[0])
    else:
        found = _contacts(tables["contacts"], config, trials)
    if split.test_from is None:
        drawn = pl.Series(in_test(found["customer_id"], config))
        found = found.filter(drawn if part == "test" else ~drawn)
    else:
        found = found.filter(pl.col("trial").is_in(split.test if part == "test" else split.train))
    wrong = found.filter(~pl.col("outcome").is_in([0.0, 1.0]))
    if wrong.height:
        raise DataError(
            f"uplift.outcome: {config.outcome}: {wrong.height:,} rows are neither 0 nor 1 (such as "
            f"{wrong['outcome'][0]:g}); an outcome is a yes or a no"
        )
    chance = pl.col("propensity")
    return found.filter(chance >= LEAST_CHANCE, chance <= 1 - LEAST_CHANCE).sort("customer_id", "as_of", "trial")


def in_test(ids: pl.Series, config: UpliftConfig) -> np.ndarray:
    """bool [N]: whom training sees nothing of, where customers are drawn for the test."""
    text = pl.select(pl.lit(f"{config.seed}:uplift:") + ids.cast(pl.String)).to_series()
    return stable_hashes(text) / 2.0**64 < config.test_share


def check_units(treated: np.ndarray, outcome: np.ndarray, part: Part) -> None:
    """DataError where the units of a part cannot be compared: one arm only, or one kind of outcome."""
    for name, rows in (("contacted", treated), ("not contacted", ~treated)):
        yes = int(outcome[rows].sum())
        no = int(rows.sum()) - yes
        if min(yes, no) < FEWEST:
            raise DataError(
                f"uplift: of the {name} of the {part} part {yes:,} have the outcome and {no:,} have not; at least "
                f"{FEWEST} of each are needed to tell what a contact adds"
            )


def without_holders(rows: pl.DataFrame, trials: Sequence[Trial]) -> pl.DataFrame:
    """Feature rows of units but for those who held the campaign's product already: an outcome before its contact."""
    products = {i: trial.actions[0].product_id for i, trial in enumerate(trials)}
    product = pl.col("trial").replace_strict(products, return_dtype=pl.String)
    held = pl.col("holdings").list.contains(product) if "holdings" in rows.columns else pl.lit(False)
    return rows.filter(~held.fill_null(False))


def _contacts(contacts: pl.DataFrame, config: UpliftConfig, trials: Sequence[Trial]) -> pl.DataFrame:
    rows = [
        (trial.campaign, arm, i, place, share)
        for i, trial in enumerate(trials)
        for place, (arm, share) in enumerate(zip(trial.arms, trial.shares, strict=True))
    ]
    kinds = {"campaign_id": pl.String, "arm": pl.String, "trial": pl.Int32, "place": pl.Int32, "share": pl.Float64}
    known = pl.DataFrame(rows, schema=kinds, orient="row")
    found = with_arms(contacts, contacts.columns).join(known, on=["campaign_id", "arm"])
    # Several contacts of one customer in one campaign are one unit: the first says where it was drawn.
    found = found.filter(pl.col(config.outcome).is_not_null()).sort("customer_id", "trial", "at", "contact_id")
    first = found.group_by("customer_id", "trial", maintain_order=True).agg(
        pl.col("at").first().dt.date().alias("as_of"),
        pl.col("place").first().alias("arm"),
        pl.col("propensity").first().fill_null(pl.col("share").first()).alias("propensity"),
        pl.col(config.outcome).any().cast(pl.Float64).alias("outcome"),
    )
    return first.select("customer_id", "as_of", "trial", "arm", "propensity", "outcome")


def _drawn(customers: pl.DataFrame, config: UpliftConfig, trial: Trial) -> pl.DataFrame:
    if "valid_from" in customers.columns:
        customers = customers.sort("customer_id", "valid_from", nulls_last=False).unique("customer_id", keep="last")
    arm = pl.col(str(config.treatment)).cast(pl.String)
    places = {name: i for i, name in enumerate(trial.arms)}
    shares = dict(zip(trial.arms, trial.shares, strict=True))
    return customers.filter(arm.is_not_null(), pl.col(config.outcome).is_not_null()).select(
        "customer_id",
        pl.lit(None, dtype=pl.Date).alias("as_of"),
        pl.lit(0, dtype=pl.Int32).alias("trial"),
        arm.replace_strict(places, return_dtype=pl.Int32).alias("arm"),
        arm.replace_strict(shares, return_dtype=pl.Float64).alias("propensity"),
        pl.col(config.outcome).cast(pl.Float64).alias("outcome"),
    )
