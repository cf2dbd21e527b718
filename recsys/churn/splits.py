"""Who belongs to training, validation and test of churn, and from which days they are seen."""

from datetime import date

import numpy as np
import polars as pl

from recsys.churn.config import ChurnConfig
from recsys.errors import ConfigError, DataError
from recsys.features.adoption_examples import add_months
from recsys.features.examples import Part
from recsys.lake.buckets import stable_hashes


def part_of(ids: pl.Series, config: ChurnConfig) -> np.ndarray:
    """str [N] the part of each customer, drawn by a hash of the id: no customer is in two."""
    text = pl.select(pl.lit(f"{config.seed}:churn:") + ids.cast(pl.String)).to_series()
    draw = stable_hashes(text) / 2.0**64
    held_out = config.test_share + config.validation_share
    return np.where(draw < config.test_share, "test", np.where(draw < held_out, "validation", "train"))


def churn_days(config: ChurnConfig, until: date | None) -> dict[Part, tuple[date | None, ...]]:
    """The days from which each part sees its customers; `until` is the day after the last event.

    By a rule: the test's horizon ends at `until`, the validation's at the test's day, that of the last training day at
    the validation's. By a label: one day, or none in a lake without dates. Raises ConfigError for a label without a
    day in a dated lake, or a day that the lake does not reach; DataError for a rule without dates.
    """
    if config.rule is None:
        return dict.fromkeys(("train", "validation", "test"), (_label_day(config, until),))
    if until is None:
        raise DataError("churn.rule: needs dated events and this lake has none; name a label instead")
    test = add_months(until, -config.horizon_months)
    validation = add_months(test, -config.horizon_months)
    last = add_months(validation, -config.horizon_months)
    train = tuple(add_months(last, -i) for i in reversed(range(config.snapshots)))
    return {"train": train, "validation": (validation,), "test": (test,)}


def horizon_end(day: date, config: ChurnConfig, until: date | None) -> date:
    """The day on which the horizon of customers seen from `day` is over; ConfigError if the data end before it."""
    end = add_months(day, config.horizon_months)
    if until is None or end > until:
        known = f"the last event is before {until}" if until else "nothing is dated"
        raise ConfigError(
            f"churn.horizon_months: {config.horizon_months} months from {day} end on {end}, past the data's end "
            f"({known}); see customers from an earlier day, or shorten the horizon"
        )
    return end


def _label_day(config: ChurnConfig, until: date | None) -> date | None:
    if until is None:
        if config.seen_from is not None:
            raise ConfigError(f"churn.seen_from: {config.seen_from}, but the lake has no dated events; leave it out")
        return None
    if config.seen_from is None:
        raise ConfigError(
            "churn.seen_from: the lake has dated events and the label has no date, so events after the outcome would "
            "be seen; name the day from which customers are seen, or give a rule in place of the label"
        )
    if config.seen_from > until:
        raise ConfigError(f"churn.seen_from: {config.seen_from} is after {until}, the day after the lake's last event")
    return config.seen_from
