"""Reads a YAML file into a frozen pydantic model; an unknown key is refused by name, with the nearest valid one."""

from collections.abc import Hashable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from recsys.errors import ConfigError

Model = TypeVar("Model", bound=BaseModel)


def read_yaml(path: Path) -> dict[str, Any]:
    """The file's mapping; ConfigError where it is unreadable, no YAML, no mapping, or holds a key twice."""
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise ConfigError(f"{path}: not UTF-8 text: byte {byte:#04x} at {error.start:,}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: must be a mapping of keys to values, found {type(content).__name__}")
    return content


def validate(model: type[Model], content: Mapping[str, Any], where: str) -> Model:
    """The model made from a mapping; ConfigError lists every problem with its place, `where` first."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise ConfigError("\n".join(f"{where}: {_told(model, dict(e))}" for e in error.errors())) from None


def override(raw: dict[str, Any], change: str) -> None:
    """Put one `a.b=value` of `--set` into a mapping; ConfigError where it is not written so."""
    key, sign, value = change.partition("=")
    if not sign or not key:
        raise ConfigError(f"--set {change!r}: expected KEY=VALUE, such as --set training.epochs=3")
    *parents, last = key.split(".")
    section = raw
    for parent in parents:
        section = section.setdefault(parent, {})
        if not isinstance(section, dict):
            raise ConfigError(f"--set {change!r}: {parent} is a value, not a section")
    try:
        section[last] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {change!r}: the value is not YAML: {error}") from None


def _told(model: type[BaseModel], error: dict[str, Any]) -> str:
    place = [str(part) for part in error["loc"]]
    if error["type"] == "extra_forbidden":
        valid = _keys(model, error["loc"][:-1])
        near = get_close_matches(place[-1], valid, n=1, cutoff=0.0)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return f"{'.'.join(place)}: unknown key{hint}" + (f" (valid keys: {', '.join(valid)})" if valid else "")
    if error["type"] == "missing":
        return f"{'.'.join(place)}: this key is missing and compulsory"
    message = error["msg"].removeprefix("Value error, ")
    found = "" if isinstance(error["input"], dict | list) else f" (found {error['input']!r})"
    return f"{'.'.join(place)}: {message}{found}" if place else message


def _keys(model: Any, place: Sequence[Any]) -> list[str]:
    """The valid keys of the model found by following `place` from `model`; none where it cannot be followed."""
    for part in place:
        if isinstance(model, _Values):
            model = model.model
        elif _is_model(model) and part in model.model_fields:
            model = _inner(model.model_fields[part].annotation)
        else:
            return []
    return list(model.model_fields) if _is_model(model) else []


class _Values:
    """The model of a mapping's or a list's values: the next part of a place is a key or a number."""

    def __init__(self, model: Any) -> None:
        self.model = model


def _inner(annotation: Any) -> Any:
    origin, inside = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _inner(inside[0])
    if origin in (Union, UnionType):
        return next((m for m in map(_inner, inside) if isinstance(m, _Values) or _is_model(m)), None)
    if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping | Sequence):
        return _Values(_inner(inside[1] if issubclass(origin, Mapping) else inside[0]))
    return annotation


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


class _Loader(yaml.SafeLoader):
    """YAML without silent loss: a key given twice in one mapping is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)
