"""Survival statistics against small cases worked out by hand, and against what is known of the data by making it."""

import numpy as np
import pytest

from recsys.errors import DataError
from recsys.survival import (
    brier_scores,
    concordance,
    integrated,
    joint_band,
    kaplan_meier,
    seen_curve,
    survival_calibration,
)

# Freireich's 6-MP arm (remission in weeks, + censored): 6 6 6 6+ 7 9+ 10 10+ 11+ 13 16 17+ 19+ 20+ 22 23 25+ 32+ 32+
# 34+ 35+; survival and Greenwood's errors are printed in Collett, Modelling Survival Data, and elsewhere.
WEEKS = np.array([6, 6, 6, 6, 7, 9, 10, 10, 11, 13, 16, 17, 19, 20, 22, 23, 25, 32, 32, 34, 35])
RELAPSE = np.array([1, 1, 1, 0, 1, 0, 1, 0, 0, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0], dtype=bool)


def test_kaplan_meier_and_greenwood_are_those_of_the_textbook() -> None:
    curve = kaplan_meier(WEEKS, RELAPSE)
    printed = {
        6: (0.8571, 0.0764),
        7: (0.8067, 0.0869),
        10: (0.7529, 0.0963),
        13: (0.6902, 0.1068),
        16: (0.6275, 0.1141),
        22: (0.5378, 0.1282),
        23: (0.4482, 0.1346),
    }
    for week, (survival, error) in printed.items():
        assert curve.at(week) == pytest.approx(survival, abs=5e-5)
        assert curve.standard_error(week) == pytest.approx(error, abs=5e-5)
    assert curve.at(5.9) == 1.0
    assert curve.at(21) == curve.at(16)
    assert curve.before(np.array([6.0, 7.0])).tolist() == [1.0, curve.at(6)]


def test_the_interval_is_taken_through_log_minus_log() -> None:
    curve = kaplan_meier(WEEKS, RELAPSE)
    s, error = curve.at(13), curve.standard_error(13)
    half = 1.959964 * error / (s * abs(np.log(s)))
    assert curve.interval(13) == pytest.approx((s ** np.exp(half), s ** np.exp(-half)), rel=1e-6)
    low, high = curve.interval(5)
    assert 0.8 < low < high == 1.0  # nobody of 21 had relapsed: Wilson


def test_censoring_comes_after_events_of_the_same_time() -> None:
    seen = seen_curve(np.array([1, 1, 2, 3]), np.array([True, False, False, True]))
    assert seen.survival.tolist() == pytest.approx([2 / 3, 1 / 3, 1 / 3])


def test_concordance_counts_pairs() -> None:
    time, event = np.array([1, 2, 2, 3]), np.array([True, True, False, False])
    # pairs: (0 against 1, 2, 3), (1 against 2 and 3); 0 beats 1 and 2, ties with 3; 1 loses to 2, beats 3
    risk = np.array([0.5, 0.3, 0.4, 0.2])
    assert concordance(time, event, risk) == pytest.approx(4 / 5)
    tied = np.array([0.5, 0.3, 0.3, 0.5])
    assert concordance(time, event, tied) == pytest.approx((1 + 1 + 0.5 + 0.5 + 0) / 5)
    assert concordance(time, event, -risk) == pytest.approx(1 / 5)
    with pytest.raises(DataError, match="no two customers"):
        concordance(time, np.zeros(4, dtype=bool), risk)


def test_weighted_concordance_weighs_late_pairs_by_who_is_no_longer_seen() -> None:
    time, event = np.array([1, 1, 2, 3]), np.array([True, False, True, False])
    risk = np.array([0.1, 0.2, 0.9, 0.3])
    # at 1: case 0 loses to all three (G(1-) = 1); at 2: case 2 beats 3; G(2-) = 2/3
    weight = (2 / 3) ** -2
    assert concordance(time, event, risk, weighted=True) == pytest.approx(weight / (3 + weight))
    assert concordance(time, event, risk, weighted=True, until=1) == 0.0


def test_brier_scores_make_up_for_those_no_longer_seen() -> None:
    time, event = np.array([1, 1, 2, 3]), np.array([True, False, True, False])
    survival = np.array([[0.5, 0.4], [0.6, 0.5], [0.7, 0.6], [0.8, 0.9]])
    found = brier_scores(time, event, survival, [1, 2])
    one = [0.5**2, 0.4**2, 0.3**2, 0.2**2]  # all four are known at 1: the censored was there through month 1
    two = [0.4**2, 0.0, 0.6**2 * 1.5, 0.1**2 * 1.5]  # G(2-) = 2/3
    assert found["rows"].T.ravel().tolist() == pytest.approx([*one, *two])
    assert found["score"].tolist() == pytest.approx([np.mean(one), np.mean(two)])
    assert integrated(np.array([0.1, 0.3, 0.2]), [3, 6, 12]) == pytest.approx((0.2 * 3 + 0.25 * 6) / 9)


def test_brier_is_least_for_the_truth_and_right_under_censoring() -> None:
    rng = np.random.default_rng(0)
    n = 40_000
    hazard = rng.choice([0.02, 0.15], n)
    left = rng.geometric(hazard)
    seen = rng.integers(1, 13, n)
    time, event = np.minimum(left, seen), left <= seen
    truth = (1 - hazard) ** 6
    wholly = np.mean((truth - (left > 6)) ** 2)
    found = brier_scores(time, event, truth[:, None], [6])["score"][0]
    assert found == pytest.approx(wholly, abs=0.006)
    assert found < brier_scores(time, event, np.full((n, 1), truth.mean()), [6])["score"][0] - 0.05


def test_calibration_is_beside_kaplan_meier_in_a_joint_band() -> None:
    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(10), 500)
    hazard = 0.01 + 0.01 * groups
    kept, alone, runs = 0, 0, 150
    for _ in range(runs):
        left = rng.geometric(hazard)
        time, event = np.minimum(left, 12), left <= 12
        found = survival_calibration(time, event, (1 - hazard) ** 6, 6, groups)
        kept += all(row["low"] <= row["predicted"] <= row["high"] for row in found)
        single = [kaplan_meier(time[groups == g], event[groups == g]).interval(6) for g in range(10)]
        alone += all(low <= (0.99 - 0.01 * g) ** 6 <= high for g, (low, high) in enumerate(single))
    assert kept / runs > 0.88
    assert alone / runs < 0.75  # ten bands of 95 % each


def test_the_joint_band_holds_jointly_and_refuses_what_is_off() -> None:
    rng = np.random.default_rng(2)
    groups = np.repeat(np.arange(10), 200)
    known = np.exp(-rng.gamma(2, 0.02, (2000, 1)) * np.array([3.0, 6.0, 12.0]))
    band = joint_band(known, groups, samples=1500)
    assert 2.7 < band.factor < 3.4
    inside = 0
    for _ in range(400):
        stays = rng.random((2000, 1)) < known
        share = np.stack([stays[groups == g].mean(axis=0) for g in range(10)])
        inside += bool(((share >= band.low) & (share <= band.high)).all())
    assert 0.91 < inside / 400 < 0.985
    off = band.mean - 4 * band.error
    assert (off < band.low).all()


def test_what_is_no_time_is_refused() -> None:
    with pytest.raises(DataError, match="1 of 2 times are not above 0"):
        kaplan_meier(np.array([0.0, 1.0]), np.array([True, False]))
    with pytest.raises(DataError, match="equally many"):
        kaplan_meier(np.array([1.0]), np.array([True, False]))
    with pytest.raises(DataError, match="expected survival"):
        brier_scores(np.array([1.0]), np.array([True]), np.ones((1, 1)), [1, 2])
