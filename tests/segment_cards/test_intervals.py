"""Intervals cover what they should, and testing many things at once declares few that are not."""

import numpy as np
import pytest
from scipy import stats

from recsys.segment_cards.intervals import (
    benjamini_hochberg,
    clustered_wilson,
    dirichlet,
    newcombe,
    ratio_of_sums,
    shrunk,
    welch,
    wilson,
)


def test_wilson_is_scipys() -> None:
    ours = wilson(np.array([7, 0, 120]), np.array([31, 12, 120]))
    for place, (x, n) in enumerate(((7, 31), (0, 12), (120, 120))):
        theirs = stats.binomtest(x, n).proportion_ci(method="wilson")
        assert (ours.low[place], ours.high[place]) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_a_difference_of_shares_is_newcombes() -> None:
    """His table II: 56/70 against 48/80 is .0524 to .3339, 5/56 against 0/29 is -.0381 to .1926."""
    found = newcombe((np.array([56 / 70]), 70), (np.array([48 / 80]), 80))
    assert (found.low[0], found.high[0]) == pytest.approx((0.0524, 0.3339), abs=1e-4)
    found = newcombe((np.array([5 / 56]), 56), (np.array([0.0]), 29))
    assert (found.low[0], found.high[0]) == pytest.approx((-0.0381, 0.1926), abs=1e-4)


def test_welch_is_scipys() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 1, 30), rng.normal(0.5, 3, 200)
    theirs = stats.ttest_ind(a, b, equal_var=False)
    half, p = welch(
        np.array([a.mean() - b.mean()]),
        (np.array([a.var(ddof=1)]), np.array([b.var(ddof=1)])),
        (np.array([30.0]), np.array([200.0])),
    )
    assert p[0] == pytest.approx(theirs.pvalue, rel=1e-9)
    interval = theirs.confidence_interval()
    assert half[0] == pytest.approx((interval.high - interval.low) / 2, rel=1e-9)


def test_benjamini_hochberg_is_scipys_and_leaves_out_what_was_not_tested() -> None:
    p = np.random.default_rng(1).random(200) ** 3
    assert benjamini_hochberg(p) == pytest.approx(stats.false_discovery_control(p))
    holes = np.insert(p, [3, 100], np.nan)
    assert benjamini_hochberg(holes)[~np.isnan(holes)] == pytest.approx(stats.false_discovery_control(p))


def test_events_of_one_customer_count_as_one_customers() -> None:
    """Half of the customers have forty events that all answer, the others forty that never do: n is 60, not 2,400."""
    x = np.repeat([40.0, 0.0], 30)
    t = np.full(60, 40.0)
    share, error = ratio_of_sums(
        *(np.array([v]) for v in (x.sum(), t.sum(), (x**2).sum(), (x * t).sum(), (t**2).sum(), 60.0))
    )
    estimate, effective = clustered_wilson(share, error, np.array([2400.0]))
    assert effective[0] == pytest.approx(60, rel=0.05)
    assert estimate.high[0] - estimate.low[0] > 0.2


def test_the_interval_of_a_ratio_covers_the_truth() -> None:
    rng = np.random.default_rng(2)
    covered = 0
    for _ in range(400):
        t = rng.poisson(5, 300) + 1.0
        x = rng.binomial(t.astype(int), rng.beta(2, 6, 300)).astype(float)
        share, error = ratio_of_sums(
            *(np.array([v]) for v in (x.sum(), t.sum(), (x**2).sum(), (x * t).sum(), (t**2).sum(), 300.0))
        )
        estimate, _ = clustered_wilson(share, error, np.array([t.sum()]))
        covered += bool(estimate.low[0] <= 0.25 <= estimate.high[0])
    assert 0.91 <= covered / 400 <= 0.985


def test_groups_that_do_not_differ_shrink_together_and_those_that_do_stay_apart() -> None:
    rng = np.random.default_rng(3)
    n = np.array([20.0, 50, 400, 1000])
    same = shrunk(rng.binomial(n.astype(int), 0.2).astype(float), n)
    assert np.ptp(same.value) < 0.03
    apart = shrunk(np.array([0.05, 0.2, 0.4, 0.6]) * 1000, np.full(4, 1000.0))
    assert apart.value == pytest.approx([0.05, 0.2, 0.4, 0.6], abs=0.01)
    assert (apart.low < apart.value).all() and (apart.value < apart.high).all()


def test_a_group_without_trials_gets_the_common_rate() -> None:
    found = shrunk(np.array([30.0, 0.0]), np.array([100.0, 0.0]))
    assert found.value[1] == pytest.approx(0.3, abs=0.01)


def test_dirichlet_shares_add_up_and_enclose_what_was_seen() -> None:
    found = dirichlet(np.array([[80.0, 15, 5]]))
    assert found.value.sum() == pytest.approx(1)
    assert (found.low < np.array([0.8, 0.15, 0.05])).all() and (np.array([0.8, 0.15, 0.05]) < found.high).all()


def test_a_wilson_interval_holds_the_share_also_at_none_and_all() -> None:
    trials = np.arange(1.0, 500.0)
    for successes in (np.zeros_like(trials), trials):
        found = wilson(successes, trials)
        assert (found.low <= found.value).all() and (found.value <= found.high).all()
