"""The sentence about a campaign agrees with its own figures."""

from dataclasses import replace

from recsys.campaigns.effects import ArmEffect, Found
from recsys.campaigns.intervals import Estimate, fieller
from recsys.campaigns.verdict import sentence

CLEAR = Estimate(0.08, 0.01, 0.18, "Newcombe")
UNCLEAR = Estimate(0.04, -0.02, 0.12, "Newcombe")
RELATIVE = fieller(1.0, 1.0, 0.1, 0.1)


def arm(name: str, best: Estimate, adjusted_p: float) -> ArmEffect:
    return ArmEffect(name, 0.2, 0.1, best, best, UNCLEAR, RELATIVE, 0.04, (60, 60), 0.11, adjusted_p=adjusted_p)


def test_an_arm_whose_interval_leaves_out_zero_but_that_is_not_told_among_several_says_why() -> None:
    several = Found("randomised", "", None, None, (arm("personal", CLEAR, 0.08), arm("standard", UNCLEAR, 0.3)))
    said = sentence(several, False, "conversions")
    assert "Of the arm personal it cannot be told whether it worked: +8.00 [1.00, 18.00]" in said
    assert said.count("of several arms tested together it cannot (Benjamini-Hochberg, p 0.08)") == 1
    alone = replace(several, arms=several.arms[:1])
    assert sentence(alone, False, "conversions").startswith("It worked: +8.00")


def test_of_several_arms_the_one_that_changed_nothing_is_named() -> None:
    nothing = replace(arm("standard", UNCLEAR, 1.0), detectable=0.0)
    several = Found("randomised", "", None, None, (arm("personal", CLEAR, 0.01), nothing))
    said = sentence(several, False, "conversions")
    assert "The arm personal worked" in said
    assert "Of the arm standard it cannot be told whether it worked: the outcome was the same for everybody" in said
