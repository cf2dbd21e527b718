"""What campaigns did and earned: key figures, effects, verdicts and returns put together as one report."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recsys.campaigns.effects import Found, effects_of, segment_effects
from recsys.campaigns.forecast import forecast
from recsys.campaigns.kpis import KPIS, breakdown, kpi_rows
from recsys.campaigns.ledger import CostLedger, Costs, with_costs
from recsys.campaigns.verdict import (
    NEXT_TIME,
    called,
    forecast_sentence,
    money_sentence,
    overview,
    sentence,
    winsorised_sentence,
)
from recsys.errors import ConfigError
from recsys.lake.store import Lake
from recsys.pages.page import write_page
from recsys.progress import Progress
from recsys.segment_cards.intervals import benjamini_hochberg, rounded
from training.campaign_gather import GROUP, Asked, check_planned, gather, parts
from training.campaign_page import page
from training.campaign_returns import earned
from training.campaign_rows import Campaign, campaign_of, watching
from training.driver_trials import Draw

MOST = 60


def measure(lake: Lake, asked: Asked, ledger: CostLedger | None, progress: Progress) -> dict[str, Any]:
    """The content of the report. Raises ConfigError or DataError where the lake cannot answer."""
    _check_ledger(lake, ledger)
    check_planned(lake, asked)
    gathered = gather(lake, asked, progress)
    draw = Draw.parse(asked.randomised, lake)
    told, frames = [], []
    every = list(parts(gathered))
    for place, (name, rows) in enumerate(every):
        campaign = campaign_of(name, gathered, rows, asked, draw)
        costs = ledger.of(name) if ledger else Costs()
        priced = with_costs(campaign.units, costs)
        frames.append(priced)
        told.append(_told(campaign, priced, costs, ledger is not None, lake, asked))
        progress(place + 1, len(every), "measuring")
    units = pl.concat(frames)
    expected = _forecast(lake, told, asked) if asked.planned_as else None
    return {
        "schema": 1,
        "lake": {"source": lake.source, "version": lake.version, "identity": lake.identity()},
        "currency": lake.currency,
        "asked": _asked(asked),
        "last_event": lake.last_event.isoformat() if lake.last_event else None,
        "covariate": gathered.covariate_name,
        "costs": None if ledger is None else ledger.model_dump(),
        "forecast": expected,
        "customers": units["customer_id"].n_unique(),
        "units": units.height,
        "overview": overview(
            [one["called"] for one in told], sum(bool(one["refused"]) for one in told), _together(told)
        ),
        "campaigns": told,
        "kpis": kpi_rows(units, asked.days, _fixed(ledger, [one["campaign"] for one in told])),
        "by": _by(units, asked),
    }


def write_report(content: Mapping[str, Any], out: Path) -> tuple[Path, Path]:
    """Write `out/campaigns.json` and `out/campaigns.html`; return their paths."""
    return write_page(out, "campaigns", content, page(content))


def _forecast(lake: Lake, told: list[dict[str, Any]], asked: Asked) -> dict[str, Any]:
    """The return of the planned campaign from those that were measured, beside its skill; or why not."""
    planned = dict(asked.planned_as)
    known = {row["campaign_id"]: row for row in lake.read("campaigns").to_dicts()}
    past = [(one["roi"]["roi"]["value"], known[one["campaign"]]) for one in told if one["roi"]]
    past = [(roi, row) for roi, row in past if roi is not None]
    attributes = [{name: str(row[name]) for name in planned} for _, row in past]
    found = forecast(np.array([roi for roi, _ in past]), attributes, planned, asked.seed)
    return {"planned": planned, "sentence": forecast_sentence(found, planned)} | found.told()


def _together(told: list[dict[str, Any]]) -> int:
    """Campaigns with an arm that is beyond chance when the arms of all campaigns are tested together; marks arms."""
    arms = [(one["campaign"], arm) for one in told for arm in one["arms"]]
    adjusted = benjamini_hochberg(np.array([np.nan if arm["p"] is None else arm["p"] for _, arm in arms]))
    for (_, arm), p in zip(arms, adjusted, strict=True):
        arm["p_among_all"] = rounded(float(p))
    return len({name for (name, _), p in zip(arms, adjusted, strict=True) if p <= 0.05})


def _told(
    campaign: Campaign, priced: pl.DataFrame, costs: Costs, has_ledger: bool, lake: Lake, asked: Asked
) -> dict[str, Any]:
    looked, note = watching(campaign, lake, asked)
    warnings = [*campaign.warnings, *note]
    found: Found | None = None
    if campaign.rows is not None:
        found = effects_of(campaign.rows, asked.planned, asked.covariate is not None)
        if found.certain:
            warnings.append(f"{found.certain:,} customers had no choice of arm (propensity 1) and are left out")
        if found.overlap is not None and found.overlap.thin:
            warnings.append(f"{found.overlap.thin:,} customers had an arm with a chance below 1 %")
    status = found.status if found else "unknown"
    refused = found.refused if found else campaign.refused
    shown = found or Found("unknown", refused, None, None, ())
    amounts = campaign.rows is not None and not campaign.rows.shares
    worked = [called(arm, looked, len(shown.arms)) for arm in shown.arms]
    roi, why, more = earned(campaign, found, priced, costs, has_ledger, asked.seed, asked.winsorise)
    return {
        "campaign": campaign.name,
        "status": status,
        "refused": refused,
        "next_time": list(NEXT_TIME) if refused else [],
        "verdict": sentence(shown, looked, _unit(asked), amounts),
        "called": 1 if 1 in worked else -1 if -1 in worked else 0,
        "watching": looked,
        "amounts": amounts,
        "customers": campaign.units.height,
        "sizes": _sizes(campaign.units),
        "arms": [arm.told() | {"called": sign} for arm, sign in zip(shown.arms, worked, strict=True)],
        "sample_ratio": asdict(shown.ratio) if shown.ratio else None,
        "overlap": asdict(shown.overlap) if shown.overlap else None,
        "segments": _segments(campaign, found),
        "kpis": kpi_rows(priced, asked.days, costs.fixed),
        "roi": roi,
        "roi_refused": why,
        "money": money_sentence(roi, why),
        "money_winsorised": winsorised_sentence(roi),
        "warnings": warnings + more,
    }


def _segments(campaign: Campaign, found: Found | None) -> list[dict[str, Any]]:
    if campaign.rows is None or found is None or found.refused:
        return []
    kept = campaign.units.filter(pl.Series(campaign.usable))
    return segment_effects(campaign.rows, {n.removeprefix(GROUP): kept[n] for n in kept.columns if n.startswith(GROUP)})


def _sizes(units: pl.DataFrame) -> list[dict[str, Any]]:
    found = units.group_by("arm").agg(
        pl.len().alias("assigned"), pl.col("contacted").sum(), (pl.col("outcome") > 0).sum().alias("with_outcome"),
        pl.col("is_control").first(),
    )  # fmt: skip
    return found.sort("is_control", "arm", descending=[True, False]).to_dicts()


def _by(units: pl.DataFrame, asked: Asked) -> dict[str, list[dict[str, Any]]]:
    """The figures by campaign, channel, month, hour, and what else was asked for; those that take one value are out."""
    when = pl.col("at")
    wide = units.with_columns(
        month=when.dt.strftime("%Y-%m"), hour=when.dt.strftime("%H"), campaign=pl.col("campaign_id")
    )
    names = ["campaign", "channel", "month", "hour", *(n for n in wide.columns if n.startswith(GROUP))]
    return {
        name.removeprefix(GROUP): breakdown(wide, name, asked.days, KPIS, MOST)
        for name in names
        if wide[name].drop_nulls().n_unique() > 1
    }


def _fixed(ledger: CostLedger | None, campaigns: list[str]) -> float:
    return float(sum(ledger.of(name).fixed for name in campaigns)) if ledger else 0.0


def _check_ledger(lake: Lake, ledger: CostLedger | None) -> None:
    if ledger and ledger.campaigns and "campaigns" in lake.tables:
        known = set(lake.read("campaigns")["campaign_id"].to_list())
        if unknown := sorted(set(ledger.campaigns) - known):
            raise ConfigError(f"--costs: campaigns.{unknown[0]}: the lake has no such campaign")


def _unit(asked: Asked) -> str:
    name = asked.outcome.partition(".")[2] or asked.outcome
    return {"converted": "conversions", "opened": "opened messages", "clicked": "clicks"}.get(name, f"customers {name}")


def _asked(asked: Asked) -> dict[str, Any]:
    told = asdict(asked)
    told.pop("memory")
    return (
        told
        | {"segments": str(asked.segments) if asked.segments else None, "shares": dict(asked.shares)}
        | {"planned": rounded(asked.planned)}
    )
