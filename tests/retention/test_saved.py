"""What retention lists have saved: the save rate, customers kept and their worth, by action and over several lists."""

import numpy as np
import polars as pl
import pytest

from recsys.retention.saved import saved


def drawn(
    rng: np.random.Generator, held_out: float, save: float, count: int, number: int = 0, level: float = 0.2
) -> pl.DataFrame:
    """A list of one action whose customers leave as foretold, less by the save rate where contacted."""
    probability = rng.beta(2, 2 / level - 2, count)
    contacted = rng.random(count) >= held_out
    chance = probability * np.where(contacted, 1 - save, 1.0)
    return pl.DataFrame(
        {
            "list": np.full(count, number),
            "action": ["call"] * count,
            "arm": np.where(contacted, "contact", "hold_out"),
            "probability": probability,
            "at_stake": rng.lognormal(10, 1, count),
            "cost": np.full(count, 900.0),
            "left": rng.random(count) < chance,
        }
    )


def test_the_save_rate_is_that_of_the_arms_and_worth_what_was_at_stake() -> None:
    rows = drawn(np.random.default_rng(0), 0.5, 0.4, 40_000)
    one, every = saved(rows)
    assert (one.action, every.action) == ("call", None) and one.told() | {"action": None} == every.told()
    assert one.contacted + one.held_out == rows.height and one.shown == 1
    assert one.save_rate.value == pytest.approx(0.4, abs=0.03)
    assert one.save_rate.low < 0.4 < one.save_rate.high
    assert one.kept.value == pytest.approx(one.contacted * 0.08, rel=0.1)
    true = one.contacted * (0.08 * rows["at_stake"].mean() - 900)  # type: ignore[operator]
    assert one.gain.low < true < one.gain.high and one.gain.low > 0


@pytest.mark.parametrize(("count", "share", "level"), [(400, 0.1, 0.2), (1000, 0.08, 0.2), (3000, 0.05, 0.1)])
def test_intervals_hold_the_truth_with_few_held_out(count: int, share: float, level: float) -> None:
    found, n = np.zeros(3), 300
    for seed in range(n):
        rows = drawn(np.random.default_rng(seed), share, 0.3, count, level=level)
        one, mine = saved(rows)[0], rows.filter(pl.col("arm") == "contact")
        risk = 0.3 * float((mine["probability"] * mine["at_stake"]).sum())
        told = (one.save_rate.estimate(), one.kept, one.gain)
        true = (0.3, 0.3 * float(mine["probability"].sum()), risk - 900.0 * mine.height)
        found += [not (told[i].low > true[i] or told[i].high < true[i]) for i in range(3)]
    assert (found / n > 0.915).all() and (found / n < 0.985).all(), found / n


def test_what_was_foretold_takes_noise_away() -> None:
    rows = drawn(np.random.default_rng(3), 0.2, 0.2, 20_000, level=0.3)
    blind = rows.with_columns(pl.lit(0.3).alias("probability"))
    sharp, plain = saved(rows)[0].kept, saved(blind)[0].kept
    assert sharp.high - sharp.low < 0.98 * (plain.high - plain.low)


def test_lists_with_other_shares_held_out_are_compared_each_with_its_own() -> None:
    rng = np.random.default_rng(1)
    calm, wild = drawn(rng, 0.5, 0.0, 20_000, 0, 0.1), drawn(rng, 0.05, 0.0, 20_000, 1, 0.5)
    rows = pl.concat([calm, wild])
    one = saved(rows)[0]
    pooled = 1 - one.left_contacted.value / one.left_held_out.value
    assert pooled < -0.5, "added up as they are, the contacted leave far more often"
    assert one.save_rate.low < 0.01 and abs(one.save_rate.value) < 0.06  # 0.02 is its standard error


def test_arms_of_a_few_are_not_told_of_and_an_action_without_hold_out_is_no_test() -> None:
    rows = drawn(np.random.default_rng(2), 0.5, 0.5, 400)
    letters = rows.filter(pl.col("arm") == "contact").with_columns(pl.lit("letter").alias("action"))
    few = pl.concat([rows.filter(pl.col("arm") == "hold_out").head(9), rows.filter(pl.col("arm") == "contact")])
    call, letter, every = saved(pl.concat([few, letters]))
    assert not call.told_of and call.told()["save_rate"] is None and call.told()["contacted"] is None
    assert not letter.told_of and letter.held_out == 0 and letter.shown == 0
    assert every.held_out == 9 and every.contacted == few.height - 9


def test_what_would_give_a_small_arm_away_is_not_told() -> None:
    rng = np.random.default_rng(4)
    calls, letters = drawn(rng, 0.5, 0.2, 400), drawn(rng, 0.5, 0.2, 400).with_columns(pl.lit("letter").alias("action"))
    held = pl.col("arm") == "hold_out"
    few = pl.concat([calls.filter(held).head(5), calls.filter(~held)])
    call, letter, every = saved(pl.concat([few, letters]))
    assert not call.told_of and every.told_of
    assert not letter.told_of and letter.held_out > 10, "the whole less the letters is the calls"
