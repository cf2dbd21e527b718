"""What uplift would learn from, found before anything is read whole: trials, arms, days, and what is left out."""

from collections.abc import Callable, Iterator
from datetime import date

import numpy as np
import polars as pl

from recsys.lake.store import Lake
from recsys.uplift.config import UpliftConfig
from recsys.uplift.trials import find_trials
from recsys.uplift.units import check_units, split_of, units

Tables = dict[str, pl.DataFrame]


def uplift_lines(
    config: UpliftConfig,
    lake: Lake,
    until: date | None,
    sampled: Callable[[float], Iterator[Tables]],
    whole: Callable[[], bool],
) -> list[str]:
    """Sentences on the section; `sampled` gives tables of buckets, and `whole` says afterwards whether of all.

    Raises ConfigError or DataError where the lake cannot tell what a contact adds.
    """
    trials = find_trials(lake, config, until)
    split = split_of(trials, config)
    found = [units(tables, config, trials.found, split, "train") for tables in sampled(1.0)]
    rows = pl.concat(found)
    if whole():
        check_units(rows["arm"].to_numpy() > 0, rows["outcome"].to_numpy(), "train")
    treated = rows["arm"].to_numpy() > 0
    rates = [float(np.mean(rows["outcome"].to_numpy()[one])) if one.any() else 0.0 for one in (treated, ~treated)]
    test = f"campaigns from {split.test_from} on" if split.test_from else f"{config.test_share:.0%} of the customers"
    left_out = trials.left_out | split.left_out
    lines = [
        f"uplift: {config.outcome}; {len(split.train)} trials of {trials.units:,} units in all, the test is {test}; of "
        f"what was looked at {rates[0]:.1%} of the contacted and {rates[1]:.1%} of the others"
    ]
    return lines + [f"uplift: {name} left out: {why}" for name, why in sorted(left_out.items())]
