"""What counts as a purchase or a margin, and over what time value is taken: the configuration of `recsys value`."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

YEAR = 365.25


class PurchaseConfig(BaseModel):
    """Where customers buy when they like and nobody says that they leave: what is read from transactions."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    direction: Literal["out", "in"] = "out"
    """A purchase is money that leaves the customer (out), or that reaches the customer (in)."""
    categories: tuple[str, ...] = ()
    """Only transactions of these categories are purchases; empty for all."""
    margin: float = Field(default=1.0, gt=0)
    """What is earned of each unit of money spent: 0.3 for a shop, 0.002 for a card."""
    unit_days: int = Field(default=7, ge=1)
    """The unit of time in which the parameter alpha is told; the answers do not depend on it."""
    holdout_days: int | None = Field(default=None, ge=1)
    """The last days, on which the model is judged; a third of all days if not given. It is then fitted on all days."""
    customers: int | None = Field(default=500_000, ge=100)
    """The model is fitted and judged on about so many customers, drawn by a hash; none for all of them."""
    draws: int = Field(default=200, ge=40)
    """Futures that are drawn of each customer for the intervals."""


class ContractConfig(BaseModel):
    """Where customers stay until they leave: what a month with them brings, in minor units. The parts are added."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    products: dict[str, float] = {}
    """Yearly margin of each product while it is held, by product id."""
    balance_rate: float = 0.0
    """Yearly margin as a share of the latest balance: 0.01 for one per cent. An overdraft counts as nothing."""
    attribute: str | None = None
    """A number of the customer that is their monthly margin already, in minor units."""
    leave_months: int | None = Field(default=None, ge=1, le=60)
    """Over how many months the bundle's label of leaving was taken; a bundle that learned by a rule knows it."""
    origin: str = Field(min_length=1)
    """Where these margins come from; the report says it."""

    @model_validator(mode="after")
    def _some_margin(self) -> Self:
        if not (self.products or self.balance_rate or self.attribute):
            raise ValueError("give products, balance_rate or attribute: without a margin nobody is worth anything")
        return self


class ValueConfig(BaseModel):
    """How lifetime value is found; with `contract` from margins and survival, else from purchases."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    seed: int = Field(default=0, ge=0)
    """Of draws, samples and resamples."""
    horizon_months: int = Field(default=12, ge=1, le=240)
    """How far ahead value is counted."""
    discount: float = Field(default=0.1, ge=0, le=1)
    """Yearly rate at which later money is worth less."""
    purchases: PurchaseConfig = PurchaseConfig()
    """Non-contractual value."""
    contract: ContractConfig | None = None
    """Contractual value; needs a bundle that says who will leave."""

    @property
    def horizon_days(self) -> int:
        return round(self.horizon_months * YEAR / 12)
