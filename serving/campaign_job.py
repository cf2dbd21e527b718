"""A job on a campaign plan: what it reads, where it writes, and the record by which it is continued."""

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from recsys.bundle import Bundle
from recsys.campaigns.plan import CampaignPlan
from recsys.errors import RecsysError
from recsys.lake.store import Lake
from recsys.rules import Rules
from recsys.segment_cards.labels import WHOLE_CURRENCIES
from serving.campaign_arrays import valuing_all
from serving.campaign_since import FOLDER, Since, day_after
from serving.run_record import RUN, begin, begun_in, lake_and_day, record
from serving.store import Store
from serving.store.engine import name_of, url_of

VALUES = ".values"


@dataclass(frozen=True)
class Job:
    """A plan that is being made: what it reads, where it writes."""

    plan: CampaignPlan
    bundle: Bundle
    lake: Lake
    day: date | None
    out: Path
    kind: str = "campaign plan"
    rules: Rules | None = None
    """Who may be offered what, and contacted how."""
    rules_path: str = "rules"
    since: Since | None = None
    """What a store knows since the lake, copied when the run was begun."""
    store: Mapping[str, Any] | None = None
    """What was copied: the store's name, counts, last day, digest."""

    @property
    def unit(self) -> float:
        """Minor units in one of the lake's currency."""
        return 1.0 if self.lake.currency is None or self.lake.currency in WHOLE_CURRENCIES else 100.0

    @property
    def identity(self) -> dict[str, Any]:
        """What the plan follows from."""
        ruled = {} if self.rules is None else {"rules": self.rules.digest}
        stored = {} if self.store is None else {"store": dict(self.store)}
        asked = {"job": self.kind, "plan": self.plan.model_dump(mode="json"), **ruled, **stored}
        return record(self.bundle, self.lake, self.day, asked)

    @property
    def version(self) -> str:
        """A hash of it."""
        text = json.dumps(self.identity, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def tidy(self) -> None:
        """Remove what only a run that is cut short needs."""
        for name in (VALUES, FOLDER):
            shutil.rmtree(self.out / name, ignore_errors=True)

    @contextmanager
    def judging(self) -> Iterator[None]:
        """Where a plan is found to be impossible, leave nothing that would keep a corrected one from its place."""
        try:
            yield
        except RecsysError:
            self.tidy()
            (self.out / RUN).unlink(missing_ok=True)
            raise


def open_job(
    plan: CampaignPlan,
    bundle_path: Path | str,
    lake_path: Path | str,
    out: Path,
    as_of: date | None,
    version: int | None,
    kind: str = "campaign plan",
    rules: Path | None = None,
    store: str | None = None,
) -> Job:
    """Open bundle and lake, and what was begun in `out`, which is made if it is missing.

    With a `store` the plan is seen from the day after the last that lake and store know, unless `as_of` says another.
    Raises DataError if `out` belongs to another run, ConfigError for a file that is not of rules, StoreError.
    """
    ruled = None if rules is None else Rules.read(rules)
    bundle = Bundle.load(bundle_path)
    out.mkdir(parents=True, exist_ok=True)
    begun = begun_in(out)
    lake, day = lake_and_day(bundle, lake_path, version, as_of, begun)
    if begun is None:  # what does not fit is refused before anything is written
        valuing_all(bundle, lake, day, plan=plan, rules=ruled, rules_file=str(rules), threads=1)
    since, told = (None, None) if store is None else _since(store, lake, out, begun)
    if begun is None and as_of is None and day is not None and told is not None:
        day = max(day, day_after(told) or day)
    job = Job(plan, bundle, lake, day, out, kind, ruled, str(rules), since, told)
    begin(out, begun, job.identity)
    if since is not None:
        since.publish()
    return job


def _since(store: str, lake: Lake, out: Path, begun: Mapping[str, Any] | None) -> tuple[Since, dict[str, Any]]:
    """The copy of a store and what is in it: that of the run that was begun, else one that is made now."""
    since = Since.of(out, lake)
    if begun is not None:
        copied, name = begun.get("store") or {}, name_of(url_of(store))
        return since, dict(copied) if copied.get("name") == name else {"name": name}
    opened = Store.open(store)
    try:
        return since, since.copy(opened, lake)
    finally:
        opened.close()
