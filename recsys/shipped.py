"""Finds the files that come with the project, catalogs and configurations, in a checkout or in an installed wheel."""

from pathlib import Path

from recsys.errors import ConfigError

_PACKAGE = Path(__file__).resolve().parent
_CHECKOUT = {"catalog": Path("data", "catalog"), "configs": Path("configs")}


def folder(kind: str) -> Path:
    """The folder of the shipped files of one kind, "catalog" or "configs"."""
    installed = _PACKAGE / "_shipped" / kind
    return installed if installed.is_dir() else _PACKAGE.parent / _CHECKOUT[kind]


def names(kind: str) -> list[str]:
    """The names, without `.yaml`, of the shipped files of one kind."""
    return sorted(path.stem for path in folder(kind).glob("*.yaml"))


def shipped(kind: str, name: str) -> Path:
    """The shipped file of that name (with or without `.yaml`), or ConfigError listing the names there are."""
    stem = name.removesuffix(".yaml")
    if stem not in names(kind):
        what = "catalog" if kind == "catalog" else "configuration"
        raise ConfigError(
            f"{name}: neither a file nor a shipped {what}; shipped are {', '.join(names(kind)) or 'none'}"
        )
    return folder(kind) / f"{stem}.yaml"


def find(kind: str, given: str | Path) -> Path:
    """The file `given`, if it exists, else the shipped file of that name."""
    path = Path(given)
    return path if path.is_file() else shipped(kind, str(given))
