"""Who the synthetic bank's customers are: latent type, life stage, traits, income, tenure, and what was recorded."""

from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

from recsys.synthetic.months import FIRST_DAY, START, dates, day_number
from recsys.synthetic.preferences import (
    STAGE_AGE,
    STAGE_SHARE,
    STAGES,
    TRAIT_SHARE,
    TRAITS,
    TYPE_SHARE,
    TYPES,
)
from recsys.synthetic.streams import Draws, Flags, Floats, Ints, Streams

JOINING_MONTHS = 12
"""New customers join in the first so many months only."""

CHANNELS = ("app", "web", "branch", "phone")

_TYPE_DIGITAL = np.array([-0.1, 1.1, 0.3, 0.2, 0.4, -1.1])
_STAGE_DIGITAL = np.array([0.8, 0.7, 0.3, 0.1, -0.2, -0.7])
_TYPE_INCOME = np.array([-0.02, 0.02, 0.02, 0.25, -0.12, -0.08])
_STAGE_INCOME = np.log(np.array([11_000.0, 27_000, 36_000, 40_000, 36_000, 21_000]))
_REGIONS = (
    ("London", 0.14), ("South East", 0.14), ("North West", 0.11), ("East of England", 0.09), ("West Midlands", 0.09),
    ("South West", 0.085), ("Yorkshire", 0.08), ("East Midlands", 0.07), ("Scotland", 0.08), ("Wales", 0.05),
    ("North East", 0.04), ("Northern Ireland", 0.025),
)  # fmt: skip
_OCCUPATIONS = ("professional", "manager", "skilled", "clerical", "service", "self_employed", "student", "retired")
_WORKING = np.array([0.20, 0.15, 0.21, 0.16, 0.16, 0.12])


@dataclass(frozen=True)
class People:
    """The customers of one bucket, N of them; truth that does not change by the month."""

    ids: pl.Series
    type: Ints  # [N] index of TYPES
    stage: Ints  # [N] index of STAGES
    born: Ints  # [N] day number
    joined: Ints  # [N] day number
    income: Floats  # [N] pounds a year at the start
    traits: Flags  # [N, TRAITS] at the start
    digital: Floats  # [N] 0 to 1, share of business done online
    liveliness: Floats  # [N] multiplier of how many events a customer causes, mean about 1
    channels: Floats  # [N, CHANNELS] shares
    taste: Floats  # [N, P] personal log multiplier per product, seen by nobody
    persuadable: Floats  # [N] personal part of the response to campaigns, seen by nobody
    partner: Ints  # [N] row of the other holder of a joint account, -1 for none

    def __len__(self) -> int:
        return len(self.type)

    def age(self, day: int) -> Floats:
        """Age in years on a day, [N]."""
        return (day - self.born) / 365.25


def draw_people(ids: pl.Series, streams: Streams, products: int) -> People:
    """Draw the customers of one bucket.

    Life stage, then latent type given stage (mixed: no stage has more than 34 % of one type), then the rest given both:

    - income: log-normal (Aitchison and Brown, The Lognormal Distribution, 1957); medians and spread 0.42 are choices;
    - tenure: log-normal with median 6 years and spread 0.9, at most from the age of 16, a choice; 8 % join during the
      first 12 months, a choice;
    - traits, digital share (logistic-normal), liveliness (log-normal), personal tastes (normal): choices.
    """
    n = len(ids)
    who = streams.open("people.type")
    stage = who.pick(STAGE_SHARE[None, :], np.zeros(n, dtype=np.int64))
    kind = who.pick(TYPE_SHARE, stage)
    low, high = STAGE_AGE[stage].T
    age = low + (high - low) * streams.open("people.age").uniform(n)
    born = (FIRST_DAY - age * 365.25).astype(np.int64)
    income = np.exp(_STAGE_INCOME[stage] + _TYPE_INCOME[kind] + 0.42 * streams.open("people.income").normal(n))
    traits = streams.open("people.traits").uniform(n, len(TRAITS)) < TRAIT_SHARE[stage]
    score = _TYPE_DIGITAL[kind] + _STAGE_DIGITAL[stage] + 0.9 * streams.open("people.digital").normal(n)
    digital = 1 / (1 + np.exp(-score))
    return People(
        ids=ids,
        type=kind,
        stage=stage,
        born=born,
        joined=_joined(age, streams),
        income=income,
        traits=traits,
        digital=digital,
        liveliness=np.exp(0.45 * streams.open("people.liveliness").normal(n) - 0.1),
        channels=_channel_shares(digital, streams),
        taste=0.35 * streams.open("people.taste").normal(n, products),
        persuadable=0.35 * streams.open("people.persuadable").normal(n),
        partner=_partners(stage, streams),
    )


def _joined(age: Floats, streams: Streams) -> Ints:
    draws = streams.open("people.joined")
    n = len(age)
    years = np.minimum(6.0 * np.exp(0.9 * draws.normal(n)), np.minimum(age - 16.0, 40.0))
    before = FIRST_DAY - 1 - (years * 365.25).astype(np.int64)
    during = FIRST_DAY + (draws.uniform(n) * (START[JOINING_MONTHS] - FIRST_DAY)).astype(np.int64)
    return np.where(draws.uniform(n) < 0.08, during, before)


def _channel_shares(digital: Floats, streams: Streams) -> Floats:
    noise = np.exp(0.5 * streams.open("people.channels").normal(len(digital), len(CHANNELS)))
    base = np.stack([0.65 * digital, 0.35 * digital + 0.05, 0.7 * (1 - digital), 0.3 * (1 - digital) + 0.02], axis=1)
    shares = base * noise
    return shares / shares.sum(axis=1, keepdims=True)


def _partners(stage: Ints, streams: Streams) -> Ints:
    """Pair about a tenth of the adults of the bucket, neighbours in order of id: couples never straddle buckets."""
    chosen = np.flatnonzero((streams.open("people.partner").uniform(len(stage)) < 0.12) & (stage >= 1))
    chosen = chosen[: len(chosen) // 2 * 2]
    partner = np.full(len(stage), -1, dtype=np.int64)
    partner[chosen[0::2]], partner[chosen[1::2]] = chosen[1::2], chosen[0::2]
    return partner


def customer_frame(people: People, streams: Streams) -> pl.DataFrame:
    """The table `customers`: attributes as recorded when the bank's 24 months begin, with a real table's gaps.

    Missing at random given stage (income 6 to 22 %), missing completely at random (2 to 5 % elsewhere), dummy birth
    dates (0.4 %), incomes recorded as monthly or with a zero too many (0.5 %): all choices.
    """
    n = len(people)
    draws = streams.open("customers.recorded")
    sex = np.array(["female", "male"], dtype=object)[(draws.uniform(n) < 0.49).astype(int)]
    names, shares = zip(*_REGIONS, strict=True)
    region = draws.pick(np.array([shares]), np.zeros(n, dtype=np.int64))
    placeholder = draws.uniform(n) < 0.004
    born = np.where(placeholder, day_number(date(1900, 1, 1)), people.born)
    frame = {
        "customer_id": people.ids,
        "born": dates(born),
        "sex": pl.Series(sex.tolist(), dtype=pl.String),
        "region": _named(names, region, draws.uniform(n) < 0.01),
        "marital_status": _marital_status(people, draws),
        "occupation": _occupation(people, draws),
        "income": _recorded_income(people, draws),
        "housing": _housing(people, draws),
        "dependants": _dependants(people, draws),
        "credit_score": _credit_score(people, draws),
        "joined": dates(people.joined),
        "joined_through": _joined_through(people, draws),
        "devices": _devices(people, draws),
    }
    return pl.DataFrame(frame)


def _named(names: tuple[str, ...], codes: Ints, missing: Flags) -> pl.Series:
    """The names at `codes`, null where `missing`."""
    table = pl.Series([*names, None], dtype=pl.String)
    return table.gather(pl.Series(np.where(missing, len(names), codes)))


def _marital_status(people: People, draws: Draws) -> pl.Series:
    n = len(people)
    by_stage = np.array([[0.03, 0.96, 0.0, 0.01], [0.25, 0.70, 0.04, 0.01], [0.66, 0.20, 0.13, 0.01]])
    by_stage = np.concatenate([by_stage, [[0.62, 0.18, 0.18, 0.02], [0.64, 0.10, 0.2, 0.06], [0.58, 0.06, 0.12, 0.24]]])
    status = np.where(people.partner >= 0, 0, draws.pick(by_stage, people.stage))
    return _named(("married", "single", "divorced", "widowed"), status, draws.uniform(n) < 0.04)


def _occupation(people: People, draws: Draws) -> pl.Series:
    n = len(people)
    weights = np.tile(_WORKING, (n, 1)) * np.exp(0.25 * draws.normal(n, len(_WORKING)))
    weights[:, :2] *= np.clip(people.income / 35_000, 0.3, 3.0)[:, None]
    job = draws.pick_each(weights)
    job = np.where((STAGES.index("student") == people.stage) & (draws.uniform(n) < 0.8), 6, job)
    job = np.where((STAGES.index("retired") == people.stage) & (draws.uniform(n) < 0.92), 7, job)
    return _named(_OCCUPATIONS, job, draws.uniform(n) < 0.05)


def _recorded_income(people: People, draws: Draws) -> pl.Series:
    n = len(people)
    income = people.income * np.exp(0.12 * draws.normal(n))
    slip = draws.uniform(n)
    income = np.where(slip < 0.003, income / 12, np.where(slip < 0.005, income * 10, income))
    gap = np.array([0.22, 0.12, 0.08, 0.08, 0.06, 0.14])[people.stage]
    recorded = pl.Series(np.round(income / 100) * 100 * 100)
    return recorded.set(pl.Series(draws.uniform(n) < gap), None)


def _housing(people: People, draws: Draws) -> pl.Series:
    n = len(people)
    owner = people.traits[:, TRAITS.index("homeowner")]
    paid_off = draws.uniform(n) < np.array([0.0, 0.02, 0.05, 0.15, 0.4, 0.85])[people.stage]
    parents = draws.uniform(n) < np.array([0.6, 0.2, 0.02, 0.01, 0.0, 0.0])[people.stage]
    code = np.where(owner, np.where(paid_off, 1, 0), np.where(parents, 3, 2))
    return _named(("mortgaged", "owned", "rented", "with_parents"), code, draws.uniform(n) < 0.03)


def _dependants(people: People, draws: Draws) -> pl.Series:
    n = len(people)
    children = np.where(people.traits[:, TRAITS.index("children")], 1 + draws.poisson(np.full(n, 0.7)), 0)
    return pl.Series(children.astype(np.float64)).set(pl.Series(draws.uniform(n) < 0.05), None)


def _credit_score(people: People, draws: Draws) -> pl.Series:
    n = len(people)
    shift = np.array([25.0, 0, 5, 35, -55, 20])[people.type]
    score = 690 + shift + 45 * np.log(people.income / 30_000) + 85 * draws.normal(n)
    return pl.Series(np.round(np.clip(score, 300, 999))).set(pl.Series(draws.uniform(n) < 0.05), None)


def _joined_through(people: People, draws: Draws) -> pl.Series:
    n = len(people)
    online = people.joined > day_number(date(2012, 1, 1))
    weights = np.stack([0.9 - 0.6 * people.digital * online, 0.1 + people.digital * online], axis=1)
    weights = np.concatenate([weights, np.full((n, 1), 0.15), np.full((n, 1), 0.1)], axis=1)
    return _named(("branch", "online", "broker", "employer"), draws.pick_each(weights), draws.uniform(n) < 0.02)


def _devices(people: People, draws: Draws) -> pl.Series:
    n = len(people)
    chance = np.stack([0.45 * people.digital, 0.5 * people.digital, 0.2 + 0.6 * people.digital], axis=1)
    owned = draws.uniform(n, 3) < chance
    names = np.array(["android", "ios", "web"])
    return pl.Series([names[row].tolist() for row in owned], dtype=pl.List(pl.String))


def truth_frame(people: People, left: Ints) -> pl.DataFrame:
    """What the bank does not know about its customers; `left` is the day each one left, far off for those who stay."""
    return pl.DataFrame(
        {
            "customer_id": people.ids,
            "type": pl.Series(TYPES).gather(pl.Series(people.type)),
            "stage": pl.Series(STAGES).gather(pl.Series(people.stage)),
            "left": dates(np.where(left > START[-1], 0, left), left > START[-1]),
        }
    )
