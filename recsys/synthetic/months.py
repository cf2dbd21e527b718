"""The synthetic bank's calendar: 24 fixed months as day numbers, and the conversion of days to dates and times."""

from datetime import date, timedelta

import numpy as np
import polars as pl

from recsys.synthetic.streams import Floats, Ints

MONTHS = 24
"""Months of the bank's life, 2023-01 to 2024-12; never the clock."""

MONTH_STARTS = tuple(date(2023 + m // 12, m % 12 + 1, 1) for m in range(MONTHS + 1))
"""First day of each month, and the day after the last one."""

_EPOCH = date(1970, 1, 1)

START = np.array([(day - _EPOCH).days for day in MONTH_STARTS], dtype=np.int64)
"""MONTH_STARTS as days since 1970-01-01, [MONTHS + 1]."""

LENGTH = np.diff(START)
"""Days in each month, [MONTHS]."""

FIRST_DAY, LAST_DAY = int(START[0]), int(START[-1]) - 1
NEVER = np.int64(10**6)
"""A day after every other."""


def month_of_year(month: int) -> int:
    """0 for January."""
    return month % 12


def day_number(day: date) -> int:
    """Days since 1970-01-01."""
    return (day - _EPOCH).days


def as_date(number: int) -> date:
    """The inverse of `day_number`."""
    return _EPOCH + timedelta(days=int(number))


def weekday(days: Ints) -> Ints:
    """0 for Monday."""
    return (days + 3) % 7


def dates(days: Ints, missing: np.ndarray | None = None) -> pl.Series:
    """Day numbers as a Date series, null where `missing`."""
    series = pl.Series(np.asarray(days, dtype=np.int32)).cast(pl.Date)
    return series if missing is None else series.set(pl.Series(missing), None)


def times(days: Ints, seconds: Ints | Floats) -> pl.Series:
    """Day numbers and seconds of the day as a Datetime("us") series."""
    micros = (np.asarray(days, dtype=np.int64) * 86_400 + np.asarray(seconds).astype(np.int64)) * 1_000_000
    return pl.Series(micros).cast(pl.Datetime("us"))
