"""What churn is, from where it is learned, and what a mistake costs: the section `churn` of a configuration."""

from datetime import date
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from recsys.churn.models_config import ChurnModelsConfig
from recsys.churn.survival_config import SurvivalConfig


class LeavingRule(BaseModel):
    """When a customer has left, where no column says so. Of two conditions the one that is met first counts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    accounts_closed: bool = False
    """Left on the day on which the last open account was closed."""
    inactive_days: int | None = Field(default=None, ge=1, le=3660)
    """Left when nothing was done for so many days in a row."""
    activity: tuple[Literal["transactions", "interactions"], ...] = ("transactions", "interactions")
    """Tables whose rows are something done; of interactions all but holding and closing."""

    @model_validator(mode="after")
    def _some_condition(self) -> Self:
        if not self.accounts_closed and self.inactive_days is None:
            raise ValueError("give accounts_closed: true, inactive_days: N, or both")
        if self.inactive_days is not None and not self.activity:
            raise ValueError("inactive_days needs a table in activity: transactions, interactions, or both")
        return self


class ChurnCosts(BaseModel):
    """What two kinds of mistake cost, in one unit of your choice: only their ratio matters."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    false_alarm: float = Field(gt=0)
    """Acting on a customer who would have stayed: the contact and what was offered."""
    missed: float = Field(gt=0)
    """Not acting on a customer who leaves: what acting would have saved, on average."""


class ChurnConfig(BaseModel):
    """Who will leave: what counts as leaving and how it is judged. Leave the section out to not build it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str | None = None
    """Attribute of customers that says who left; if neither it nor a rule is given, the one with the role label."""
    positive: str | None = None
    """The label's value that means left, where the label is a category."""
    seen_from: date | None = None
    """With a label, in a lake with dated events: the day from which customers are seen, the outcome being later."""
    rule: LeavingRule | None = None
    """What counts as leaving where no label says it; needs a lake with dates."""
    horizon_months: int = Field(default=3, ge=1, le=60)
    """With a rule: leaving counts within so many calendar months after the day from which a customer is seen."""
    snapshots: int = Field(default=6, ge=1)
    """With a rule: days, a month apart, from which training sees its customers."""
    examples: int = Field(default=200_000, ge=100)
    """Customers × days that training reads at most, and validation and test likewise, drawn by a hash."""
    test_share: float = Field(default=0.2, gt=0, lt=1)
    """Share of the customers of whom training sees nothing: `recsys churn report` judges by them."""
    validation_share: float = Field(default=0.2, gt=0, lt=1)
    """Share of all customers by whom the model is chosen and calibrated and the tiers are drawn."""
    seed: int = 0
    """Draws the customers of test and validation."""
    costs: ChurnCosts | None = None
    """From which probability acting pays; without it the threshold is the one of the best F1 on validation."""
    tiers: dict[str, float] = {"high": 0.05, "medium": 0.2}
    """Name → share of the customers, from the most likely to leave down; the others are `low`."""

    models: ChurnModelsConfig = ChurnModelsConfig()
    """What is tried. With a rule, whose validation part is later in time, `folds` is 0 unless it is given."""
    survival: SurvivalConfig | None = None
    """With a rule: when they will leave; it is not told without this section."""

    @field_validator("tiers")
    @classmethod
    def _rising(cls, tiers: dict[str, float]) -> dict[str, float]:
        shares = list(tiers.values())
        if shares != sorted(set(shares)) or not all(0 < share < 1 for share in shares):
            raise ValueError(
                "tiers are cumulative shares between 0 and 1, ascending, such as {high: 0.05, medium: 0.2}"
            )
        if "low" in tiers or not all(tiers):
            raise ValueError("the tier low is what the others leave; name the others only")
        return tiers

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.rule and (self.label or self.positive or self.seen_from):
            raise ValueError("rule, or label (with positive and seen_from): one of them says who left, not both")
        if self.survival and not self.rule:
            raise ValueError("survival needs a rule, which says when customers leave; a label only says who did")
        if self.test_share + self.validation_share >= 1:
            raise ValueError("test_share and validation_share together must be below 1, for somebody to learn from")
        inactive = self.rule.inactive_days if self.rule else None
        if inactive is not None and inactive > 28 * self.horizon_months:
            raise ValueError(
                f"rule.inactive_days: {inactive} days do not fit into a horizon of {self.horizon_months} months; "
                "lengthen horizon_months or take fewer days"
            )
        return self

    @property
    def fitted(self) -> ChurnModelsConfig:
        """`models` as they are fitted: of customers seen from earlier days nothing is held out but the later part."""
        later = self.rule is not None and "folds" not in self.models.model_fields_set
        return self.models.model_copy(update={"folds": 0}) if later else self.models
