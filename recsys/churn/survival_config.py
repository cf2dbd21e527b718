"""When customers leave: the section `churn.survival` of a configuration."""

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator


class SurvivalConfig(BaseModel):
    """P(still a customer) after each horizon, from the hazards of the months up to it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    horizons_months: tuple[int, ...] = (3, 6, 12)
    """Calendar months, ascending."""
    snapshots: int = Field(default=16, ge=1)
    """Days, a month apart, from which training sees its customers; those seen last are followed for one month only."""
    examples: int = Field(default=100_000, ge=100)
    """Customers × days that training reads at most, and validation likewise, drawn by a hash whatever happened."""
    stayed: int = Field(default=10, ge=1)
    """Months of staying that are learned from for each month of leaving, drawn and weighed up to all of them."""
    trees: int = Field(default=600, ge=1)
    """Trees at most; the likelihood on validation customers stops before."""
    patience: int = Field(default=40, ge=1)
    """Trees without a better likelihood after which fitting stops."""
    leaves: int = Field(default=15, ge=2)
    """Leaves of a tree."""
    learning_rate: float = Field(default=0.05, gt=0, le=1)
    """Weight of each tree."""
    least_in_leaf: int = Field(default=100, ge=1)
    """Customer-months in a leaf at least."""
    l2: float = Field(default=10.0, ge=0)
    """Ridge penalty on leaf values."""
    columns: float = Field(default=0.5, gt=0, le=1)
    """Share of the columns that each tree may use."""

    @field_validator("horizons_months")
    @classmethod
    def _ascending(cls, horizons: tuple[int, ...]) -> tuple[int, ...]:
        if not horizons or list(horizons) != sorted(set(horizons)) or horizons[0] < 1 or horizons[-1] > 60:
            raise ValueError("horizons_months must be distinct months from 1 to 60, ascending, such as [3, 6, 12]")
        return horizons

    @model_validator(mode="after")
    def _reaching(self) -> Self:
        if self.snapshots < self.horizons_months[-1]:
            raise ValueError(
                f"snapshots must be {self.horizons_months[-1]} or more, so that somebody is followed through the last "
                "month of the longest horizon"
            )
        return self

    @property
    def months(self) -> int:
        """Months that have a hazard."""
        return self.horizons_months[-1]
