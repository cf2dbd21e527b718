"""Which churn models are tried, and their settings."""

from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator

Candidate = Literal[
    "logistic", "additive", "boosting", "randomised", "oblivious", "steps", "gaussian_process", "network"
]
CANDIDATES: tuple[Candidate, ...] = get_args(Candidate)


class LogisticConfig(BaseModel):
    """Logistic regression on numbers, missing flags, and a column for each value of a category."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    l2: float = Field(default=1.0, gt=0)
    """Strength of the ridge penalty: half the squared weights times this, against the sum of the log losses."""


class BoostingConfig(BaseModel):
    """Gradient boosting of trees by LightGBM."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    trees: int = Field(default=1000, ge=1)
    """Trees at most; the held-out fold says how many are kept."""
    patience: int = Field(default=50, ge=1)
    """Trees without a better log loss on the held-out fold after which no more are grown."""
    leaves: int = Field(default=12, ge=2, le=1024)
    """Leaves of a tree at most."""
    learning_rate: float = Field(default=0.03, gt=0, le=1)
    """Share of each tree's answer that is added."""
    least_in_leaf: int = Field(default=20, ge=1)
    """Customers of training in each leaf at least."""
    l2: float = Field(default=5.0, ge=0)
    """Ridge penalty on leaf values."""
    columns: float = Field(default=0.7, gt=0, le=1)
    """Share of the columns that a tree may read."""
    rows: float = Field(default=0.8, gt=0, le=1)
    """Share of the customers that a tree is grown on."""
    random_thresholds: bool = False
    """Try one threshold of each column, drawn at random, where a tree could split, not all."""
    bag: int = Field(default=1, ge=1)
    """Boosters with other seeds in each fold; the mean of their log-odds counts."""


class ObliviousConfig(BaseModel):
    """Gradient boosting of oblivious trees (`training.churn_oblivious`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    trees: int = Field(default=600, ge=1)
    """Trees at most; the held-out fold says how many are kept."""
    patience: int = Field(default=50, ge=1)
    """Trees without a better log loss on the held-out fold after which no more are grown."""
    depth: int = Field(default=5, ge=1, le=10)
    """Questions in a tree."""
    learning_rate: float = Field(default=0.05, gt=0, le=1)
    """Share of each tree's answer that is added."""
    l2: float = Field(default=3.0, ge=0)
    """Ridge penalty on leaf values."""
    bins: int = Field(default=128, ge=2, le=256)
    """Bins of each column in which thresholds are looked for."""
    rows: float = Field(default=0.8, gt=0, le=1)
    """Share of the customers that a tree is grown on."""


class StepsConfig(BaseModel):
    """Few steps, all weights fitted anew after each (`training.churn_steps`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(default=60, ge=1)
    """Steps at most; the held-out fold says how many are kept."""
    patience: int = Field(default=15, ge=1)
    """Steps without a better log loss on the held-out fold after which no more are taken up."""
    l2: float = Field(default=1.0, gt=0)
    """Ridge penalty on the weights."""
    bins: int = Field(default=64, ge=2, le=256)
    """Bins of each column between which steps are looked for."""
    asymptotes: bool = True
    """Fit the probabilities that are reached at most and at least, too; else they are 1 and 0."""


class GaussianProcessConfig(BaseModel):
    """A Gaussian process (`training.churn_gaussian_process`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    points: int = Field(default=256, ge=1, le=4096)
    """Customers between which the function is drawn, at most."""
    steps: int = Field(default=400, ge=0)
    """Steps in which lengths and variances are learned."""
    rows: int = Field(default=500, ge=2, le=10_000)
    """Customers in a step; its time goes with their cube."""
    most: int = Field(default=20_000, ge=10)
    """Customers that are fitted on at most, drawn at random where there are more."""


class NetworkConfig(BaseModel):
    """The tabular network (`recsys.churn.network`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    members: int = Field(default=8, ge=1)
    """Networks in the ensemble that shares its weights."""
    hidden: int = Field(default=96, ge=1)
    """Width of each layer."""
    layers: int = Field(default=2, ge=1)
    """Layers before the last."""
    bins: int = Field(default=32, ge=1, le=256)
    """Pieces of each number at most."""
    dim: int = Field(default=8, ge=1)
    """Values that each number, and each category of many values, is turned into."""
    dropout: float = Field(default=0.35, ge=0, lt=1)
    """Share of activations dropped in training."""
    epochs: int = Field(default=16, ge=1)
    """Passes over the training rows; the held-out fold says after which of them the weights are kept."""
    batch_size: int = Field(default=256, ge=1)
    """Customers in a step."""
    learning_rate: float = Field(default=0.03, gt=0)
    """Highest learning rate of AdamW; it rises for a fifth of the steps and falls to nothing (one cycle)."""
    weight_decay: float = Field(default=3e-4, ge=0)
    """AdamW's decay."""
    bag: int = Field(default=1, ge=1)
    """Networks with other seeds in each fold; the mean of their log-odds counts."""


class ChurnModelsConfig(BaseModel):
    """Candidates, fitted on the same folds, blended by what they say of rows that they have not seen."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    candidates: tuple[Candidate, ...] = ("logistic", "boosting", "network")
    """Models that are tried; those that do not help get no weight and are no part of the bundle. On a few thousand
    customers with some ten columns `gaussian_process` is worth its time, with more columns `oblivious`; `additive` is
    where columns do not interact, `steps` where numbers above a bound are counted."""
    folds: int = Field(default=5, ge=0, le=20)
    """Folds of the training and validation parts together: each candidate is fitted once without each fold, that fold
    stops and judges it. 0: one fit on the training part, judged on the validation part, as where the validation part
    is later in time and that is what counts."""
    refit: int = Field(default=2, ge=0, le=20)
    """Fits on both parts together, with seeds of their own, whose mean is served; each is as long as was best in the
    folds. 0: what is served is the mean of the fits that were judged."""
    logistic: LogisticConfig = LogisticConfig()
    additive: BoostingConfig = BoostingConfig(leaves=2, learning_rate=0.1, columns=1.0)
    """Boosting with trees of one split: a sum of a curve for each column, without interactions."""
    boosting: BoostingConfig = BoostingConfig()
    randomised: BoostingConfig = BoostingConfig(leaves=8, learning_rate=0.05, columns=1.0, random_thresholds=True)
    """Boosting with trees that split at random thresholds: smoother, so better on few rows, and worse on many."""
    oblivious: ObliviousConfig = ObliviousConfig()
    steps: StepsConfig = StepsConfig()
    gaussian_process: GaussianProcessConfig = GaussianProcessConfig()
    network: NetworkConfig = NetworkConfig()

    @field_validator("candidates")
    @classmethod
    def _some_once(cls, value: tuple[Candidate, ...]) -> tuple[Candidate, ...]:
        if not value or len(set(value)) < len(value):
            raise ValueError(f"candidates: one or more of {', '.join(CANDIDATES)}, each once; found {list(value)}")
        return value

    @field_validator("folds")
    @classmethod
    def _no_single_fold(cls, value: int) -> int:
        if value == 1:
            raise ValueError("folds: 1 leaves nothing to fit on; give 0 for one fit, or 2 and more")
        return value
