"""What moves each latent type, life stage and life event towards a product or a merchant category (all choices)."""

import numpy as np

from recsys.synthetic.products import INDEX, PRODUCT_IDS
from recsys.synthetic.streams import Floats

TYPES = ("saver", "digital", "family", "investor", "borrower", "traditional")
STAGES = ("student", "starter", "family", "established", "preretired", "retired")
TRAITS = ("car", "pet", "children", "homeowner", "traveller")
EVENTS = ("move", "baby", "raise", "retire", "vehicle", "trip")

STAGE_SHARE = np.array([0.08, 0.20, 0.24, 0.20, 0.14, 0.14])
STAGE_AGE = np.array([[18, 23], [22, 32], [28, 47], [36, 57], [54, 66], [64, 87]], dtype=np.float64)
TYPE_SHARE = np.array(
    [
        [0.14, 0.32, 0.07, 0.10, 0.26, 0.11],
        [0.15, 0.27, 0.16, 0.13, 0.21, 0.08],
        [0.14, 0.14, 0.34, 0.13, 0.16, 0.09],
        [0.18, 0.14, 0.20, 0.20, 0.15, 0.13],
        [0.23, 0.09, 0.11, 0.24, 0.12, 0.21],
        [0.27, 0.07, 0.06, 0.20, 0.09, 0.31],
    ]
)
"""P(type | stage), [stages, types]: mixed enough that age says little about type."""

TRAIT_SHARE = np.array(
    [
        [0.15, 0.10, 0.02, 0.00, 0.30],
        [0.50, 0.20, 0.10, 0.20, 0.45],
        [0.75, 0.35, 0.80, 0.55, 0.35],
        [0.75, 0.35, 0.45, 0.65, 0.35],
        [0.75, 0.30, 0.10, 0.75, 0.45],
        [0.60, 0.25, 0.02, 0.75, 0.40],
    ]
)
"""P(trait | stage), [stages, traits]."""

EVENT_RATE = np.array(
    [
        [0.014, 0.002, 0.006, 0.000, 0.008, 0.030],
        [0.022, 0.010, 0.020, 0.000, 0.016, 0.035],
        [0.012, 0.016, 0.014, 0.000, 0.014, 0.025],
        [0.008, 0.001, 0.012, 0.000, 0.012, 0.030],
        [0.006, 0.000, 0.005, 0.020, 0.010, 0.035],
        [0.004, 0.000, 0.000, 0.000, 0.005, 0.030],
    ]
)
"""Probability of each life event in a month, [stages, events]."""

# base: log of the monthly rate of starting to consider; hold: share held at the start; close: share of holders who
# close it in a month; then log multipliers of the rate by type, by stage, and per unit of log income.
_PRODUCTS = """
id                    | base | hold | close |  sav  dig  fam  inv  bor  tra |  stu  sta  fam  est  pre  ret | income
current_account       | -3.0 | .82  | 0     |    0    0    0    0    0    0 |    0   .2    0    0    0    0 |  0
student_account       | -4.0 | .45  | .02   |    0   .4    0    0   .3    0 |   .6    0   -9   -9   -9   -9 |  0
premium_account       | -5.6 | .09  | .008  | -1.0   .2   .6  1.3  -.4   .4 |   -9  -.5   .2   .3   .3    0 |   .9
overdraft             | -5.5 | .14  | .006  | -2.0   .3   .2 -1.5  1.9 -1.0 |   .5   .4   .1    0  -.5 -1.0 |  -.3
easy_saver            | -3.15 | .30  | .006  |  1.4  -.2   .2   .2 -1.2   .5 |    0   .2    0    0   .2   .2 |   .1
regular_saver         | -4.5 | .12  | .010  |  1.7   .5   .5  -.8 -1.3  -.6 |    0   .5   .2    0  -.3  -.6 |   .1
fixed_saver           | -5.9 | .08  | 0     |  2.0 -1.3 -1.0   .3 -2.0  1.1 |   -2 -1.0  -.5    0   .6   .9 |   .4
cash_isa              | -4.8 | .15  | .005  |  1.8  -.6  -.2   .3 -1.6   .8 |  -.8  -.2    0    0   .3   .5 |   .3
child_saver           | -6.5 | .07  | .004  |   .3    0   .6   .1  -.6    0 |  -.5    0   .2    0  -.5 -1.0 |   .2
credit_card           | -3.3 | .28  | .006  |  -.8   .5   .3   .1  1.2  -.7 |   .2   .4   .1    0  -.2  -.5 |   .1
rewards_card          | -5.1 | .10  | .007  | -1.0  1.3  -.1  1.2   .3 -1.2 |   -3   .2   .2   .3   .2  -.3 |   .8
transfer_card         | -5.4 | .05  | .012  | -2.0   .2   .2 -1.6  1.9 -1.4 |  -.5   .3   .3   .2  -.4 -1.0 |  -.3
personal_loan         | -5.5 | .09  | .004  | -1.8   .1   .4 -1.2  2.0  -.6 |  -.6   .4   .3   .2  -.2  -.8 |  -.1
car_finance           | -7.0 | .06  | .002  | -1.2   .2   .6  -.4  1.1  -.5 |  -.8   .3   .3   .2    0 -1.0 |   .1
mortgage              | -6.4 | .18  | .001  |  -.1    0   .8   .2  -.3  -.3 |   -9   .7   .6    0  -.9   -9 |   .6
home_improvement_loan | -5.0 | .06  | .004  |  -.9  -.2   .8  -.1  1.1   .1 |   -9  -.5   .3   .3   .1  -.8 |   .2
home_insurance        | -6.3 | .24  | .007  |  -.1  -.8   .7   .1  -.6  1.1 |   -2  -.3   .3   .3   .3   .3 |   .1
car_insurance         | -6.3 | .22  | .009  |   .1  -.2   .4    0    0   .7 |  -.2   .1   .1   .1   .1    0 |   .0
travel_insurance      | -5.0 | .10  | .014  |   .1   .6   .1   .6  -.8   .3 |  -.2   .2    0    0   .3   .2 |   .3
life_insurance        | -6.1 | .13  | .003  |  -.2  -.8  1.5    0  -.5   .5 |   -2  -.1   .5   .3    0 -1.2 |   .2
pet_insurance         | -7.0 | .07  | .008  |    0   .2   .4    0   .1  -.1 |  -.4   .2   .1    0    0  -.2 |   .0
stocks_isa            | -5.8 | .07  | .005  |  -.2   .8  -.6  2.0 -1.8 -1.2 |  -.6   .2    0   .1   .1  -.1 |   .7
fund_account          | -5.9 | .06  | .005  |  -.8   .4  -.9  2.3 -2.0 -1.0 |   -2  -.3    0   .2   .3   .1 |   .9
robo_invest           | -5.5 | 0    | .008  |  -.3  2.0  -.2   .5 -1.2 -2.0 |   .4   .5   .1    0  -.5 -1.2 |   .3
pension               | -5.7 | .11  | .002  |   .3   .1   .6  1.5 -1.3  -.4 |   -9   .1   .2   .5   .4   -2 |   .6
wallet_plus           | -3.2 | .10  | .015  |  -.9  2.0   .2  -.3   .9 -1.8 |   .6   .5    0  -.2  -.7 -1.4 | -.1
"""  # noqa: E501

_TRAIT_BOOST = {
    "car": {"car_insurance": 2.2, "car_finance": 1.3},
    "pet": {"pet_insurance": 3.6},
    "children": {"child_saver": 2.6, "life_insurance": 0.6},
    "homeowner": {"home_insurance": 1.6, "mortgage": -0.8, "home_improvement_loan": 0.3},
    "traveller": {"travel_insurance": 1.8, "rewards_card": 0.4},
}
_EVENT_BOOST = {
    "move": {"mortgage": 3.4, "home_insurance": 2.4, "home_improvement_loan": 2.2, "personal_loan": 0.8},
    "baby": {"child_saver": 2.8, "life_insurance": 2.6, "regular_saver": 0.8},
    "raise": {"premium_account": 1.8, "rewards_card": 1.6, "pension": 1.5, "stocks_isa": 1.2, "regular_saver": 0.9},
    "retire": {"fixed_saver": 2.2, "cash_isa": 1.4, "travel_insurance": 1.2, "fund_account": 0.8, "pension": -1.5},
    "vehicle": {"car_finance": 3.6, "car_insurance": 2.8, "personal_loan": 1.4},
    "trip": {"travel_insurance": 2.4, "rewards_card": 1.0, "wallet_plus": 0.5},
}
_HELD_BOOST = {
    "current_account": {"easy_saver": 0.4, "overdraft": 0.3, "student_account": -3.0},
    "student_account": {"current_account": 0.4, "overdraft": 0.4},
    "premium_account": {"travel_insurance": -2.0, "rewards_card": 0.5},
    "overdraft": {"transfer_card": 0.7, "personal_loan": 0.7, "fixed_saver": -0.8},
    "easy_saver": {"cash_isa": 0.7, "fixed_saver": 0.7, "fund_account": 0.3},
    "regular_saver": {"cash_isa": 0.4, "stocks_isa": 0.3},
    "fixed_saver": {"cash_isa": 0.4},
    "cash_isa": {"stocks_isa": 0.6},
    "credit_card": {"rewards_card": -0.5, "transfer_card": 0.8},
    "rewards_card": {"credit_card": -0.9, "travel_insurance": 0.3},
    "personal_loan": {"transfer_card": 0.5, "car_finance": -0.5},
    "car_finance": {"car_insurance": 1.0, "personal_loan": -0.5},
    "mortgage": {"home_insurance": 1.5, "life_insurance": 1.1},
    "stocks_isa": {"fund_account": 1.1, "pension": 0.6, "robo_invest": -0.6},
    "fund_account": {"pension": 0.4, "robo_invest": -0.8},
    "life_insurance": {"child_saver": 0.3},
    "wallet_plus": {"robo_invest": 0.8, "rewards_card": 0.4},
}
_SEASON = {  # months counted from 1
    "cash_isa": {3: 0.7, 4: 0.6},
    "stocks_isa": {3: 0.7, 4: 0.6},
    "travel_insurance": {4: 0.3, 5: 0.5, 6: 0.5, 7: 0.3},
    "student_account": {8: 1.0, 9: 1.4},
    "personal_loan": {1: 0.5, 12: 0.3},
    "transfer_card": {1: 0.6, 2: 0.3},
    "credit_card": {11: 0.4, 12: 0.3},
    "car_finance": {3: 0.4, 9: 0.4},
    "mortgage": {4: 0.2, 5: 0.3, 6: 0.2, 12: -0.4},
}


def _columns() -> tuple[Floats, Floats, Floats, Floats, Floats, Floats]:
    rows = [[cell.split() for cell in line.split("|")] for line in _PRODUCTS.strip().splitlines()[1:]]
    if tuple(row[0][0] for row in rows) != PRODUCT_IDS:
        raise AssertionError("the tables of products and of preferences list different products")
    return tuple(np.array([[float(v) for v in row[c]] for row in rows]).T for c in range(1, 7))  # type: ignore[return-value]


def _boosts(names: tuple[str, ...], table: dict[str, dict[str, float]]) -> Floats:
    boosts = np.zeros((len(names), len(PRODUCT_IDS)))
    for name, products in table.items():
        for product, value in products.items():
            boosts[names.index(name), INDEX[product]] = value
    return boosts


def _season() -> Floats:
    season = np.zeros((12, len(PRODUCT_IDS)))
    for product, months in _SEASON.items():
        for month, value in months.items():
            season[month - 1, INDEX[product]] = value
    return season


_base, _hold, _close, TYPE_BOOST, STAGE_BOOST, _slope = _columns()
BASE, HOLD, CLOSE, INCOME_SLOPE = _base[0], _hold[0], _close[0], _slope[0]
"""Per product [P]; TYPE_BOOST and STAGE_BOOST are [types, P] and [stages, P]."""
TRAIT_BOOST = _boosts(TRAITS, _TRAIT_BOOST)
EVENT_BOOST = _boosts(EVENTS, _EVENT_BOOST)
HELD_BOOST = _boosts(PRODUCT_IDS, _HELD_BOOST)
SEASON_BOOST = _season()
"""Log multipliers of the rate of starting to consider a product; seasons are [12, P], January first."""
