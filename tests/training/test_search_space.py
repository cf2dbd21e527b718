"""A space that does not fit its configuration is refused before anything is tried, with what would be right."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from recsys.errors import ConfigError
from recsys.shipped import names
from recsys.strict_yaml import validate
from tests.conftest import SmallBank
from training.commands import check
from training.config import Config, load_config
from training.search_space import resolve
from training.tuning import TuningConfig


def with_space(space: dict[str, Any]) -> Config:
    tuning = validate(TuningConfig, {"space": space}, "space.yaml")
    return load_config("demo").model_copy(update={"tuning": tuning})


def test_every_shipped_space_fits_its_configuration() -> None:
    shipped = {name: load_config(name) for name in names("configs")}
    searched = {name: config for name, config in shipped.items() if config.tuning}
    assert {"beauty", "demo", "zimnat"} <= set(searched)
    for config in searched.values():
        space = resolve(config)
        assert space.configuration(space.own) == config


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ({"model.dims": {"choices": [64, 8]}}, "model.dims: unknown key; did you mean 'model.dim'"),
        ({"modle.dim": {"choices": [64, 8]}}, "did you mean 'model.dim'"),
        ({"model": {"choices": [64, 8]}}, "model: unknown key"),
        ({"evaluation.horizon_days": {"low": 30, "high": 92}}, "evaluation.horizon_days: decides how data are split"),
        ({"seed": {"low": 0, "high": 9}}, "the luckiest would win"),
        ({"adoption.dim": {"choices": [16, 32]}}, "does not change what validation measures"),
        ({"training.metric": {"choices": ["mrr", "ndcg@5"]}}, "what trials are compared by"),
        ({"training.customers": {"choices": [None, 100]}}, "which customers are validated on"),
        ({"features.protected": {"choices": [[], ["age"]]}}, "for a reviewer to decide"),
        ({"model.dropout": {"low": 0.1, "high": 1.5}}, "model.dropout: Input should be less than 1"),
        ({"model.dim": {"choices": [64, "many"]}}, "model.dim: Input should be a valid integer"),
        ({"model.dim": {"low": 63.5, "high": 70}}, "model.dim: Input should be a valid integer"),
        ({"model.item_bias": {"low": 0, "high": 1}}, "list its values as choices"),
        ({"model.dropout": {"low": 0.3, "high": 0.6}}, "0.2, the configuration's own value, is not among 0.3 to 0.6"),
        ({"model.dim": {"choices": [8, 16]}}, "64, the configuration's own value, is not among 8, 16"),
    ],
)
def test_a_space_that_does_not_fit_is_refused(space: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as error:
        resolve(with_space(space))
    assert said in str(error.value) and "tuning.space" in str(error.value)


@pytest.mark.parametrize(
    ("domain", "said"),
    [
        ({"low": 2, "high": 1}, "low must be less than high"),
        ({"low": 1}, "low and high"),
        ({"choices": [1]}, "two values or more"),
        ({"choices": [1, 2], "low": 1}, "not both"),
        ({"low": 0, "high": 1, "log": True}, "a low above 0"),
        ({"lo": 0, "high": 1}, "did you mean 'low'"),
    ],
)
def test_values_that_cannot_be_are_refused(domain: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        with_space({"model.dim": domain})


def test_check_names_a_key_that_tune_would_refuse(
    tmp_path: Path, small_bank: SmallBank, capsys: pytest.CaptureFixture[str]
) -> None:
    without = [f"{section}=null" for section in ("adoption", "churn", "segments", "embedding")]

    def checked(key: str, *overrides: str) -> str:
        config = tmp_path / "config.yaml"
        own = load_config("demo", without).model_dump(mode="json")
        content = {**own, "tuning": {"space": {key: {"low": 1, "high": 2}}}}
        config.write_text(yaml.safe_dump(content))
        check(str(config), str(small_bank.lake), overrides=list(overrides))
        return capsys.readouterr().out.splitlines()[-1]

    with pytest.raises(ConfigError, match="model.layrs: unknown key; did you mean 'model.layers'"):
        checked("model.layrs")
    assert (
        checked("model.layers", "model.layers=1") == "tune: the recommender by ndcg@5 on validation, over model.layers"
    )
    assert checked("model.layers", "model.layers=3").startswith("tune: would be refused, training would not: ")


def test_a_configuration_without_a_section_is_told_what_to_write() -> None:
    with pytest.raises(ConfigError, match="no section tuning.*--space FILE"):
        resolve(load_config("demo", ["tuning=null"]))


def test_choices_mean_what_the_configuration_reads_in_them() -> None:
    space = resolve(
        with_space(
            {
                "loss.memory": {"choices": ["64MiB", "16MiB"]},
                "features.windows": {"choices": [[7, 30, 90, 365], [30]]},
                "model.learn_temperature": {"choices": [True, False]},
            }
        )
    )
    assert space.own["loss.memory"] == 64 << 20
    tried = space.configuration({"loss.memory": 16 << 20, "features.windows": "[30]", "model.learn_temperature": True})
    assert (tried.loss.memory, tried.features.windows, tried.model.learn_temperature) == (16 << 20, (30,), True)


def test_a_trial_gets_short_numbers_within_the_range_and_the_own_value_untouched() -> None:
    config = load_config("demo", ["training.learning_rate=0.0012345678"])
    tuning = TuningConfig.model_validate({"space": {"training.learning_rate": {"low": 0.00100049, "high": 0.01}}})
    space = resolve(config.model_copy(update={"tuning": tuning}))
    rates = [0.0023456789, 0.0012345678, 0.00100049001]
    tried = [space.configuration({"training.learning_rate": rate}).training.learning_rate for rate in rates]
    assert tried == [0.002346, 0.0012345678, 0.00100049]
