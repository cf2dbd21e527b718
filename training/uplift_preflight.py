"""What uplift would learn from, found before anything is read whole: trials, arms, days, and what is left out."""

from collections.abc import Callable, Iterator, Sequence
from datetime import date

import numpy as np
import polars as pl

from recsys.lake.store import Lake
from recsys.uplift.config import UpliftConfig
from recsys.uplift.trials import Trial, find_trials
from recsys.uplift.units import FEWEST, Split, check_units, split_of, units

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
    _check_enough(lake, config, trials.found, split, rows if whole() else None)
    treated = rows["arm"].to_numpy() > 0
    rates = [float(np.mean(rows["outcome"].to_numpy()[one])) if one.any() else 0.0 for one in (treated, ~treated)]
    test = f"campaigns from {split.test_from} on" if split.test_from else f"{config.test_share:.0%} of the customers"
    left_out = trials.left_out | split.left_out
    lines = [
        f"uplift: {config.outcome}; {len(split.train)} trials of {trials.units:,} units in all, the test is {test}; of "
        f"what was looked at {rates[0]:.1%} of the contacted and {rates[1]:.1%} of the others"
    ]
    return lines + [f"uplift: {name} left out: {why}" for name, why in sorted(left_out.items())]


def _check_enough(
    lake: Lake, config: UpliftConfig, trials: Sequence[Trial], split: Split, known: pl.DataFrame | None
) -> None:
    """DataError where training would have too few outcomes among the contacted or the others.

    Of a lake that was not looked at whole only the one table that tells is read, bucket by bucket, until there are
    enough: in a large lake that is the first.
    """
    table = "contacts" if config.treatment is None else "customers"
    rows = [] if known is None else [known]
    for bucket in range(lake.buckets if known is None else 0):
        rows.append(units(lake.bucket(bucket, [table]), config, trials, split, "train"))
        if _enough(pl.concat(rows)):
            return
    found = pl.concat(rows)
    check_units(found["arm"].to_numpy() > 0, found["outcome"].to_numpy(), "train")


def _enough(rows: pl.DataFrame) -> bool:
    counts = rows.group_by(pl.col("arm") > 0, "outcome").len()
    return counts.height == 4 and int(counts["len"].to_numpy().min()) >= FEWEST
