"""A search for a better autoencoder, or encoder of histories: the same command, judged without their own noise."""

import json
from pathlib import Path

import pytest
import yaml

from recsys.errors import ConfigError
from recsys.lake.store import Lake
from tests.conftest import SmallBank
from training.config import Config, load_config
from training.search_space import resolve
from training.tune import tune

QUICK = [
    "threads=1",
    "recommender=false",
    "adoption=null",
    "churn=null",
    "segments=null",
    "embedding.autoencoder={epochs: 2, hidden: 16, dim: 4, batch_size: 128}",
    "embedding.sequence={epochs: 2, hidden: 8, dim: 4, batch_size: 128}",
]


def searched(part: str, space: dict[str, object]) -> Config:
    tuning = {"part": part, "space": space, "random_trials": 2, "pruning": None}
    return load_config("demo", [*QUICK, f"tuning={json.dumps(tuning)}"])


@pytest.mark.parametrize(
    ("part", "key", "metric"),
    [
        ("autoencoder", "embedding.autoencoder.learning_rate", "reconstruction"),
        ("sequence", "embedding.sequence.learning_rate", "contrast"),
    ],
)
def test_an_encoder_is_tuned_by_the_same_command(
    part: str, key: str, metric: str, small_bank: SmallBank, tmp_path: Path
) -> None:
    config = searched(part, {key: {"low": 0.0001, "high": 0.02, "log": True}})
    told: list[str] = []
    folder, found = tune(config, Lake.open(small_bank.lake), tmp_path, 3, lambda *_: None, told.append)
    assert metric in found and all(metric in line for line in told) and len(told) == 3
    best = yaml.safe_load((folder / "best.yaml").read_text())
    assert load_config(folder / "best.yaml").recommender is False
    section, name = key.split(".")[1:]
    assert 0.0001 <= best["embedding"][section][name] <= 0.02


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("embedding.autoencoder.dim", "more dimensions always tell more"),
        ("embedding.autoencoder.swap", "validation has no noise"),
        ("embedding.autoencoder.width", "did you mean"),
        ("model.dim", "a search may change embedding.autoencoder"),
    ],
)
def test_what_would_make_trials_incomparable_is_refused(key: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        resolve(searched("autoencoder", {key: {"low": 0.01, "high": 0.3}}))


def test_a_part_that_is_not_trained_is_refused() -> None:
    tuning = {"part": "sequence", "space": {"embedding.sequence.hidden": {"choices": [8, 16]}}}
    sets = [*QUICK[:-1], "embedding.sequence=null", f"tuning={json.dumps(tuning)}"]
    with pytest.raises(ConfigError, match="not trained by this configuration"):
        resolve(load_config("demo", sets))
