"""The cost ledger of campaigns: what is paid once, per contact, per conversion, as a reward and for an opt-out."""

from typing import Self

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, model_validator


class Costs(BaseModel):
    """What a campaign costs and what a conversion is worth; amounts in minor units. What is left out is not counted."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    fixed: int = Field(default=0, ge=0)
    """Paid once: design, approval, set-up."""
    per_contact: int | dict[str, int] | None = None
    """Of one contact, one for all or by channel. If not given, the column cost of the table contacts."""
    per_conversion: int = Field(default=0, ge=0)
    """Paid for each contacted customer who converts: opening an account, checking credit."""
    reward: int = Field(default=0, ge=0)
    """Given to each contacted customer who converts, whether or not they would have converted anyway."""
    opt_out: int = Field(default=0, ge=0)
    """What is lost with a customer who withdraws consent within the window."""
    margin: float = Field(default=1.0, ge=0, le=1)
    """Share of revenue that is contribution margin: interest and fees less expected credit loss and funding."""
    conversion_value: int | None = Field(default=None, ge=0)
    """Margin of one conversion, in place of revenue times margin."""

    @model_validator(mode="after")
    def _no_negative_contact(self) -> Self:
        each = self.per_contact if isinstance(self.per_contact, dict) else {"": self.per_contact or 0}
        if wrong := [name for name, cost in each.items() if cost < 0]:
            raise ValueError(f"per_contact {wrong[0]}: must be 0 or more")
        return self


class CostLedger(Costs):
    """The costs of every campaign, and of some in particular."""

    source: str = ""
    """Where these figures come from; the report says it."""
    campaigns: dict[str, Costs] = {}
    """Campaign → its own costs, in place of all of the above."""

    def of(self, campaign: str) -> Costs:
        """The costs of one campaign."""
        return self.campaigns.get(campaign, self)


def with_costs(units: pl.DataFrame, costs: Costs) -> pl.DataFrame:
    """Units with `contact_cost`, `cost` and `margin` (Float64, minor units); null is not known.

    `cost` is all that varies with the customer, `margin` what a conversion earned before any cost. Nobody who was not
    contacted costs anything.
    """
    reached, bought = pl.col("contacted"), pl.col("outcome").fill_null(0.0) > 0
    if isinstance(costs.per_contact, dict):
        each = pl.col("channel").replace_strict(costs.per_contact, default=None, return_dtype=pl.Float64)
        paid = pl.when(reached).then(each * pl.col("contacts")).otherwise(0.0)
    elif costs.per_contact is not None:
        paid = pl.when(reached).then(costs.per_contact * pl.col("contacts").cast(pl.Float64)).otherwise(0.0)
    else:
        paid = pl.when(reached).then(pl.col("logged_cost").cast(pl.Float64)).otherwise(0.0)
    later = pl.when(reached & bought).then(float(costs.per_conversion + costs.reward)).otherwise(0.0)
    lost = pl.when(reached & pl.col("opted_out").fill_null(False)).then(float(costs.opt_out)).otherwise(0.0)
    if costs.conversion_value is not None:
        earned = pl.when(bought).then(float(costs.conversion_value)).otherwise(0.0)
    else:
        nothing = pl.when(~bought).then(0.0)
        earned = pl.coalesce(pl.col("revenue") * costs.margin, nothing)
    known = pl.when(pl.col("outcome").is_not_null())
    return units.with_columns(
        paid.alias("contact_cost"), (paid + later + lost).alias("cost"), known.then(earned).alias("margin")
    )
