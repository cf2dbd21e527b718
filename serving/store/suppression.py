"""Whom the bank has erased, known by keyed hashes alone: the key stays apart from the data."""

import hmac
import os
import secrets
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import sqlalchemy as sa

from recsys.durable import sync
from recsys.errors import ConfigError

KEY = "RECSYS_SUPPRESSION_KEY"
"""Environment variable with the secret; a store in a file makes one beside it where the variable is not set."""
_LEAST = 16
"""Characters of a secret."""


def hash_of(key: bytes, customer_id: str) -> str:
    """HMAC-SHA256 of a customer's id, in hexadecimal."""
    return hmac.new(key, customer_id.encode(), sha256).hexdigest()


def key_of(url: sa.URL) -> bytes:
    """The secret of a store. ConfigError where it is missing or too short."""
    given = os.environ.get(KEY)
    if given is not None:
        if len(given) < _LEAST:
            raise ConfigError(f"{KEY}: {len(given)} characters; give a secret of at least {_LEAST}")
        return given.encode()
    if url.get_backend_name() != "sqlite":
        raise ConfigError(
            f"{KEY} is not set: erased customers are remembered by a keyed hash, and the key must not lie in the "
            "database; set it to a secret, the same for every process that uses the store"
        )
    path = Path(f"{url.database}.key")
    try:
        if not path.exists():
            _make(path)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; the key for erased customers cannot be made there") from None
    key = path.read_text()
    if len(key) < _LEAST:
        raise ConfigError(f"{path}: holds no key; put back the one that the store was used with")
    return key.encode()


def _make(path: Path) -> None:
    """A new key that appears whole; of several processes that make one, the first one's stays."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(secrets.token_hex(32))
    sync(partial)
    with suppress(FileExistsError):
        os.link(partial, path)
    partial.unlink()
    sync(path.parent)
