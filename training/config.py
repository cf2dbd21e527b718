"""The configuration of a training run: YAML into frozen models that refuse what they do not know."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from recsys.churn.config import ChurnConfig
from recsys.clustering import SegmentsConfig
from recsys.features.definition import FeatureConfig
from recsys.features.examples import EvaluationConfig
from recsys.shipped import find
from recsys.strict_yaml import override, read_yaml, validate
from recsys.two_tower import ModelConfig
from recsys.uplift.config import UpliftConfig
from training.adoption import AdoptionConfig
from training.embedding import EmbeddingConfig
from training.loop import TrainingConfig
from training.network import LossConfig
from training.tuning import TuningConfig


class ServingConfig(BaseModel):
    """What the bundle does when it answers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    exclude_held: bool = True
    """Never recommend what the customer holds."""
    diversity: float = Field(default=0.0, ge=0, le=1)
    """0 ranks by score alone; above, each product also loses by its likeness to those before it (docs/serving.md)."""


class Config(BaseModel):
    """Everything a training run depends on besides the lake."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")
    """First part of the bundle's directory name."""
    seed: int = Field(default=0, ge=0)
    """Initial weights, order of examples, dropout."""
    threads: int = Field(default=2, ge=1)
    """Threads of training; part of what makes a run repeatable."""
    features: FeatureConfig = FeatureConfig()
    recommender: bool = True
    """Whether there is a recommender; without one, as for a lake that knows no products, `embedding`, `churn` or
    `uplift` must be given, and `model`, `loss` and `evaluation` are not read."""
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    adoption: AdoptionConfig | None = None
    """Probabilities by horizon; they are not built without this section, which needs the temporal protocol."""
    churn: ChurnConfig | None = None
    """Who will leave; it is not told without this section."""
    uplift: UpliftConfig | None = None
    """What contacts add, and for whom; it is not told without this section."""
    embedding: EmbeddingConfig | None = None
    """Customer embeddings; they are not built without this section."""
    segments: SegmentsConfig | None = None
    """Segments of the embedded customers; they are not built without this section, which needs `embedding`."""
    serving: ServingConfig = ServingConfig()
    tuning: TuningConfig | None = None
    """What `recsys tune` searches; no part of a bundle."""

    @model_validator(mode="after")
    def _adoption_needs_time(self) -> Self:
        if self.adoption and self.evaluation.protocol != "temporal":
            protocol = self.evaluation.protocol
            raise ValueError(f"adoption needs evaluation.protocol: temporal, not {protocol}; leave the section out")
        return self

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if self.segments and not self.embedding:
            raise ValueError("segments needs a section embedding (embedding: {} takes its defaults)")
        if not self.recommender and not self.embedding and not self.churn and not self.uplift:
            raise ValueError("recommender: false leaves nothing to train; give a section embedding, churn or uplift")
        if not self.recommender and self.adoption:
            raise ValueError("adoption needs the recommender; leave the section out, or recommender: false")
        return self


def load_config(path_or_name: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read a configuration file, or a shipped one by its name, and apply `a.b=value` overrides.

    Raises ConfigError naming the key that is wrong and the nearest valid one.
    """
    path = find("configs", path_or_name)
    raw = read_yaml(path)
    for change in overrides:
        override(raw, change)
    return parse_config(raw, str(path))


def parse_config(raw: Mapping[str, Any], source: str) -> Config:
    """Validate a mapping; `source` names it in errors."""
    return validate(Config, raw, source)
