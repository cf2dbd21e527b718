"""The purchases of CDNOW's 2,357 sampled customers, on which Fader and Hardie published their figures."""

from datetime import date, datetime
from pathlib import Path

import polars as pl

CALIBRATION = date(1997, 9, 30)
"""The last of the 39 weeks to which the published parameters belong."""


def purchases(datasets: Path) -> pl.DataFrame:
    lines = (datasets / "cdnow" / "CDNOW_sample.txt").read_text().splitlines()
    rows = [line.split() for line in lines]
    return pl.DataFrame(
        {
            "customer_id": [row[1] for row in rows],
            "day": [datetime.strptime(row[2], "%Y%m%d").date() for row in rows],
            "amount": [round(float(row[4]) * 100) for row in rows],
        }
    )
