"""The configuration of a search: which keys are tried with which values, and when a trial is given up."""

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Domain(BaseModel):
    """The values of one key: either `choices`, or numbers from `low` to `high`, both included."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    choices: tuple[Any, ...] | None = None
    """The values themselves, two or more."""
    low: int | float | None = None
    """Least value; whole numbers only are tried where the key takes whole numbers."""
    high: int | float | None = None
    """Greatest value."""
    log: bool = False
    """Equal ratios are equally likely, not equal differences: right for learning rates and temperatures."""

    @model_validator(mode="after")
    def _one_or_the_other(self) -> Self:
        if self.choices is not None:
            if self.low is not None or self.high is not None or self.log:
                raise ValueError("give either choices, or low and high, not both")
            if len(self.choices) < 2:
                raise ValueError("choices must be two values or more")
        elif self.low is None or self.high is None:
            raise ValueError("give choices: [...], or low and high")
        elif self.low >= self.high:
            raise ValueError(f"low must be less than high, found {self.low} and {self.high}")
        elif self.log and self.low <= 0:
            raise ValueError(f"log needs a low above 0, found {self.low}")
        return self

    def __str__(self) -> str:
        if self.choices is not None:
            return ", ".join(map(str, self.choices))
        return f"{self.low} to {self.high}" + (" (log)" if self.log else "")


class PruningConfig(BaseModel):
    """A trial ends early when its best epoch so far is worse than the median of the other trials at that epoch."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    startup_trials: int = Field(default=5, ge=1)
    """Trials that must be complete before any is given up."""
    warmup_epochs: int = Field(default=2, ge=0)
    """Epochs after which no trial is given up yet."""


class TuningConfig(BaseModel):
    """What `recsys tune` searches; training itself does not read it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    part: Literal["recommender", "autoencoder", "sequence", "churn", "uplift"] = "recommender"
    """What is searched for: the recommender, one of the two encoders of the embedding, the network of churn, or the
    trees of uplift."""
    space: dict[str, Domain] = Field(min_length=1)
    """Dotted keys of this configuration, such as model.dim, each with its values."""
    random_trials: int = Field(default=10, ge=1)
    """Finished trials before the sampler (TPE) learns from them; until then values are drawn at random."""
    pruning: PruningConfig | None = PruningConfig()
    """When a trial is given up; null lets every trial run to its end."""
