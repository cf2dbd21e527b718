"""A lake in an object store: replaced by conditional puts, without locks; two writers are told apart by what is there.

Credentials, endpoint and region come from the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION,
AWS_ENDPOINT_URL, AWS_ALLOW_HTTP …), which obstore, the Delta library and Polars all read themselves.
"""

import contextlib
import os
import re
import secrets
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from recsys.errors import ConfigError, LakeError
from recsys.lake.location import NAME, UNFINISHED, Claim, Content, DataFile, overtaken

RETRIES = 3
"""How often a request that failed for a passing reason is made again."""

GIVE_UP = timedelta(seconds=20)
"""After this time no request is made again."""

CLOCKS = timedelta(minutes=15)
"""How far the clocks of the machines of one object store may differ."""

_TABLES = "tables-"
"""How the folder of one import's tables begins; each import has its own, so that none can harm another's."""

_ADDRESS = re.compile(r"s3://(?P<bucket>[a-z0-9][a-z0-9.-]+)(?:/(?P<prefix>[A-Za-z0-9._=/-]*))?")
_SECRETS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")


class Prefix:
    """What lies below `s3://bucket/prefix` as a `Location`."""

    delta_options: dict[str, str] | None = {
        "aws_conditional_put": "etag",
        "max_retries": str(RETRIES),
        "retry_timeout": f"{GIVE_UP.seconds}s",
    }
    scan_options: dict[str, Any] = {
        "credential_provider": None,  # the environment, as the others read it
        "storage_options": {"max_retries": RETRIES, "retry_timeout_ms": GIVE_UP.seconds * 1000},
    }

    def __init__(self, bucket: str, prefix: str) -> None:
        import obstore
        from obstore.store import S3Store

        self._objects = obstore
        self._url = f"s3://{bucket}/{prefix}".rstrip("/")
        with self._asking():
            self._store = S3Store(
                bucket, prefix=prefix or None, retry_config={"max_retries": RETRIES, "retry_timeout": GIVE_UP}
            )

    @classmethod
    def parse(cls, url: str) -> "Prefix":
        """The place at an address; ConfigError if it is not of the form `s3://bucket/prefix`."""
        found = _ADDRESS.fullmatch(url)
        prefix = ((found and found["prefix"]) or "").strip("/")
        if not found or {"", ".", ".."} & set(prefix.split("/") if prefix else ()):
            raise ConfigError(
                f"{url}: not an address of a lake; write a folder, or s3://bucket/prefix of letters, digits and . _ = -"
            )
        return cls(found["bucket"], prefix)

    def __str__(self) -> str:
        return self._url

    def uri(self, *names: str) -> str:
        return "/".join((self._url, *(name for name in names if name)))

    def read(self, name: str) -> Content | None:
        with self._asking():
            try:
                found = self._objects.get(self._store, name)
                return Content(bytes(found.bytes()), found.meta["e_tag"] or "")
            except FileNotFoundError as error:
                if "NoSuchBucket" in str(error):
                    raise
                return None

    def replace(self, name: str, data: bytes, tag: str | None) -> str:
        fresh = self._put(name, data, tag)
        if fresh is None:
            # A put whose answer was lost is sent again and then meets itself.
            held = self.read(name)
            if held is None or held.data != data:
                raise overtaken(self)
            fresh = held.tag
        return fresh

    def _put(self, name: str, data: bytes, tag: str | None) -> str | None:
        """The new tag if it was put: only if the object has this tag, or does not exist where none is given."""
        exceptions = self._objects.exceptions
        with self._asking():
            try:
                done = self._objects.put(self._store, name, data, mode="create" if tag is None else {"e_tag": tag})
                return done["e_tag"] or ""
            except (exceptions.AlreadyExistsError, exceptions.PreconditionError):
                return None
            except FileNotFoundError as error:
                if tag is None or "NoSuchBucket" in str(error):
                    raise
                return None  # it has been removed meanwhile

    def absent(self) -> str:
        names = self._names()
        if not names:
            return "no such lake; make one with `recsys data import` or `recsys data synth`"
        if all(name.startswith(_TABLES) for name in names):
            return "half written, its import did not end; import again to the same prefix, which starts over"
        return f"not a lake, it has no {NAME}; a lake is made by `recsys data import` or `data synth`"

    def claim(self) -> Claim:
        """Every import writes into a folder of its own: it cannot harm another one, and the first to publish wins."""
        if self.read(NAME):
            raise LakeError(f"{self}: is a lake already; name another prefix, or remove this one first")
        foreign = [name for name in self._names() if not name.startswith(_TABLES)]
        if foreign:
            raise LakeError(
                f"{self}: is not empty and no unfinished lake (holds {foreign[0]}); name a new or an empty prefix"
            )
        folder = _TABLES + secrets.token_hex(6)
        self._mark(f"{folder}/{UNFINISHED}")
        return Claim(folder, lambda published: self._release(folder, published))

    def _mark(self, marker: str) -> None:
        """Write the marker, and make sure that conditions on puts are kept here: all safety rests on them."""
        text = b"These tables are being written, or their import was stopped. Importing again starts over.\n"
        self._put(marker, text, None)
        kept = self._put(marker, text, None) is None and self._put(marker, text, f'"{"0" * 32}"') is None
        if not kept:
            self._remove([marker])
            raise LakeError(f"{self}: this object store ignores conditions on puts, so that a lake would not be safe")

    def _release(self, folder: str, published: bool) -> None:
        """Remove this import's tables, or, after it has won, what other imports left, which can never be published."""
        if not published:
            self._remove(self._below(folder))
            return
        self._remove([f"{folder}/{UNFINISHED}"])
        for other in self._names():
            if other.startswith(_TABLES) and other != folder:
                self._remove(self._below(other))

    def hold(self) -> Callable[[], None]:
        return lambda: None  # no locks here: a commit that is not the next one, or another tag, shows another writer

    def sync(self, table: str, files: Collection[str]) -> None:
        """Nothing: what an object store has acknowledged is kept."""

    def files(self, table: str) -> Iterator[DataFile]:
        with self._asking():
            for chunk in self._objects.list(self._store, prefix=table):
                for found in chunk:
                    path = found["path"].removeprefix(f"{table}/")
                    if path.endswith(".parquet") and not path.startswith("_delta_log/"):
                        yield DataFile(path, found["size"], found["last_modified"])

    def unused_before(self) -> datetime:
        """The moment of the last publication, by the store's own clock.

        A writer that has read an older lake.json cannot publish any more; one that has read this one began after it.
        """
        with self._asking():
            published: datetime = self._objects.head(self._store, NAME)["last_modified"]
        return published - CLOCKS

    def remove(self, table: str, files: Iterable[str]) -> None:
        self._remove([f"{table}/{file}" for file in files])

    @contextlib.contextmanager
    def drafting(self) -> Iterator[Path]:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)
            with self._asking():
                for file in sorted(Path(folder).iterdir()):
                    self._objects.put(self._store, file.name, file)

    def said(self, error: BaseException) -> str:
        """The error in one line, without the server's answer, which may name the key."""
        text = re.sub(r"\x1b\[\d+m|↳", "", str(error).split("Debug source")[0])
        codes = re.findall(r"<Code>(\w+)</Code>", text)
        text = " ".join(re.sub(r"<\?xml.*", "", text, flags=re.DOTALL).split())
        for value in filter(None, map(os.environ.get, _SECRETS)):
            text = text.replace(value, "…")
        return f"{text} {' '.join(codes)}".strip()

    def _names(self) -> list[str]:
        """What lies directly below."""
        with self._asking():
            found = self._objects.list_with_delimiter(self._store)
            return sorted([*(one["path"] for one in found["objects"]), *found["common_prefixes"]])

    def _below(self, folder: str) -> list[str]:
        with self._asking():
            return [found["path"] for chunk in self._objects.list(self._store, prefix=folder) for found in chunk]

    def _remove(self, paths: list[str]) -> None:
        with self._asking():
            if paths:
                self._objects.delete(self._store, paths)

    @contextlib.contextmanager
    def _asking(self) -> Iterator[None]:
        """LakeError for what the store answers, in words that say what to do."""
        errors = self._objects.exceptions
        try:
            yield
        except FileNotFoundError as error:
            raise LakeError(f"{self}: there is no such bucket") from error
        except (errors.PermissionDeniedError, errors.UnauthenticatedError) as error:
            raise LakeError(
                f"{self}: the object store refuses access ({_code(error) or 'permission denied'}); check "
                "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION, and what the key may do"
            ) from error
        except errors.BaseError as error:
            raise LakeError(
                f"{self}: cannot be reached or used; check AWS_ENDPOINT_URL, AWS_REGION and AWS_ALLOW_HTTP "
                f"(for an endpoint without TLS): {self.said(error)}"
            ) from error


def _code(error: BaseException) -> str:
    found = re.search(r"<Code>(\w+)</Code>", str(error))
    return found[1] if found else ""
