"""A job on a campaign plan: what it reads, where it writes, and the record by which it is continued."""

import hashlib
import json
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from recsys.bundle import Bundle
from recsys.campaigns.plan import CampaignPlan
from recsys.lake.store import Lake
from recsys.rules import Rules
from recsys.segment_cards.labels import WHOLE_CURRENCIES
from serving.campaign_values import Valuation
from serving.run_record import begin, begun_in, lake_and_day, record


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

    @property
    def unit(self) -> float:
        """Minor units in one of the lake's currency."""
        return 1.0 if self.lake.currency is None or self.lake.currency in WHOLE_CURRENCIES else 100.0

    @property
    def identity(self) -> dict[str, Any]:
        """What the plan follows from."""
        ruled = {} if self.rules is None else {"rules": self.rules.digest}
        asked = {"job": self.kind, "plan": self.plan.model_dump(mode="json"), **ruled}
        return record(self.bundle, self.lake, self.day, asked)

    @property
    def version(self) -> str:
        """A hash of it."""
        text = json.dumps(self.identity, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def open_job(
    plan: CampaignPlan,
    bundle_path: Path | str,
    lake_path: Path | str,
    out: Path,
    as_of: date | None,
    version: int | None,
    kind: str = "campaign plan",
    rules: Path | None = None,
) -> Job:
    """Open bundle and lake, and what was begun in `out`, which is made if it is missing.

    Raises DataError if `out` belongs to another run, ConfigError for a file that is not of rules.
    """
    ruled = None if rules is None else Rules.read(rules)
    bundle = Bundle.load(bundle_path)
    out.mkdir(parents=True, exist_ok=True)
    begun = begun_in(out)
    job = Job(plan, bundle, *lake_and_day(bundle, lake_path, version, as_of, begun), out, kind, ruled, str(rules))
    if begun is None:
        Valuation(bundle, plan, threads=1)  # a plan that does not fit the bundle is refused before anything is written
    begin(out, begun, job.identity)
    return job
