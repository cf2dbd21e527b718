"""The record of a long run in its directory: by it the same command continues the run, and another one is refused."""

import fcntl
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

from recsys.bundle import Bundle
from recsys.bundle.fits import check_fits, scoring_day
from recsys.durable import rename
from recsys.errors import DataError, RecsysError
from recsys.lake.store import Lake

RUN = ".run.json"
NAMES = {"bundle_id": "bundle", "as_of": "--as-of", "of": "vectors of", "plan": "plan"}
"""How a difference is told to who named the directory; any other key is an option of the command."""


def begun_in(out: Path) -> dict[str, Any] | None:
    """What the run in `out` was begun with; None where nothing was begun; DataError where something else lies."""
    if (out / RUN).exists():
        try:
            run = json.loads((out / RUN).read_text(encoding="utf-8"))
        except ValueError:
            run = None
        if not isinstance(run, dict) or run.get("schema") != 1:
            raise DataError(f"{out / RUN}: not the record of a run; name an empty directory")
        return run
    others = sorted(name for path in out.iterdir() if not re.fullmatch(r"\..+\.partial", name := path.name))
    if others:
        raise DataError(
            f"{out}: holds {others[0]} and no run that could be continued; name a new or an empty directory"
        )
    return None


def lake_and_day(
    bundle: Bundle, path: Path | str, version: int | None, as_of: date | None, begun: Mapping[str, Any] | None
) -> tuple[Lake, date | None]:
    """The version and the day asked for, else those with which the run was begun, else the newest.

    Raises LakeError, DataError for a lake that does not fit the bundle, ConfigError for an impossible day.
    """
    if version is None and begun is not None:
        version = begun.get("lake", {}).get("version")
    lake = Lake.open(path, version)
    check_fits(bundle, lake)
    if as_of is None and begun is not None:
        return lake, date.fromisoformat(begun["as_of"]) if begun.get("as_of") else None
    return lake, scoring_day(lake, as_of)


def record(bundle: Bundle, lake: Lake, as_of: date | None, options: Mapping[str, Any]) -> dict[str, Any]:
    """What the answers of a run follow from."""
    return {
        "schema": 1,
        "bundle_id": bundle.bundle_id,
        "lake": {"identity": lake.identity(), "version": lake.version, "source": lake.source},
        "as_of": as_of.isoformat() if as_of else None,
        **options,
    }


def begin(out: Path, begun: Mapping[str, Any] | None, run: Mapping[str, Any]) -> None:
    """Write the record of a run that was not begun yet; DataError if another one was."""
    if begun is None:
        publish_json(out / RUN, run)
    else:
        _refuse_another(out, begun, run)


def _refuse_another(out: Path, begun: Mapping[str, Any], run: Mapping[str, Any]) -> None:
    there, here = begun.get("lake", {}), run["lake"]
    if _what(begun) != _what(run):
        raise DataError(
            f"{out}: belongs to another run ({_what(begun)} there, {_what(run)} now); name another directory"
        )
    differing = []
    for key in dict.fromkeys(["bundle_id", "lake", "as_of", *run, *sorted(begun)]):
        was, now, name = begun.get(key), run.get(key), NAMES.get(key, f"--{key}")
        if key == "lake":
            if there.get("identity") != here["identity"]:
                differing.append(f"lake {_lake_name(there)} there, {_lake_name(here)} now")
        elif was != now:
            long = isinstance(was, dict) or isinstance(now, dict)
            differing.append(f"another {name}" if long else f"{name} {was} there, {now} now")
    if differing:
        raise DataError(f"{out}: belongs to another run ({'; '.join(differing)}); name another directory")


def _what(run: Mapping[str, Any]) -> str:
    """What a run makes, for people."""
    return str(run.get("job") or run.get("answers") or "recommendations")


def _lake_name(lake: Mapping[str, Any]) -> str:
    return f"{lake.get('source') or 'lake'} version {lake.get('version')} ({str(lake.get('identity'))[:12]})"


@contextmanager
def only_writer(out: Path) -> Iterator[None]:
    """Hold the directory, made if it is missing; the lock ends with the process, however it ends."""
    if out.exists() and not out.is_dir():
        raise DataError(f"{out}: is a file; name a directory for the answers")
    made = not out.exists()
    out.mkdir(parents=True, exist_ok=True)
    directory = os.open(out, os.O_RDONLY)
    try:
        try:
            fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataError(f"{out}: another process is writing into it; wait, or name another directory") from None
        yield
    except RecsysError:
        if made and not any(out.iterdir()):  # refused before anything was written
            out.rmdir()
        raise
    finally:
        os.close(directory)


def publish_json(path: Path, content: Mapping[str, Any]) -> None:
    """JSON that appears when whole."""
    partial = partial_of(path)
    partial.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    rename(partial, path)


def partial_of(path: Path) -> Path:
    """Under what name a file or folder is written, before it has its own."""
    return path.with_name(f".{path.name.lstrip('.')}.partial")
