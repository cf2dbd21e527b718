"""Bootstrap intervals: known widths, whole customers, pairs, bad input."""

import numpy as np
import pytest

from recsys.bootstrap import Interval, bootstrap, bootstrap_many, paired_bootstrap, paired_bootstrap_many
from recsys.errors import DataError


def test_a_constant_has_no_width():
    assert bootstrap(np.full(50, 0.25)) == Interval(0.25, 0.25, 0.25)


def test_width_agrees_with_the_standard_error():
    values = np.random.default_rng(0).normal(size=4_000)
    got = bootstrap(values, samples=4_000)
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert got.value == pytest.approx(values.mean())
    assert got.high - got.value == pytest.approx(half, rel=0.08)
    assert got.value - got.low == pytest.approx(half, rel=0.08)


def test_a_wider_level_gives_a_wider_interval():
    values = np.random.default_rng(0).random(300)
    narrow, wide = bootstrap(values, level=0.5), bootstrap(values, level=0.99)
    assert wide.low < narrow.low < narrow.value < narrow.high < wide.high


def test_repeating_every_customer_does_not_shrink_the_interval():
    values = np.random.default_rng(1).random(200)
    ids = np.array([f"c{i}" for i in range(200)])
    once = bootstrap(values, ids)
    repeated = bootstrap(np.repeat(values, 5), np.repeat(ids, 5))
    assert repeated.low == pytest.approx(once.low)
    assert repeated.high == pytest.approx(once.high)
    unaware = bootstrap(np.repeat(values, 5))
    assert unaware.high - unaware.low < 0.6 * (once.high - once.low)


def test_customers_count_by_their_rows():
    got = bootstrap(np.array([1.0, 1.0, 1.0, 0.0]), ["a", "a", "a", "b"], samples=2_000)
    assert got == Interval(0.75, 0.0, 1.0)


def test_one_customer_has_no_width():
    assert bootstrap(np.array([0.0, 1.0]), ["a", "a"]) == Interval(0.5, 0.5, 0.5)


def test_many_metrics_equal_each_alone():
    rng = np.random.default_rng(2)
    values = {f"m{i}": rng.random(100) for i in range(5)}
    groups = rng.integers(0, 30, 100)
    together = bootstrap_many(values, groups, samples=200, seed=3)
    assert list(together) == list(values)
    for name, column in values.items():
        alone = bootstrap(column, groups, samples=200, seed=3)
        assert (together[name].low, together[name].high) == pytest.approx((alone.low, alone.high))


def test_pairs_see_a_difference_that_separate_intervals_hide():
    rng = np.random.default_rng(4)
    b = rng.random(1_000)
    a = b + 0.01 + rng.normal(scale=0.02, size=1_000)
    assert bootstrap(a).low < bootstrap(b).high
    got = paired_bootstrap(a, b)
    assert got.low > 0
    assert got.value == pytest.approx((a - b).mean())
    assert paired_bootstrap(b, a).high == pytest.approx(-got.low)


def test_pairs_of_many_metrics_take_the_names_of_the_first():
    a = {"x": np.array([1.0, 0.0, 1.0])}
    got = paired_bootstrap_many(a, {"x": np.zeros(3), "y": np.ones(3)})
    assert list(got) == ["x"]
    assert got["x"].value == pytest.approx(2 / 3)


def test_the_seed_decides_everything(monkeypatch):
    values = np.random.default_rng(5).random(77)
    assert bootstrap(values, seed=1) == bootstrap(values, seed=1)
    assert bootstrap(values, seed=1) != bootstrap(values, seed=2)
    whole = bootstrap(values)
    monkeypatch.setattr("recsys.bootstrap.CELLS", 1_000)
    chunked = bootstrap(values)
    assert (chunked.low, chunked.high) == pytest.approx((whole.low, whole.high))


@pytest.mark.parametrize(
    ("values", "groups", "message"),
    [
        (np.array([]), None, "values: expected one value"),
        (np.ones((2, 2)), None, "values: expected one value"),
        (np.array([1.0, np.nan]), None, r"values: 1 of 2 values are not finite \(first: row 1\)"),
        (np.ones(3), ["a"], "groups: expected 3 customer ids"),
    ],
)
def test_bad_input_is_named(values, groups, message):
    with pytest.raises(DataError, match=message):
        bootstrap(values, groups)


def test_lengths_and_names_must_agree():
    with pytest.raises(DataError, match="b: expected one value"):
        bootstrap_many({"a": np.ones(3), "b": np.ones(2)})
    with pytest.raises(DataError, match="x: pairs need the same rows"):
        paired_bootstrap_many({"x": np.ones(3)}, {})
    with pytest.raises(DataError, match="pairs need the same rows"):
        paired_bootstrap(np.ones(3), np.ones(2))
    with pytest.raises(DataError, match="samples of 1 or more"):
        bootstrap(np.ones(3), samples=0)
    assert bootstrap_many({}) == {}


def test_many_customers_are_drawn_in_blocks_and_the_interval_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    groups = np.repeat(np.arange(6000), rng.integers(1, 4, 6000))  # customers with one to three rows of their own level
    values = rng.normal(size=6000)[groups] + rng.normal(size=len(groups))
    one_by_one = bootstrap(values, groups, samples=2000)
    monkeypatch.setattr("recsys.bootstrap.BLOCKS", 500)
    in_blocks = bootstrap(values, groups, samples=2000)
    assert in_blocks.value == pytest.approx(one_by_one.value)
    assert (in_blocks.high - in_blocks.low) / (one_by_one.high - one_by_one.low) == pytest.approx(1, abs=0.12)
    alone = bootstrap(values, samples=2000)
    assert alone.high - alone.low < 0.9 * (in_blocks.high - in_blocks.low), "rows are not taken for customers"
