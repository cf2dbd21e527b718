"""Which churn models are tried, and their settings."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

Candidate = Literal["logistic", "boosting", "network"]


class LogisticConfig(BaseModel):
    """Logistic regression on numbers, missing flags, and a column for each value of a category."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    l2: float = Field(default=1.0, gt=0)
    """Strength of the ridge penalty: half the squared weights times this, against the sum of the log losses."""


class ChurnModelsConfig(BaseModel):
    """Candidates, fitted on the same folds, blended by what they say of rows that they have not seen."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    candidates: tuple[Candidate, ...] = ("logistic",)
    """Models that are tried; those that do not help get no weight and are no part of the bundle."""
    folds: int = Field(default=5, ge=0, le=20)
    """Folds of the training and validation parts together: each candidate is fitted once without each fold, that fold
    stops and judges it, and what is served is the mean over the folds. 0: one fit on the training part, judged on the
    validation part, as where the validation part is later in time and that is what counts."""
    logistic: LogisticConfig = LogisticConfig()

    @field_validator("candidates")
    @classmethod
    def _some_once(cls, value: tuple[Candidate, ...]) -> tuple[Candidate, ...]:
        if not value or len(set(value)) < len(value):
            raise ValueError(f"candidates: one or more of logistic, boosting, network, each once; found {list(value)}")
        return value

    @field_validator("folds")
    @classmethod
    def _no_single_fold(cls, value: int) -> int:
        if value == 1:
            raise ValueError("folds: 1 leaves nothing to fit on; give 0 for one fit, or 2 and more")
        return value
