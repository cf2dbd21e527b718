"""What drives an outcome of a lake: models, comparisons and trials put together as one report."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from recsys.bundle.segmentation import Segmentation
from recsys.drivers.columns import Columns, Contrast, contrasts
from recsys.drivers.effects import Effect, difference, observed
from recsys.drivers.outcome import CONTEXT, Outcome, parse_outcome, parse_where
from recsys.drivers.rates import rate_table
from recsys.errors import ConfigError
from recsys.features.definition import FeatureConfig, define
from recsys.lake.parts import MEMORY
from recsys.lake.store import Lake
from recsys.pages.page import write_page
from recsys.progress import Progress
from recsys.segment_cards.intervals import rounded
from recsys.segment_cards.suppression import FEWEST
from training.driver_adjusted import compare
from training.driver_data import GROUP, PROTECTED, SEGMENT, Units, gather
from training.driver_models import Importance, Validated, curves, fit, validate
from training.driver_page import page
from training.driver_rows import Found, table
from training.driver_trials import CONTACTED, Draw, Shown, contact_trials, shown_by_contacts, shown_by_draw
from training.leaks import without_history

ADJUSTED = 10
"""Columns whose effect among customers alike is worked out, the most important first, beside how contacts are made."""
CURVES = 9
"""Columns whose curve in the glass box is drawn."""
POINTS = 20
RATED = 6
"""Categories by which rates are told, where the outcome is not one of contacts."""


@dataclass(frozen=True)
class Asked:
    """What is asked of a lake."""

    outcome: str
    horizon: int | None = None
    as_of: date | None = None
    campaigns: str | None = None
    randomised: str | None = None
    exclude: tuple[str, ...] = ()
    levers: tuple[str, ...] = ()
    """Attributes that the bank can change, which is for a person to say."""
    days: int = 90
    """Window over which activity is counted."""
    rows: int = 20_000
    """Units that the models learn from, about; rates and trials use all."""
    seed: int = 0


def explain(
    lake: Lake, asked: Asked, progress: Progress, memory: int = MEMORY, segmentation: Segmentation | None = None
) -> dict[str, Any]:
    """The content of the report. Raises ConfigError or DataError where the lake cannot answer."""
    outcome = parse_outcome(asked.outcome, lake, asked.horizon, asked.as_of)
    where, draw = parse_where(asked.campaigns, lake), Draw.parse(asked.randomised, lake)
    if where and outcome.kind != "contact":
        raise ConfigError(f"--campaigns: {outcome.text} is no outcome of contacts, so it belongs to no campaign")
    if unknown := set(asked.levers) - {a.name for a in lake.attributes("customers")}:
        raise ConfigError(f"--lever {min(unknown)}: customers has no such attribute")
    config = FeatureConfig(windows=(asked.days,), exclude=asked.exclude)
    units = gather(lake, outcome, where, config, memory, progress, segmentation, draw.attribute if draw else None)
    sample = units.sample(asked.rows)
    columns, y = units.columns.some(sample), units.outcome[sample]
    customer = np.unique(units.customer[sample], return_inverse=True)[1]
    validated = validate(columns, y, customer, asked.seed, progress)
    trials, left = contact_trials(units)
    shown = list(shown_by_contacts(units, trials)) if trials else []
    shown += shown_by_draw(units, draw, units.columns) if draw else []
    found = list(_found(validated, columns, y, customer, sample, shown, asked.seed, progress))
    definition = define(lake, config, outcome.as_of)
    return {
        "schema": 1,
        "lake": {"source": lake.source, "version": lake.version, "identity": lake.identity()},
        "outcome": {"asked": asked.outcome, "text": outcome.text, "campaigns": asked.campaigns},
        "as_of": outcome.as_of.isoformat() if outcome.as_of else None,
        "units": len(units.outcome),
        "customers": int(units.customer.max()) + 1,
        "share": rounded(units.share),
        "rate": rounded(float(units.outcome.mean())),
        "learned_from": len(sample),
        "seed": asked.seed,
        "validation": _validation(validated),
        "drivers": table(found, columns, outcome.text, asked.levers),
        "importances": [_importance(one, columns) for one in validated.importances],
        "curves": _curves(validated, columns, y, customer, asked.seed),
        "trials": {"used": [trial.name for trial in trials], "left_out": left, "drawn": asked.randomised},
        "rates": _rates(units, outcome, validated, draw),
        "as_of_today": without_history(lake, definition) if outcome.kind != "column" or outcome.as_of else [],
    }


def write_report(content: Mapping[str, Any], out: Path) -> tuple[Path, Path]:
    """Write `out/drivers.json` and `out/drivers.html`; return their paths."""
    return write_page(out, "drivers", content, page(content))


def _found(
    validated: Validated,
    columns: Columns,
    outcome: np.ndarray,
    customer: np.ndarray,
    sample: np.ndarray,
    shown: list[Shown],
    seed: int,
    progress: Progress,
) -> Iterator[Found]:
    """Every driver: what chance has shown, how contacts are made, the most important columns, and the rest."""
    important = {one.column: one for one in validated.importances}
    rest = [one for one in validated.importances if one.column != CONTACTED or not shown]
    drawn = {one.contrast.column for one in shown}
    first = [one.column for one in rest if one.column not in drawn][:ADJUSTED]
    first += [name for name in columns.names if name.startswith(CONTEXT) and name not in (*first, *drawn)]
    every: list[tuple[Shown | None, Contrast]] = [(one, one.contrast) for one in shown]
    every += [(None, contrast) for name in first for contrast in _told_of(columns, name, outcome, customer)]
    contacted = columns.at(CONTACTED) == 1 if CONTACTED in columns.names else np.ones(len(outcome), dtype=bool)
    for place, (one, contrast) in enumerate(every):
        among = one.among[sample] if one else contacted if contrast.column.startswith(CONTEXT) else None
        compared = None
        if one is None or (one.same_columns and contrast.column in columns.names):
            compared = compare(columns, contrast, outcome, customer, seed, among)
        plain = one.observed if one else compared.observed if compared else None
        if plain is not None:
            effect, name = (one.effect, one.name) if one else (None, "")
            yield Found(contrast, important.get(contrast.column), plain, compared, effect, name)
        progress(place + 1, len(every), "comparing")
    for column in (one.column for one in validated.importances if one.column not in (*first, *drawn)):
        for contrast in _told_of(columns, column, outcome, customer):
            yield Found(contrast, important[column], _plain(columns, contrast, outcome, customer), None, None)


def _told_of(columns: Columns, name: str, outcome: np.ndarray, customer: np.ndarray) -> Iterator[Contrast]:
    """The contrasts of a column that tell of ten customers or more with and without the outcome on either side."""
    for contrast in contrasts(columns, name):
        side = contrast.side(columns.at(name), columns.words.get(name, ()))
        cells = [(side == one) & (outcome == other) for one in (0, 1) for other in (0, 1)]
        if min(len(np.unique(customer[cell])) for cell in cells) >= FEWEST:
            yield contrast


def _plain(columns: Columns, contrast: Contrast, outcome: np.ndarray, customer: np.ndarray) -> Effect:
    side = contrast.side(columns.at(contrast.column), columns.words.get(contrast.column, ()))
    rows = np.flatnonzero(~np.isnan(side))
    who = np.unique(customer[rows], return_inverse=True)[1]
    y, exposed = outcome[rows], side[rows] == 1
    return difference(observed(y, exposed), observed(y, ~exposed), who)


def _validation(found: Validated) -> dict[str, Any]:
    each = {"black_box": found.black, "glass_box": found.glass, "cost": found.cost}
    return {name: [rounded(part) for part in (one.value, one.low, one.high)] for name, one in each.items()}


def _importance(one: Importance, columns: Columns) -> dict[str, Any]:
    return {
        "column": one.column,
        "text": columns.text(one.column),
        "auc_lost": [rounded(part) for part in (one.lost.value, one.lost.low, one.lost.high)],
        "rank": [rounded(part) for part in (one.rank.value, one.rank.low, one.rank.high)],
        "in_top": rounded(one.in_top),
    }


def _curves(
    validated: Validated, columns: Columns, outcome: np.ndarray, customer: np.ndarray, seed: int
) -> list[dict[str, Any]]:
    """What the glass box adds to the log-odds along the most important columns, at values of ten customers or more."""
    every = np.arange(len(outcome))
    added = curves(fit(columns, outcome, every, seed, glass=True), columns, every)
    told = []
    for one in validated.importances[:CURVES]:
        values, own = columns.at(one.column), added[:, columns.names.index(one.column)]
        words = columns.spoken_words(one.column)
        points = [
            {"at": label, "log_odds": rounded(float(own[here].mean())), "rows": int(here.sum())}
            for label, here in _bins(values, words, columns.scale(one.column))
            if len(np.unique(customer[here])) >= FEWEST
        ]
        if any(point["log_odds"] for point in points):
            told.append(
                {"column": one.column, "text": columns.text(one.column), "words": bool(words), "points": points}
            )
    return told


def _bins(values: np.ndarray, words: Sequence[str], scale: float) -> Iterator[tuple[Any, np.ndarray]]:
    """Each value of a category, or each of few numbers, or about POINTS ranges of many; with the rows that have it."""
    if words:
        for place, word in enumerate(words[:POINTS]):
            yield word, values == place
        return
    known = values[~np.isnan(values)]
    if len(np.unique(known)) <= POINTS:
        for value in np.unique(known):
            yield rounded(float(value) / scale), values == value
        return
    edges = np.unique(np.quantile(known, np.linspace(0, 1, POINTS + 1)))
    for place, (low, high) in enumerate(zip(edges[:-1], edges[1:], strict=True)):
        here = (values >= low) & ((values < high) if place < len(edges) - 2 else (values <= high))
        if here.any():
            yield rounded(float(values[here].mean()) / scale), here


def _rates(units: Units, outcome: Outcome, validated: Validated, draw: Draw | None) -> list[dict[str, Any]]:
    """Rates by channel, hour, day and both, of contacts that were made; by segment, group and category of all."""
    rows = units.rows
    asked: list[tuple[str, ...]] = []
    if outcome.kind == "contact":
        rows = rows.filter("contacted")
        asked = [("channel",), ("hour",), ("weekday",), ("channel", "hour")]
    else:
        categories = [one.column for one in validated.importances if one.column in units.columns.words]
        flags = [one.column for one in validated.importances if one.column in units.columns.flags]
        asked = [(name,) for name in (*categories[:RATED], *flags[:RATED]) if name in rows.columns]
    told = [name for name in rows.columns if name.startswith((GROUP, PROTECTED))]
    if draw:
        told = [name for name in told if name != f"{GROUP}{draw.attribute}"]
    asked += [(SEGMENT,)] if SEGMENT in rows.columns else []
    asked += [(name,) for name in told]
    found = []
    for by in asked:
        if all(rows[name].drop_nulls().n_unique() > 1 for name in by):
            text = [_named(name, units.columns) for name in by]
            found.append({"text": text, **rate_table(rows, by)})
    return found


def _named(name: str, columns: Columns) -> str:
    for prefix in (GROUP, PROTECTED):
        if name.startswith(prefix):
            return columns.labels.label(name.removeprefix(prefix)).text
    return columns.text(name) if name in columns.names else name.replace("_", " ")
