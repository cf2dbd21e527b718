"""Rates by group: Wilson's interval by customer, small groups shrunk, groups of few customers hidden."""

import numpy as np
import polars as pl
import pytest

from recsys.drivers.rates import rate_table
from recsys.segment_cards.intervals import wilson


def _rows(groups: dict[str, tuple[int, int]], each: int = 1) -> pl.DataFrame:
    """Group → customers and how many of them have the outcome; each with so many rows."""
    made = []
    for name, (customers, having) in groups.items():
        for i in range(customers):
            made += [(f"{name}{i}", name, float(i < having))] * each
    return pl.DataFrame(made, schema=["customer_id", "channel", "outcome"], orient="row")


def test_rate_and_interval() -> None:
    told = rate_table(_rows({"email": (200, 40), "sms": (100, 50)}), ("channel",))
    email, sms = told["rows"]
    wanted = wilson(np.array([40.0]), np.array([200.0]))
    assert email["value"] == ["email"] and email["customers"] == 200
    assert email["rate"] == pytest.approx([0.2, wanted.low[0], wanted.high[0]], abs=5e-4)
    assert 0.2 <= email["shrunk"][0] < sms["shrunk"][0] <= 0.5 and told["overall"] == 0.3


def test_repeated_rows_of_a_customer_do_not_narrow_it() -> None:
    once, five = (rate_table(_rows({"email": (200, 40), "sms": (100, 50)}, n), ("channel",)) for n in (1, 5))
    assert five["rows"][0]["rows"] == 1000
    assert five["rows"][0]["rate"] == pytest.approx(once["rows"][0]["rate"], rel=0.01)


def test_a_small_group_is_drawn_to_the_rest() -> None:
    groups = {name: (400, 80 + 4 * i) for i, name in enumerate("abcd")} | {"small": (24, 12)}
    found = {row["value"][0]: row for row in rate_table(_rows(groups), ("channel",))["rows"]}
    small = found["small"]
    assert small["rate"][0] == 0.5 and small["shrunk"][0] < 0.47
    assert abs(found["a"]["shrunk"][0] - found["a"]["rate"][0]) < 0.5 - small["shrunk"][0]


def test_few_customers_are_hidden_with_what_would_tell_of_them() -> None:
    told = rate_table(_rows({"email": (300, 60), "sms": (200, 40), "post": (40, 4)}), ("channel",))
    shown = {row["value"][0]: not row.get("hidden") for row in told["rows"]}
    assert not shown["post"] and sum(shown.values()) == 1, "the rest less the other would be the hidden one"
    assert all(set(row) == {"value", "hidden"} for row in told["rows"] if row.get("hidden"))


def test_nothing_known() -> None:
    rows = _rows({"email": (20, 10)}).with_columns(channel=pl.lit(None, dtype=pl.String))
    assert rate_table(rows, ("channel",))["rows"] == []
