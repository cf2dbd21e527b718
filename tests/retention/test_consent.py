"""Consent as it stands on a day, and the draw of those with whom nothing is done."""

from datetime import date, datetime

import numpy as np
import polars as pl

from recsys.retention.consent import consented
from recsys.retention.measurement import detectable, held_out

DAY = date(2024, 1, 6)
IDS = pl.Series("customer_id", ["a", "b", "c", "d"])


def said(*rows: tuple[str, str, str | None, bool, int]) -> pl.DataFrame:
    return pl.DataFrame(
        [(who, purpose, channel, granted, datetime(2024, 1, day)) for who, purpose, channel, granted, day in rows],
        schema=["customer_id", "purpose", "channel", "granted", "at"],
        orient="row",
    )


def test_what_was_said_last_before_the_day_counts() -> None:
    table = said(
        ("a", "marketing", "email", True, 1),
        ("a", "marketing", "email", False, 5),
        ("a", "marketing", "phone", True, 1),
        ("b", "marketing", None, True, 1),
        ("b", "marketing", "phone", False, 2),
        ("c", "profiling", None, True, 1),
        ("d", "marketing", "email", False, 3),
        ("d", "marketing", None, True, 3),
    )
    found = consented(table, IDS, "marketing", ["email", "phone", None], date(2024, 1, 10))
    assert found.tolist() == [[False, True, True], [True, False, True], [False, False, True], [False, True, True]]
    earlier = consented(table, IDS, "marketing", ["email"], date(2024, 1, 5))
    assert earlier[:, 0].tolist() == [True, True, False, False]


def test_without_channels_consent_is_for_all() -> None:
    table = said(("a", "marketing", None, True, 1)).drop("channel")
    assert consented(table, IDS, "marketing", ["email"], None)[:, 0].tolist() == [True, False, False, False]


def test_the_draw_is_the_same_for_a_customer_and_another_for_another_seed() -> None:
    ids = pl.Series([f"C{i}" for i in range(20_000)])
    drawn = held_out(ids, 0.05, seed=1)
    assert 880 < drawn.sum() < 1_120
    assert np.array_equal(held_out(ids[:100], 0.05, seed=1), drawn[:100])
    assert (held_out(ids, 0.05, seed=2) & drawn).sum() < 100
    assert not held_out(ids, 0.0, seed=1).any()
    assert (held_out(ids, 0.2, seed=1) >= drawn).all()


def test_an_effect_can_be_shown_as_often_as_it_says() -> None:
    """Simulated: with the rate named, four of five tests find the difference."""
    p, held = np.full(6_000, 0.3), np.arange(6_000) < 1_000
    rate = detectable(p, held)
    assert rate is not None
    rng = np.random.default_rng(0)
    seen = 0
    for _ in range(1_000):
        left = rng.random(6_000) < np.where(held, p, p * (1 - rate))
        a, b = left[held].mean(), left[~held].mean()
        error = np.sqrt(a * (1 - a) / 1_000 + b * (1 - b) / 5_000)
        seen += (a - b) / error > 1.96
    assert 740 < seen < 870
    assert detectable(p[:50], held[:50]) is None
    assert detectable(np.full(100, 0.01), np.arange(100) < 20) is None


def test_consent_of_many_is_what_each_said_last() -> None:
    rng, channels = np.random.default_rng(3), ["phone", None, "email", "post"]
    rows = [
        (f"C{rng.integers(0, 40)}", str(rng.choice(["marketing", "profiling"])), channels[rng.integers(0, 4)],
         bool(rng.random() < 0.5), int(rng.integers(1, 8)))
        for _ in range(400)
    ]  # fmt: skip
    table, ids = said(*rows), pl.Series("customer_id", [f"C{n}" for n in rng.permutation(45)])
    found = consented(table, ids, "marketing", channels, DAY)
    for place, customer in enumerate(ids):
        for column, channel in enumerate(channels):
            heard = [
                (day, not granted)
                for who, purpose, through, granted, day in rows
                if who == customer and purpose == "marketing" and through in (None, channel) and day < 6
            ]
            assert found[place, column] == (channel is None or (bool(heard) and not max(heard)[1]))
        alone = consented(table.filter(customer_id=customer), ids[place : place + 1], "marketing", channels, DAY)
        assert (alone[0] == found[place]).all()
    assert 20 < found[:, [0, 2, 3]].sum() < 115
