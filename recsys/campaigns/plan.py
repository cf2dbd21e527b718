"""The plan file of a campaign: products, channels, levels, what they cost and bring, and the limits that they share."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

EXPLORED_AT_MOST = 0.5


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Lift(_Model):
    """By which share a contact raises the chance to acquire the product: an input until it has been measured."""

    value: float = Field(ge=-1, le=20)
    """The best guess; 0.3 raises a chance of 10 % to 13 %."""
    se: float = Field(default=0.0, ge=0)
    """Its standard error; caution takes some of it off."""
    origin: Literal["assumed", "published", "measured"]
    """assumed: nobody knows. published: by others. measured: against a random hold-out of one's own customers."""
    source: str = Field(min_length=1)
    """Whose guess, which publication or which measurement; the plan says it."""


class Product(_Model):
    """A product that may be offered."""

    product: str = Field(min_length=1)
    """Its id in the bundle."""
    margin: int = Field(ge=0)
    """What one conversion earns, in minor units, before the costs below."""
    reward: int = Field(default=0, ge=0)
    """Given to a converter, in minor units: paid to all who convert, also to those who would have without a contact."""
    stock: int | None = Field(default=None, ge=0)
    """The most contacts about it."""
    minimum: int = Field(default=0, ge=0)
    """The fewest contacts about it."""


class Channel(_Model):
    """A way to reach customers."""

    channel: str = Field(min_length=1)
    """As the tables consents and contacts name it."""
    cost: int = Field(ge=0)
    """Of one contact, in minor units."""
    capacity: int | None = Field(default=None, ge=0)
    """The most contacts through it."""
    lift: Lift | None = None
    """What a contact through it does; needed unless `effect` is uplift."""
    consent: bool = True
    """Whether it needs the customer's consent."""
    cooling_off_days: int = Field(default=0, ge=0)
    """Nobody is contacted who was through this channel within so many days."""
    pressure: float = Field(default=1.0, ge=0)
    """What one contact adds to the contact pressure."""


class Level(_Model):
    """How personal a contact is made."""

    level: str = Field(min_length=1)
    factor: float = Field(default=1.0, ge=0)
    """By how much the effect of a contact is multiplied."""
    cost: int = Field(default=0, ge=0)
    """Minor units a contact, besides the channel's."""


class Fatigue(_Model):
    """What it costs to contact somebody who was contacted lately."""

    half_life_days: float = Field(default=30.0, gt=0)
    """Contact pressure: the pressures of past contacts, each halved every so many days."""
    cost: int = Field(default=0, ge=0)
    """Minor units for one unit of a contact's pressure with a customer under a contact pressure of one."""


class Caps(_Model):
    """How often one customer may be contacted."""

    contacts: int = Field(default=1, ge=1, le=5)
    """The most in this plan; at most one through each channel and one about each product."""
    window_days: int = Field(default=30, ge=1)
    in_window: int | None = Field(default=None, ge=0)
    """The most within the window, this plan's and those of the table contacts together."""


class SegmentBudgets(_Model):
    """What may be spent on groups of customers."""

    by: str = Field(min_length=1)
    """`segments` for the bundle's segments, else an attribute of the table customers."""
    amounts: dict[str, int] = Field(min_length=1)
    """The id of the segment, or the attribute's value → minor units."""


class CampaignPlan(_Model):
    """Who may get what through which channel, and within which limits. An action is a product × channel × level."""

    name: str = Field(default="campaign", min_length=1)
    products: tuple[Product, ...] = Field(min_length=1)
    channels: tuple[Channel, ...] = Field(min_length=1)
    levels: tuple[Level, ...] = (Level(level="standard"),)
    budget: int | None = Field(default=None, ge=0)
    """Minor units for everything: contacts, levels and expected rewards."""
    segment_budgets: SegmentBudgets | None = None
    fatigue: Fatigue = Fatigue()
    caps: Caps = Caps()
    purpose: str = Field(default="marketing", min_length=1)
    """The purpose of the table consents that covers these contacts."""
    effect: Literal["lift", "uplift"] = "lift"
    """lift: the bundle's chance to acquire × the channels' lifts. uplift: what the bundle's part uplift has learned of
    each action from contacts drawn by chance."""
    horizon_months: int | None = Field(default=None, ge=1)
    """Of the chance to acquire; None for the bundle's first."""
    caution: float = Field(default=0.0, ge=0, le=5)
    """So many standard errors are taken off the effect: 0 plans by the best guess, 1.64 by what is nearly sure."""
    holdout: float = Field(default=0.05, ge=0, le=0.5)
    """The share of all customers, drawn at random, who are not contacted, to measure the effect."""
    exploration: float = Field(default=0.0, ge=0, le=EXPLORED_AT_MOST)
    """The share of the others who get one of their allowed actions at random, to learn."""
    seed: int = Field(default=0, ge=0)
    """Of the draws; another one for another plan."""
    valid_days: int = Field(default=30, ge=1)
    """For how long the prices may decide about single customers."""

    @model_validator(mode="after")
    def _names_once(self) -> Self:
        for field, names in (
            ("products", [one.product for one in self.products]),
            ("channels", [one.channel for one in self.channels]),
            ("levels", [one.level for one in self.levels]),
        ):
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise ValueError(f"{field}: {', '.join(twice)} stands twice")
        for one in self.products:
            if one.stock is not None and one.minimum > one.stock:
                raise ValueError(
                    f"products: {one.product}: a minimum of {one.minimum} contacts and a stock for {one.stock}"
                )
        without = [channel.channel for channel in self.channels if channel.lift is None]
        if self.effect == "lift" and without:
            raise ValueError(f"channels: {', '.join(without)}: no lift; state one, or plan by effect: uplift")
        if not self.levels:
            raise ValueError("levels: name one at least, or leave it out")
        return self
