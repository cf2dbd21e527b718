"""Who gets which offer through which channel under shared limits: exact dual prices, and a plan with a certificate."""

from recsys.campaigns.allocation.choice import choose
from recsys.campaigns.allocation.problem import Actions, Limits, Part, Prices, Problem
from recsys.campaigns.allocation.solve import Solution, solve

__all__ = ["Actions", "Limits", "Part", "Prices", "Problem", "Solution", "choose", "solve"]
