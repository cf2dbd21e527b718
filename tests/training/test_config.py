"""Configurations: typed, strict, overridable; an error names the key and what would be right."""

from pathlib import Path

import pytest
import yaml

from recsys.errors import ConfigError
from training.config import Config, load_config, parse_config


@pytest.mark.parametrize("name", ["demo", "zimnat", "beauty"])
def test_every_shipped_configuration_is_valid_and_resolves_to_itself(name: str) -> None:
    config = load_config(name)
    assert config.name == name
    again = parse_config(yaml.safe_load(yaml.safe_dump(config.model_dump(mode="json"))), "again")
    assert again == config


def test_an_override_reaches_its_key() -> None:
    config = load_config("zimnat", ["evaluation.seed=3", "training.learning_rate=1e-3", "features.windows=[7, 14]"])
    assert config.evaluation.seed == 3
    assert config.training.learning_rate == 0.001
    assert config.features.windows == (7, 14)


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("trainig.epochs=3", "'training'"),
        ("training.epoch=3", "'epochs'"),
        ("model.dims=3", "'dim'"),
        ("training.epochs=many", "training.epochs"),
        ("training.epochs", "KEY=VALUE"),
        ("name.inner=1", "name is a value"),
        ("features.windows=[30, 7]", "ascending"),
        ("training.epochs=[", "not YAML"),
    ],
)
def test_a_wrong_override_names_the_key_and_what_is_right(override: str, named: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_config("zimnat", [override])
    assert named in str(error.value)
    assert error.value.exit_code == 2


def test_a_file_with_an_unknown_key_names_file_and_key(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\nevaluation:\n  protokol: temporal\n")
    with pytest.raises(ConfigError, match=r"mine\.yaml: evaluation\.protokol: unknown key.*'protocol'"):
        load_config(path)


def test_a_key_that_stands_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\nseed: 1\nseed: 2\n")
    with pytest.raises(ConfigError, match="seed"):
        load_config(path)


def test_a_name_that_is_not_shipped_lists_those_that_are() -> None:
    with pytest.raises(ConfigError, match="beauty.*demo.*zimnat"):
        load_config("zimnet")


def test_every_key_of_the_configuration_is_documented() -> None:
    import ast
    import inspect

    for section in [
        Config,
        *(f.annotation for f in Config.model_fields.values() if hasattr(f.annotation, "model_fields")),
    ]:
        body = ast.parse(inspect.getsource(section)).body[0].body  # type: ignore[attr-defined, arg-type]
        for place, statement in enumerate(body):
            if isinstance(statement, ast.AnnAssign) and section is not Config:
                after = body[place + 1] if place + 1 < len(body) else None
                documented = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
                assert documented, f"{section.__name__}.{ast.unparse(statement.target)} has no sentence"
