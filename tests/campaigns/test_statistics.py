"""The statistics of campaigns: known answers, agreement with tea-tasting, and false alarms as rare as promised."""

import numpy as np
import polars as pl
import pytest
import tea_tasting as tt
from scipy.stats import kstest

from recsys.campaigns.experiment import Moments, compare, cuped
from recsys.campaigns.intervals import (
    clustered_share,
    difference_of_shares,
    fieller,
    mean,
    rate,
    ratio,
    ratio_by_fieller,
    share,
)
from recsys.campaigns.sample_ratio import sample_ratio
from recsys.campaigns.sample_size import design, detectable, share_design
from recsys.campaigns.sequential import always_valid, half_width, tuned_rho


def test_intervals_of_text_books() -> None:
    found = share(81, 263)
    assert (found.low, found.high) == pytest.approx((0.2553, 0.3662), abs=1e-4), "Newcombe 1998, table I"
    apart = difference_of_shares((56, 70), (48, 80))
    assert (apart.low, apart.high) == pytest.approx((0.0524, 0.3339), abs=1e-4), "Newcombe 1998, table II (a)"
    none = difference_of_shares((0, 10), (0, 20))
    assert (none.low, none.high) == pytest.approx((-0.1611, 0.2775), abs=1e-4), "method 10, table II (g)"
    exact = rate(10, 1)
    assert (exact.low, exact.high) == pytest.approx((4.7954, 18.3904), abs=1e-4), "Garwood 1936"
    assert rate(0, 1000).low == 0 and rate(0, 1000).high == pytest.approx(3.6889 / 1000, abs=1e-7)
    assert mean(np.array([1.0, 2.0, 3.0])).low == pytest.approx(2 - 4.302653 / np.sqrt(3), abs=1e-5)


def test_nothing_to_estimate_from() -> None:
    for found in (share(0, 0), rate(0, 0), mean(np.array([])), ratio(np.zeros(3), np.zeros(3))):
        assert found.told()["value"] is None and found.told()["low"] is None
    assert np.isnan(mean(np.array([2.0])).low)


def test_events_of_one_customer_tell_less_than_those_of_several() -> None:
    rng = np.random.default_rng(0)
    chance = rng.beta(1, 3, 400)
    shown = np.full(400, 10.0)
    clicked = rng.binomial(10, chance).astype(float)
    own, plain = clustered_share(clicked, shown), share(clicked.sum(), shown.sum())
    assert own.value == plain.value and own.high - own.low > 1.5 * (plain.high - plain.low)
    assert clustered_share(clicked > 3, np.ones(400)).method == "Wilson"


def test_fieller_says_when_there_is_no_interval() -> None:
    known = fieller(100.0, 10.0, 0.0, 1.0)
    assert (known.low, known.high) == pytest.approx((100 / 11.959964, 100 / 8.040036), abs=1e-5), "denominator inverted"
    rays = fieller(100.0, 1.0, 0.0, 1.0)
    assert rays.shape == "rays" and rays.high == pytest.approx(100 / 2.959964, abs=1e-4) and rays.low < 0
    assert rays.told()["low"] is None and rays.told()["at_least"] == pytest.approx(33.784, abs=1e-2)
    assert fieller(0.1, 0.1, 1.0, 1.0).shape == "everything"


def _arms(seed: int, size: int = 400) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    arm = rng.integers(0, 2, size)
    before = rng.gamma(2.0, 10.0, size)
    visits = 1 + rng.poisson(2, size)
    return pl.DataFrame(
        {
            "arm": arm,
            "before": before,
            "spent": before * 0.8 + rng.normal(0, 8, size) + 1.5 * arm,
            "visits": visits.astype(float),
            "orders": rng.binomial(visits, 0.3 + 0.05 * arm).astype(float),
        }
    )


def test_equals_tea_tasting() -> None:
    frame = _arms(0)
    their = tt.Experiment(
        {
            "plain": tt.Mean("spent"),
            "cuped": tt.Mean("spent", covariate="before"),
            "ratio": tt.RatioOfMeans("orders", "visits"),
            "sizes": tt.SampleRatio({0: 1, 1: 1}, method="norm", correction=False),
        },
        variant="arm",
    ).analyze(frame, control=0)
    control, treated = (frame.filter(pl.col("arm") == arm) for arm in (0, 1))
    sides = [Moments.of(part["spent"].to_numpy(), part["before"].to_numpy()) for part in (treated, control)]
    for found, name in ((compare(sides[0], sides[1]), "plain"), (cuped(sides[0], sides[1]), "cuped")):
        theirs = their[name]
        assert found.treated == pytest.approx(theirs.treatment, rel=1e-6)
        assert found.difference.value == pytest.approx(theirs.effect_size, rel=1e-6)
        assert found.difference.low == pytest.approx(theirs.effect_size_ci_lower, rel=1e-6)
        assert found.difference.high == pytest.approx(theirs.effect_size_ci_upper, rel=1e-6)
        assert found.p == pytest.approx(theirs.pvalue, rel=1e-6)
        assert found.relative.value == pytest.approx(theirs.rel_effect_size, rel=1e-6)
    for part, value in ((control, their["ratio"].control), (treated, their["ratio"].treatment)):
        assert ratio(part["orders"].to_numpy(), part["visits"].to_numpy()).value == pytest.approx(value, rel=1e-6)
    counts = np.array([control.height, treated.height])
    assert sample_ratio(counts, np.array([0.5, 0.5])).p == pytest.approx(their["sizes"].pvalue, abs=1e-6)


def test_adjusting_p_values_equals_tea_tasting() -> None:
    from recsys.segment_cards.intervals import benjamini_hochberg

    frames = {(0, place): _arms(place) for place in range(6)}
    results = {
        str(place): tt.Experiment({"spent": tt.Mean("spent")}, variant="arm").analyze(frame, control=0)
        for (_, place), frame in frames.items()
    }
    theirs = tt.adjust_fdr(tt.experiment.ExperimentResults({(0, name): one for name, one in results.items()}))
    told = [one["pvalue_adj"] for one in theirs.to_dicts()]
    own = benjamini_hochberg(np.array([one["spent"].pvalue for one in results.values()]))
    assert own.tolist() == pytest.approx(told, abs=1e-6)


def test_moments_of_parts_are_those_of_the_whole() -> None:
    rng = np.random.default_rng(1)
    y, x = rng.normal(5, 2, 90), rng.normal(1e6, 3, 90)
    whole, parts = (
        Moments.of(y, x),
        Moments.of(y[:20], x[:20]) + (Moments.of(y[20:50], x[20:50]) + Moments.of(y[50:], x[50:])),
    )
    assert vars(parts) == pytest.approx(vars(whole), rel=1e-9)
    assert vars(Moments.of(y[:0]) + whole) == vars(whole)


def test_cuped_leaves_one_less_the_squared_correlation() -> None:
    rng = np.random.default_rng(2)
    for correlation in (0.0, 0.5, 0.9):
        factors = []
        for _ in range(20):
            x = rng.normal(size=4_000)
            y = correlation * x + np.sqrt(1 - correlation**2) * rng.normal(size=4_000)
            sides = [Moments.of(y[i::2], x[i::2]) for i in range(2)]
            factors.append((cuped(*sides).error / compare(*sides).error) ** 2)
        assert np.mean(factors) == pytest.approx(1 - correlation**2, rel=0.02)


def test_no_variance_and_no_covariate_are_no_crash() -> None:
    same = Moments.of(np.ones(5))
    found = compare(same, same)
    assert found.difference.value == 0 and np.isnan(found.p)
    assert cuped(Moments.of(np.arange(5.0)), Moments.of(np.arange(5.0) + 1)).variance_factor == 1.0
    nobody = compare(Moments.of(np.zeros(50)), Moments.of(np.zeros(50)), shares=True)
    assert nobody.difference.low < 0 < nobody.difference.high, "nobody converted: it cannot be told, within bounds"


def test_coverage_and_p_values() -> None:
    rng = np.random.default_rng(3)
    runs, covered, plain = 600, 0, []
    for _ in range(runs):
        treated, control = rng.gamma(2, 10, 300) + 1, rng.gamma(2, 10, 300)
        found = compare(Moments.of(treated), Moments.of(control))
        covered += found.difference.low <= 1 <= found.difference.high
        plain.append(compare(Moments.of(treated - 1), Moments.of(control)).p)
    assert covered / runs == pytest.approx(0.95, abs=2 * np.sqrt(0.95 * 0.05 / runs))
    assert kstest(plain, "uniform").pvalue > 0.01


def test_ratio_by_customer_covers() -> None:
    rng = np.random.default_rng(4)
    runs, hits, fiellers = 500, 0, 0
    for _ in range(runs):
        shown = 1 + rng.poisson(5, 400).astype(float)
        chance = rng.beta(2, 8, 400)
        clicked = rng.binomial(shown.astype(int), chance).astype(float)
        found, other = ratio(clicked, shown), ratio_by_fieller(clicked, shown)
        hits += found.low <= 0.2 <= found.high
        fiellers += other.low <= 0.2 <= other.high
    slack = 3 * np.sqrt(0.95 * 0.05 / runs)
    assert hits / runs == pytest.approx(0.95, abs=slack) and fiellers / runs == pytest.approx(0.95, abs=slack)


def test_looking_all_the_time_gives_few_false_alarms() -> None:
    rng = np.random.default_rng(5)
    looks = np.arange(100, 4_001, 100)
    rho, alarms, naive = tuned_rho(4_000), 0, 0
    for _ in range(300):
        y = rng.normal(size=4_000)
        means = np.cumsum(y)[looks - 1] / looks
        alarms += bool((np.abs(means) > half_width(1.0, looks, rho)).any())
        naive += bool((np.abs(means) > 1.96 / np.sqrt(looks)).any())
    assert alarms / 300 <= 0.05 and naive / 300 > 0.2
    found = always_valid(0.1, 0.02, 5_000)
    assert found.high - found.value > 1.3 * 1.96 * 0.02 and found.sign == 1, "the price of looking is about a half"


def test_the_sequence_is_narrowest_where_it_was_planned() -> None:
    at = {planned: float(half_width(1.0, 5_000, tuned_rho(planned))) for planned in (500, 5_000, 50_000)}
    assert at[5_000] == min(at.values())


def test_sample_ratio() -> None:
    assert sample_ratio(np.array([5_000, 5_050]), np.array([0.5, 0.5])).p > 0.5
    bad = sample_ratio(np.array([5_000, 5_500]), np.array([0.5, 0.5]))
    assert bad.blocked and bad.expected == (5_250.0, 5_250.0)
    assert not sample_ratio(np.array([400, 300, 290]), np.array([0.4, 0.3, 0.3])).blocked
    with pytest.raises(ValueError, match="sum to one"):
        sample_ratio(np.array([1, 1]), np.array([0.5, 0.6]))


def test_sizes_give_the_power_that_was_asked_for() -> None:
    plan = share_design(0.05, 0.01)
    assert plan.control == plan.each_arm == pytest.approx(8_158, abs=5) and plan.days(1_000) == 17
    rng = np.random.default_rng(6)
    seen = []
    for _ in range(400):
        x, y = rng.binomial(plan.each_arm, 0.06), rng.binomial(plan.control, 0.05)
        seen.append(difference_of_shares((x, plan.each_arm), (y, plan.control)).low > 0)
    assert np.mean(seen) == pytest.approx(0.8, abs=0.06)
    assert plan.watched > 1.5 * plan.total
    halved = share_design(0.05, 0.01, variance_factor=0.5)
    assert halved.total == pytest.approx(plan.total / 2, rel=1e-3)
    assert share_design(0.05, 0.01, arms=2).control > plan.control, "two looks at one control cost certainty"
    uneven = share_design(0.05, 0.01, control_share=0.1)
    assert uneven.control < plan.control and uneven.total > plan.total
    variances = (0.06 * 0.94, 0.05 * 0.95)
    assert detectable(variances, (plan.each_arm, plan.control)) == pytest.approx(0.01, rel=1e-3)
    with pytest.raises(ValueError, match="cannot become"):
        share_design(0.05, -0.1)
    with pytest.raises(ValueError, match="other than zero"):
        design((1.0, 1.0), 0.0)
