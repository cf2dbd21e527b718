"""What a server serves: chosen on the command line, passed to its workers through the environment, opened by each.

The process above the workers imports this, and none of what answers.
"""

import os
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, PrivateAttr

from recsys.errors import ConfigError

if TYPE_CHECKING:
    from serving.answers import Answers
    from serving.store import Store
    from serving.traces import Traces

VARIABLE = "RECSYS_SERVED"


class Served(BaseModel):
    """A bundle, or the one that a registry has in force; the lake of its known customers; their day; the rules."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    bundle: str | None = None
    registry: str | None = None
    """Exactly one of the two is given; absolute, as are all paths here."""
    lake: str | None = None
    store: str | None = None
    """The URL of the online state; it may hold a password."""
    as_of: date | None = None
    clock: str | None = None
    """The time zone whose calendar is followed."""
    rules: str | None = None
    """A file of rules about what may be recommended."""
    prices: str | None = None
    """The prices of a campaign plan, by which next best actions are decided."""
    workers: int = 1
    """How many workers share the plan's limits."""
    max_wait: float | None = None
    """Seconds that a question may wait for its turn under lasting overload; None: as `serving/turns.py` has it."""
    drain: float = 0
    """Seconds between a worker's end of readiness and its end of answering."""
    traces: str | None = None
    """The URL of a collector that takes traces; None: nothing is traced."""
    trace_share: float | None = None
    """Of the requests about which their caller has not decided, the share that is traced; None: as traces.py has it."""
    _store: "Store | None" = PrivateAttr(default=None)
    """Open, and shared by the bundles that one worker loads: each reads and writes only what it saw itself."""

    @classmethod
    def from_environment(cls) -> "Served":
        """What the process that started this worker wrote."""
        if VARIABLE not in os.environ:
            raise RuntimeError(f"{VARIABLE} is not set; start the service with: recsys serve BUNDLE")
        return cls.model_validate_json(os.environ[VARIABLE])

    def to_environment(self) -> None:
        """Tell the workers that this process will start."""
        os.environ[VARIABLE] = self.model_dump_json()

    def check(self) -> None:
        """ConfigError unless either a bundle or a registry is given, and a collector is named as it can be reached."""
        if self.traces is not None:
            _check_collector(self.traces)
        elif self.trace_share is not None:
            raise ConfigError("--trace-share: nothing is traced; name a collector with --traces URL")
        if (self.bundle is None) == (self.registry is None):
            raise ConfigError("serve: give either a BUNDLE or --registry DIR, which serves the one in force there")

    def chosen(self) -> Path:
        """The bundle to serve now; ConfigError unless one is given or in force, DataError if it was altered."""
        from serving.registry import Registry

        self.check()
        if self.bundle is not None:
            return Path(self.bundle)
        assert self.registry is not None
        registry = Registry(self.registry)
        promoted = registry.read().promoted
        if promoted is None:
            raise ConfigError(f"{self.registry}: nothing is in force; recsys registry promote puts a bundle into force")
        registry.load(promoted)
        return registry.where(promoted)

    def tracing(self) -> "Traces | None":
        """What tells the collector; ModuleNotFoundError without the extra `traces`."""
        if self.traces is None:
            return None
        from serving.traces import SHARE, Traces

        return Traces(self.traces, SHARE if self.trace_share is None else self.trace_share)

    def answers(self, bundle: Path) -> "Answers":
        """A bundle with this lake or store, day and rules; LakeError and the like where they do not fit."""
        from serving.answers import Answers
        from serving.day import clock_in
        from serving.next_action import NextAction
        from serving.store import Store

        if self.store and self._store is None:
            self._store = Store.open(self.store)
        clock = clock_in(self.clock) if self.clock else None
        found = Answers.open(bundle, self.lake, self.as_of, self.rules, self._store, clock)
        if self.prices is not None:
            consents = found.lake is None or "consents" in found.lake.tables
            found.next_action = NextAction.open(
                self.prices, found.bundle, self.workers, consents, found.customers.rules
            )
        return found


def _check_collector(url: str) -> None:
    """ConfigError unless this is the URL of a collector, without a password: URLs are shown and logged."""
    right = "write http://HOST:4318/v1/traces, or https://…"
    try:
        parts = urlsplit(url)
        where, _ = parts.hostname, parts.port
    except ValueError:
        raise ConfigError(f"--traces: not a URL; {right}") from None
    if parts.username is not None:
        raise ConfigError("--traces: has a user in it; put what the collector asks for into OTEL_EXPORTER_OTLP_HEADERS")
    if parts.scheme not in ("http", "https") or not where:
        raise ConfigError(f"--traces {url}: not a URL of HTTP; {right}")
    if parts.path in ("", "/"):
        raise ConfigError(f"--traces {url}: has no path, and collectors take traces under one; {right}")
