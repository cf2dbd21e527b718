"""API keys: a file of hashes that commands change and running workers read again when it has changed.

A key is 32 random bytes, so a plain SHA-256 of it cannot be searched: slow hashes, meant for what people choose, would
only cost time on every request.
"""

import fcntl
import hmac
import logging
import os
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from recsys.durable import rename
from recsys.errors import ConfigError

Right = Literal["score", "write", "admin"]
PREFIX = "rk"
LOOK_SECONDS = 1.0
"""How long a revoked key may still be answered: from then on the file's change is seen."""

logger = logging.getLogger("recsys")


class Key(BaseModel):
    """One key as the file has it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(pattern=r"^[0-9a-f]{12}$")
    """The part of the key that may be shown and logged."""
    name: str = Field(min_length=1, max_length=100)
    """Whose key it is."""
    scopes: tuple[Right, ...] = Field(min_length=1)
    rate: float = Field(gt=0)
    """Requests a second, lasting, all workers together."""
    burst: int = Field(ge=1)
    """Requests at once."""
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """Of the whole key."""
    created: datetime
    expires: datetime | None = None


class KeyFile(BaseModel):
    """The whole file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    keys: tuple[Key, ...] = ()


def read_keys(path: Path) -> KeyFile:
    """The keys of a file; ConfigError if it cannot be read, is malformed, or others than its owner may write it."""
    try:
        with path.open("rb") as file:
            mode, content = os.fstat(file.fileno()).st_mode, file.read()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; recsys keys add {path} NAME makes a file of keys") from None
    if mode & 0o022:
        raise ConfigError(f"{path}: others than its owner may write it; chmod 600 {path}")
    try:
        found = KeyFile.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise ConfigError(f"{path}: {'.'.join(map(str, first['loc'])) or 'file'}: {first['msg']}") from None
    if len({key.id for key in found.keys}) < len(found.keys):
        raise ConfigError(f"{path}: a key id stands twice; remove one")
    return found


@contextmanager
def _changing(path: Path) -> Iterator[list[Key]]:
    """The keys of a file, new or not, under a lock; what is in the list at the end replaces the file."""
    lock = path.with_name(f".{path.name}.lock")
    try:
        descriptor = os.open(lock, os.O_CREAT | os.O_RDWR, 0o600)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; name a file in a directory that you may write") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        keys = list(read_keys(path).keys) if path.exists() else []
        yield keys
        content = KeyFile(keys=tuple(keys)).model_dump_json(indent=1)
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        with os.fdopen(os.open(partial, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as file:
            file.write(content + "\n")
        rename(partial, path)
    finally:
        os.close(descriptor)


def add_key(path: Path, name: str, scopes: Sequence[str], rate: float, burst: int, days: int | None) -> str:
    """Put a new key into a file, made if it is missing, and return the key: it is not kept anywhere."""
    with _changing(path) as keys:
        made, text = _made(name, tuple(dict.fromkeys(scopes)), rate, burst, days)
        keys.append(made)
    return text


def revoke_key(path: Path, key_id: str) -> None:
    """Take a key out of the file; ConfigError if it is not there."""
    with _changing(path) as keys:
        keys.remove(_found(path, keys, key_id))


def rotate_key(path: Path, key_id: str, grace: timedelta) -> str:
    """A new key with the rights of an old one, which ends after `grace`."""
    with _changing(path) as keys:
        old = _found(path, keys, key_id)
        made, text = _made(old.name, old.scopes, old.rate, old.burst, None)
        ends = datetime.now(UTC).replace(microsecond=0) + grace
        ends = ends if old.expires is None else min(ends, old.expires)
        keys[keys.index(old)] = old.model_copy(update={"expires": ends})
        keys.append(made)
    return text


def _made(name: str, scopes: tuple[str, ...], rate: float, burst: int, days: int | None) -> tuple[Key, str]:
    key_id = secrets.token_hex(6)
    text = f"{PREFIX}_{key_id}_{secrets.token_urlsafe(32)}"
    now = datetime.now(UTC).replace(microsecond=0)
    try:
        key = Key.model_validate(
            {
                "id": key_id,
                "name": name,
                "scopes": scopes,
                "rate": rate,
                "burst": burst,
                "sha256": sha256(text.encode()).hexdigest(),
                "created": now,
                "expires": None if days is None else now + timedelta(days=days),
            }
        )
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = str(first["loc"][0])
        option = {"scopes": "--scope", "rate": "--rate", "burst": "--burst"}.get(field, field)
        raise ConfigError(f"{option}: {first['msg']}") from None
    return key, text


def _found(path: Path, keys: Sequence[Key], key_id: str) -> Key:
    for key in keys:
        if key.id == key_id:
            return key
    raise ConfigError(f"{path}: no key {key_id}; recsys keys list {path} shows those there are")


@dataclass(frozen=True)
class _Read:
    stamp: tuple[int, int, int]
    keys: dict[str, Key]


class Keys:
    """The keys in force in one worker; a changed file is read again within `LOOK_SECONDS`."""

    def __init__(self, path: Path) -> None:
        """ConfigError as `read_keys`."""
        self.path = path
        self._read = self._from_file()
        self._looked = time.monotonic()

    def known(self, authorization: str | None) -> Key | None:
        """The key of a header `Authorization: Bearer …`; None if there is none in force."""
        self._look()
        kind, _, text = (authorization or "").partition(" ")
        text = text.strip()
        parts = text.split("_", 2)
        if kind.lower() != "bearer" or len(parts) != 3:
            return None
        key = self._read.keys.get(parts[1])
        given = sha256(text.encode("utf-8", "replace")).hexdigest()
        # A key that is not there takes as long as one that is wrong.
        right = hmac.compare_digest(given, key.sha256 if key else given[::-1])
        if key is None or not right:
            return None
        return None if key.expires is not None and key.expires <= datetime.now(UTC) else key

    def _look(self) -> None:
        now = time.monotonic()
        if now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        try:
            if _stamp(self.path) != self._read.stamp:
                self._read = self._from_file()
                logger.info("keys read again", extra={"told": {"keys": len(self._read.keys)}})
        except (ConfigError, OSError):  # what is half written or gone does not lock everybody out
            logger.error("the changed file of keys cannot be read; the keys before it stay in force")

    def _from_file(self) -> _Read:
        try:
            stamp = _stamp(self.path)
        except OSError:
            stamp = (0, 0, 0)
        return _Read(stamp, {key.id: key for key in read_keys(self.path).keys})


def _stamp(path: Path) -> tuple[int, int, int]:
    found = os.stat(path)
    return found.st_mtime_ns, found.st_ino, found.st_size


def shown(key: Key) -> str:
    """A line about a key, parted by tabs, without what opens anything."""
    ends = key.expires.isoformat() if key.expires else "never"
    return "\t".join([key.id, key.name, ",".join(key.scopes), f"{key.rate:g}/s", str(key.burst), ends])
