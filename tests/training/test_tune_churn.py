"""A search for a better network of churn: the same command, judged by the likelihood of validation's outcomes."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from recsys.errors import ConfigError
from tests.churn.customers import customers, leaving_config, write_lake
from training.config import Config, parse_config
from training.search_space import resolve
from training.tune import tune


def searched(space: dict[str, Any]) -> Config:
    config = leaving_config(models={"network": {"epochs": 3, "members": 2, "hidden": 8}})
    tuning = {"part": "churn", "space": space, "random_trials": 2, "pruning": None}
    return parse_config({**config.model_dump(mode="json"), "tuning": tuning}, "the test")


def test_the_network_is_tuned_by_the_same_command(tmp_path: Path) -> None:
    lake = write_lake(tmp_path / "lake", customers())
    config = searched({"churn.models.network.learning_rate": {"low": 0.001, "high": 0.1, "log": True}})
    told: list[str] = []
    folder, found = tune(config, lake, tmp_path, 3, lambda *_: None, told.append)
    assert "log_likelihood" in found and len(told) == 3
    best = yaml.safe_load((folder / "best.yaml").read_text())
    assert 0.001 <= best["churn"]["models"]["network"]["learning_rate"] <= 0.1
    values = [float(line.split("log_likelihood ")[1].split(",")[0]) for line in told]
    assert all(-0.7 < value < 0 for value in values) and len(set(values)) > 1


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("churn.models.network.bag", "each trial fits one network"),
        ("churn.models.network.width", "did you mean"),
        ("churn.models.boosting.leaves", "did you mean"),
    ],
)
def test_what_a_trial_cannot_change_is_refused(key: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        resolve(searched({key: {"low": 1, "high": 30}}))
