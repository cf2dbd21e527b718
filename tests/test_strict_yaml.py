"""YAML becomes a model, or every wrong key is named with its place and the nearest valid one."""

from pathlib import Path
from typing import Literal

import pytest
from pydantic import BaseModel, ConfigDict

from recsys.errors import ConfigError
from recsys.strict_yaml import read_yaml, validate


class Leaf(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    rate: float = 0.1
    kind: Literal["a", "b"] = "a"


class Tree(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str
    leaf: Leaf = Leaf()
    other: Leaf | None = None
    leaves: dict[str, Leaf] = {}
    row: list[Leaf] = []


def test_a_valid_mapping() -> None:
    assert validate(Tree, {"name": "x", "row": [{"rate": 2}]}, "f.yaml").row[0].rate == 2.0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"nmae": 1}, "f.yaml: nmae: unknown key; did you mean 'name'? (valid keys: name, leaf, other, leaves, row)"),
        ({"leaf": {"rte": 1}}, "f.yaml: leaf.rte: unknown key; did you mean 'rate'? (valid keys: rate, kind)"),
        ({"other": {"rte": 1}}, "other.rte: unknown key; did you mean 'rate'?"),
        ({"leaves": {"x": {"knd": 1}}}, "leaves.x.knd: unknown key; did you mean 'kind'?"),
        ({"row": [{}, {"zzz": 1}]}, "row.1.zzz: unknown key; did you mean 'rate'? (valid keys: rate, kind)"),
        ({}, "name: this key is missing and compulsory"),
        ({"leaf": {"kind": "c"}}, "leaf.kind: Input should be 'a' or 'b' (found 'c')"),
    ],
)
def test_each_problem_is_named(content: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        validate(Tree, content, "f.yaml")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [("a: 1\na: 2\n", "the key 'a' stands twice"), ("- 1\n", "must be a mapping"), ("a: [\n", "not valid YAML")],
)
def test_yaml_that_is_none(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "f.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_yaml(tmp_path / "f.yaml")
    with pytest.raises(ConfigError, match="absent.yaml: no such file$"):
        read_yaml(tmp_path / "absent.yaml")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory$"):
        read_yaml(tmp_path)
    (tmp_path / "f.yaml").write_bytes(b"a: \xff")
    with pytest.raises(ConfigError, match="f.yaml: not UTF-8 text: byte 0xff at 3$"):
        read_yaml(tmp_path / "f.yaml")
