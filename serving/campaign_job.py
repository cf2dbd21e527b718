"""A job on a campaign plan: what it reads, where it writes, and the record by which it is continued."""

import hashlib
import json
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from recsys.bundle import Bundle
from recsys.bundle.fits import check_fits, scoring_day
from recsys.campaigns.plan import CampaignPlan
from recsys.durable import rename
from recsys.errors import DataError
from recsys.lake.store import Lake
from recsys.rules import Rules
from recsys.segment_cards.labels import WHOLE_CURRENCIES
from serving.batch import RUN
from serving.campaign_values import Valuation


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
        return {
            **ruled,
            "schema": 1,
            "job": self.kind,
            "plan": self.plan.model_dump(mode="json"),
            "bundle_id": self.bundle.bundle_id,
            "lake": {"identity": self.lake.identity(), "version": self.lake.version, "source": self.lake.source},
            "as_of": self.day.isoformat() if self.day else None,
        }

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
    """Open bundle and lake; DataError if `out` belongs to another plan, ConfigError for a file that is not of rules."""
    ruled = None if rules is None else Rules.read(rules)
    bundle, run = Bundle.load(bundle_path), out / RUN
    begun = _begun(run)
    if version is None and begun is not None:
        version = begun.get("lake", {}).get("version")
    lake = Lake.open(lake_path, version)
    check_fits(bundle, lake)
    job = Job(plan, bundle, lake, scoring_day(lake, as_of), out, kind, ruled, str(rules))
    if begun is not None and begun != job.identity:
        differing = sorted(key for key in {*begun, *job.identity} if begun.get(key) != job.identity.get(key))
        raise DataError(f"{out}: belongs to another run (another {', '.join(differing)}); name another directory")
    if begun is None:
        Valuation(bundle, plan, threads=1)  # a plan that does not fit the bundle is refused before anything is written
    out.mkdir(parents=True, exist_ok=True)
    if begun is None:
        if others := sorted(path.name for path in out.iterdir() if not path.name.endswith(".partial")):
            raise DataError(f"{out}: holds {others[0]} and no plan that could be continued; name an empty directory")
        publish(run, job.identity)
    return job


def publish(path: Path, content: dict[str, Any]) -> None:
    """JSON that appears when whole."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    rename(partial, path)


def _begun(run: Path) -> dict[str, Any] | None:
    if not run.exists():
        return None
    try:
        found = json.loads(run.read_text(encoding="utf-8"))
    except ValueError:
        found = None
    if not isinstance(found, dict) or not str(found.get("job")).startswith("campaign"):
        raise DataError(f"{run}: not the record of a campaign plan; name an empty directory")
    return found
