"""The bank's campaigns: a fixed schedule, who is drawn into each, the arms, and the true effect of every contact."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from recsys.synthetic.customers import People
from recsys.synthetic.hazards import Outlook
from recsys.synthetic.months import MONTH_STARTS, MONTHS, START, dates
from recsys.synthetic.products import INDEX, PRODUCT_IDS, PRODUCTS
from recsys.synthetic.state import CONTACT_CHANNELS, State
from recsys.synthetic.streams import Draws, Flags, Floats, Ints, pick

CONTACT_DAYS = 9
"""Contacts are made, or withheld, on one of the first so many days of the campaign's month; nobody leaves earlier."""

COST = np.array([4, 9, 2, 85, 420], dtype=np.int64)
"""Pence per contact by channel."""

_PROMOTED = (
    "credit_card", "cash_isa", "travel_insurance", "personal_loan", "easy_saver", "stocks_isa", "rewards_card",
    "home_insurance", "wallet_plus", "premium_account", "regular_saver", "life_insurance", "fixed_saver", "pension",
    "robo_invest", "car_insurance",
)  # fmt: skip
_RETENTION_MONTHS = {8: "phone", 14: "email", 20: "phone"}
_CATEGORIES = ("accounts", "savings", "cards", "lending", "mortgages", "insurance", "investments", "digital")
_PERSUASION = np.array(
    [
        [0.2, 1.0, -0.5, -1.1, 0.0, 0.3, 0.3, -0.2],
        [0.5, 0.2, 1.0, 0.1, 0.0, 0.1, 0.7, 1.3],
        [0.5, 0.5, 0.2, 0.4, 0.4, 1.1, -0.2, 0.2],
        [0.7, 0.2, 0.5, -0.8, 0.0, 0.0, 1.0, 0.2],
        [0.0, -0.6, 0.9, 1.2, 0.2, -0.2, -0.8, 0.4],
        [0.2, 0.6, -0.5, -0.3, 0.0, 0.5, -0.4, -0.9],
    ]
)
"""How open each type is to being addressed about a category, [types, categories]."""
_CATEGORY = np.array([_CATEGORIES.index(product.category) for product in PRODUCTS])


@dataclass(frozen=True)
class Campaign:
    """One campaign: a month, a product (-1: keeping customers), a channel, a design and its arms, control first."""

    number: int
    campaign_id: str
    month: int
    product: int
    channel: int
    design: str
    arms: tuple[str, ...]
    shares: tuple[float, ...]
    """Probability of each arm; a targeted campaign draws its own for each customer."""
    strength: tuple[float, ...]
    sample: float
    """Share of the customers who qualify that is drawn into the campaign."""


@dataclass(frozen=True)
class Offer:
    """One campaign of the month as it meets the bucket's customers; n of them are drawn into it."""

    campaign: Campaign
    customer: Ints  # [n]
    arm: Ints  # [n]
    propensity: Floats  # [n, A] probability of each arm
    chance: Floats  # [n, A] probability of the outcome under each arm, given that the customer stays
    response: Floats  # [n] score of the response, negative where contact harms
    day: Ints  # [n] days after the first of the month
    expected: Floats  # [N] probability of the outcome averaged over the draw into the campaign and its arms

    @property
    def actual(self) -> Floats:
        """Probability of the outcome under the arm that was drawn, [n]."""
        return self.chance[np.arange(len(self.arm)), self.arm]


def _schedule() -> tuple[tuple[Campaign, ...], ...]:
    designs = (
        ("randomised", ("control", "treated"), (0.5, 0.5), (0.0, 1.0), 0.30),
        ("targeted", ("control", "treated"), (0.5, 0.5), (0.0, 1.0), 0.35),
        ("randomised", ("control", "standard", "personalised"), (0.4, 0.3, 0.3), (0.0, 0.75, 1.25), 0.35),
        ("targeted", ("control", "treated"), (0.5, 0.5), (0.0, 1.0), 0.35),
    )
    months: list[list[Campaign]] = [[] for _ in range(MONTHS)]
    for i in range(2 * (MONTHS - 1)):
        month, product = 1 + i // 2, INDEX[_PROMOTED[i % len(_PROMOTED)]]
        if PRODUCTS[product].launched > MONTH_STARTS[month]:
            product = INDEX["child_saver"]
        design = designs[(i + i // len(_PROMOTED)) % 4]
        months[month].append(Campaign(i, f"K{month + 1:02d}{'AB'[i % 2]}", month, product, i % 5, *design))
    for i, (month, channel) in enumerate(_RETENTION_MONTHS.items(), start=2 * (MONTHS - 1)):
        place = CONTACT_CHANNELS.index(channel)
        months[month].append(Campaign(i, f"K{month + 1:02d}R", month, -1, place, *designs[0][:4], sample=1.0))
    return tuple(tuple(campaigns) for campaigns in months)


SCHEDULE = _schedule()
"""The campaigns of each month; the same whatever the seed."""
CAMPAIGNS = tuple(sorted((campaign for month in SCHEDULE for campaign in month), key=lambda campaign: campaign.number))
"""All campaigns in order of their number."""


def campaign_frame() -> pl.DataFrame:
    """The table `campaigns`: one row each, from the first to the last day of its month."""
    listed = sorted(CAMPAIGNS, key=lambda campaign: campaign.campaign_id)
    month = np.array([campaign.month for campaign in listed])
    return pl.DataFrame(
        {
            "campaign_id": [campaign.campaign_id for campaign in listed],
            "product_id": [None if campaign.product < 0 else PRODUCT_IDS[campaign.product] for campaign in listed],
            "starts": dates(START[month]),
            "ends": dates(START[month + 1] - 1),
            "objective": ["retention" if campaign.product < 0 else "sale" for campaign in listed],
            "main_channel": [CONTACT_CHANNELS[campaign.channel] for campaign in listed],
            "design": [campaign.design for campaign in listed],
            "arms": [sorted(campaign.arms) for campaign in listed],
        },
        schema_overrides={"product_id": pl.String},
    )


def make_offer(campaign: Campaign, people: People, state: State, look: Outlook, draws: Draws) -> Offer:
    """Draw the customers of one campaign and their arms; who qualifies depends on the state at the month's start only.

    A customer qualifies with consent for the channel, fewer than about three recent contacts, and either room for the
    product or, for retention, activity clearly under their habit. Effects and shares are choices.
    """
    base = look.leave if campaign.product < 0 else look.acquire[:, campaign.product]
    qualifies = _qualifies(campaign, state, look)
    response = _response(campaign, people, state, look)
    strength = np.array(campaign.strength)
    chance = _retention(base, response, strength) if campaign.product < 0 else _uplift(base, response, strength)
    arms = _arm_probabilities(campaign, people, state, look)
    drawn = qualifies & (draws.uniform(len(people)) < campaign.sample)
    arm = pick(arms, np.arange(len(people)), draws.uniform(len(people)))
    day = (draws.uniform(len(people)) * CONTACT_DAYS).astype(np.int64)
    averaged = (1 - campaign.sample) * base + campaign.sample * (arms * chance).sum(axis=1)
    rows = np.flatnonzero(drawn)
    return Offer(
        campaign=campaign,
        customer=rows,
        arm=arm[rows],
        propensity=arms[rows],
        chance=chance[rows],
        response=response[rows],
        day=day[rows],
        expected=np.where(qualifies, averaged, base),
    )


def contact_chances(
    product: int, channel: int, people: People, state: State, look: Outlook, strength: float = 1.0
) -> tuple[Flags, Floats]:
    """The truth about a contact that any campaign might make this month, of this strength (1: as most are).

    Returns who qualifies for it, [N], and the probability of acquiring the product in the month without and with the
    contact, [N, 2]; both include the chance of staying, and no other contact is made.
    """
    arms = ("control", "treated")
    campaign = Campaign(-1, "", state.month, product, channel, "randomised", arms, (0.5, 0.5), (0.0, strength), 1.0)
    chance = _uplift(look.acquire[:, product], _response(campaign, people, state, look), np.array(campaign.strength))
    return _qualifies(campaign, state, look), chance * (1 - look.leave)[:, None]


def _qualifies(campaign: Campaign, state: State, look: Outlook) -> Flags:
    reachable = state.present & state.consents[:, campaign.channel] & (state.pressure < 3.0)
    if campaign.product < 0:
        return reachable & (state.activity < -0.5)
    return reachable & look.open_to[:, campaign.product]


def _response(campaign: Campaign, people: People, state: State, look: Outlook) -> Floats:
    """Score of the response to being contacted: type and category, channel, need, fatigue and a personal part."""
    online = 2 * people.digital - 1
    channel = np.stack([0.35 * online, 0.2 + 0 * online, 0.7 * online, -0.5 * online, 0.3 - 0.4 * online])
    score = channel[campaign.channel] + people.persuadable - 0.3 * state.pressure
    if campaign.product < 0:
        return score + 0.6
    need = np.clip(0.35 * (look.score[:, campaign.product] + 4.6), -0.8, 0.8)
    return score + _PERSUASION[people.type, _CATEGORY[campaign.product]] + need


def _uplift(base: Floats, response: Floats, strength: Floats) -> Floats:
    """[N, A]: a contact adds a chance of its own where the response is positive, and spoils part of it elsewhere."""
    gain = np.outer(0.06 * np.clip(response, 0, 2.2), strength)
    spoiled = np.exp(np.outer(0.7 * np.clip(response, -2, 0), np.minimum(strength, 1)))
    return 1 - (1 - base[:, None] * spoiled) * (1 - gain)


def _retention(base: Floats, response: Floats, strength: Floats) -> Floats:
    """[N, A]: a contact takes up to 70 % off the hazard of leaving."""
    return base[:, None] * (1 - np.outer(np.clip(0.45 * response, -0.3, 0.7), np.minimum(strength, 1)))


def _arm_probabilities(campaign: Campaign, people: People, state: State, look: Outlook) -> Floats:
    """[N, A]; targeting follows need, views, activity and holdings, which also move the outcome: it confounds."""
    if campaign.design == "randomised":
        return np.tile(campaign.shares, (len(people), 1))
    score = -0.5 + 1.1 * np.log1p(state.views[:, campaign.product]) + 0.5 * state.activity
    score = score + 0.9 * (people.digital - 0.5) + 0.15 * (state.held.sum(axis=1) - 4)
    score = score + 0.45 * np.clip(look.score[:, campaign.product] + 4.6, -2.0, 2.0)
    treated = np.clip(1 / (1 + np.exp(-score)), 0.08, 0.92)
    return np.stack([1 - treated, treated], axis=1)
