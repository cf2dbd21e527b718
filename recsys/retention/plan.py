"""What can be done to keep a customer, what it costs and how often it works: the plan behind a retention list."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class SaveRate(BaseModel):
    """The share of customers who would leave and stay because of an action: an input until it has been measured."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    value: float = Field(ge=0, le=1)
    """The best guess."""
    low: float | None = Field(default=None, ge=0, le=1)
    """What it is at least, as far as one knows."""
    high: float | None = Field(default=None, ge=0, le=1)
    """What it is at most."""
    origin: Literal["assumed", "published", "measured"]
    """assumed: nobody knows. published: by others. measured: against a random hold-out of one's own customers."""
    source: str = Field(min_length=1)
    """Whose guess, which publication or which measurement; the list says it."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        low = self.value if self.low is None else self.low
        high = self.value if self.high is None else self.high
        if not low <= self.value <= high:
            raise ValueError(f"low {low}, value {self.value} and high {high} must ascend")
        return self


class Action(BaseModel):
    """Something that is done to keep a customer."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: str = Field(min_length=1)
    """As the list names it: call, letter, fee_waiver."""
    channel: str | None = None
    """By which it reaches the customer, as the table consents names it; none for what needs no consent."""
    cost: int = Field(ge=0)
    """Of one contact, in minor units."""
    offer_cost: int = Field(default=0, ge=0)
    """Of what is offered, in minor units: paid for everyone who takes it, also for those who would have stayed."""
    uptake: float = Field(default=1.0, ge=0, le=1)
    """The share of those contacted who take the offer."""
    save_rate: SaveRate
    """How often it keeps somebody who would have left."""

    @property
    def expected_cost(self) -> float:
        """Minor units a contact."""
        return self.cost + self.offer_cost * self.uptake


class RetentionPlan(BaseModel):
    """What can be done, and how the list is drawn up."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    actions: tuple[Action, ...] = Field(min_length=1)
    """At most one of them is done to a customer."""
    capacities: dict[str, int] = {}
    """The most contacts through a channel, by its name; those held out do not count."""
    holdout: float = Field(default=0.05, ge=0, le=0.5)
    """The share of those on the list, drawn at random, with whom nothing is done, to measure the effect."""
    seed: int = Field(default=0, ge=0)
    """Of the draw; another one for another list."""
    purpose: str = Field(default="marketing", min_length=1)
    """The purpose of the table consents that covers these contacts."""
    services: dict[str, str] = {}
    """What to talk about where a group of features is the strongest reason, by the group's name."""

    @model_validator(mode="after")
    def _names_once(self) -> Self:
        names = [action.name for action in self.actions]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"actions: {', '.join(twice)} stands twice")
        if unknown := sorted(set(self.capacities) - {str(action.channel) for action in self.actions}):
            raise ValueError(f"capacities: {', '.join(unknown)}: no action's channel")
        if below := sorted(name for name, most in self.capacities.items() if most < 0):
            raise ValueError(f"capacities: {', '.join(below)}: below 0")
        return self
