"""The report of a bundle's uplift part: what its ranking is worth on contacts that training saw nothing of."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recsys.bootstrap import Interval
from recsys.bundle import Bundle
from recsys.bundle.fits import check_fits
from recsys.bundle.uplift import Uplift, uplift_of
from recsys.errors import BundleError
from recsys.features.examples import last_day
from recsys.lake.parts import MEMORY, BucketReader
from recsys.lake.store import Lake
from recsys.pages.page import write_page
from recsys.progress import Progress
from recsys.uplift.actions import SCHEMA
from recsys.uplift.groups import Group, deciles, harmed
from recsys.uplift.qini import AUUC, QINI, Compared, Curve, curve
from recsys.uplift.scores import autoc, best_line, clustered_mean, doubly_robust, targeting_gain
from recsys.uplift.trials import Action, Trial, find_trials
from recsys.uplift.units import check_units, split_of
from training.config import parse_config
from training.uplift_page import page
from training.uplift_plots import pictures_of
from training.uplift_rows import UpliftUnits, encoded, unit_rows

NAME = "uplift"
SHARES = (0.1, 0.2, 0.3, 0.5)
VERDICT = 0.3
"""The share of customers that is targeted where one number is to say whether the ranking helps."""
SAMPLES = 500
FEWEST = 10


@dataclass(frozen=True)
class Judged:
    """Pairs of a test unit and an action of its trial, and what the bundle says of them."""

    scores: np.ndarray
    """float64 [M] doubly robust scores, by the bundle's own outcome models, which saw nothing of the test."""
    predicted: np.ndarray
    errors: np.ndarray
    customer: np.ndarray
    seen: np.ndarray
    """bool [M] the unit had this action, or none."""
    compared: Compared
    level: np.ndarray
    """str [M] the action in words."""


def write_uplift_report(
    bundle: Bundle, lake: Lake, out: Path, progress: Progress, memory: int = MEMORY, threads: int = 2
) -> tuple[Path, Path, dict[str, Any]]:
    """Write `out/uplift.json` and `out/uplift.html`; return their paths and the content.

    Raises LakeError if the bundle cannot read the lake, BundleError without an uplift part, DataError if the test part
    cannot be compared.
    """
    check_fits(bundle, lake)
    content = uplift_report(bundle, uplift_of(bundle, threads), lake, progress, memory)
    data, html = write_page(out, NAME, content, page(content, pictures_of(content)))
    return data, html, content


def uplift_report(
    bundle: Bundle, uplift: Uplift, lake: Lake, progress: Progress, memory: int = MEMORY
) -> dict[str, Any]:
    """The content of the report, from the test part alone, through the graph that is served."""
    config = parse_config(bundle.config, f"{bundle.path}/config.yaml")
    if config.uplift is None:
        raise BundleError(f"{bundle.path}: its configuration has no section uplift, so its test part is not known")
    trials = find_trials(lake, config.uplift, last_day(config.evaluation, lake.as_of))
    split = split_of(trials, config.uplift)
    reader = BucketReader(lake, memory)
    rows_of = unit_rows(config.uplift, reader, uplift.definition, trials, split, "test", progress)
    found = [(rows, encoded(rows, uplift.encoder)) for _, rows in rows_of]
    test = _together([units for _, units in found])
    check_units(test.arm > 0, test.outcome, "test")
    judged = _judged(
        [(uplift_answers(uplift, rows, units, trials.found), units) for rows, units in found], trials.found
    )
    about = uplift.about
    served = curve(judged.predicted[judged.seen], judged.compared, SAMPLES, config.evaluation.seed, SHARES)
    return {
        "schema": 1,
        "bundle": bundle.bundle_id,
        "lake": {"source": lake.source, "version": lake.version, "identity": lake.identity()},
        "outcome": about.outcome,
        "learner": about.learner,
        "embedding": about.embedding,
        "formulas": {"qini": QINI, "auuc": AUUC},
        "units": {
            "contacted": int((test.arm > 0).sum()),
            "control": int((test.arm == 0).sum()),
            "customers": len(np.unique(test.customer)),
            "campaigns": [trials.found[i].campaign for i in np.unique(test.trial)],
            "from": str(split.test_from) if split.test_from else None,
        },
        "trained": about.units.model_dump() | {"trials": len(about.trials), "left_out": about.left_out},
        "effect": _interval(clustered_mean(judged.scores, judged.customer)),
        "served": _curve(served) | _ranked(judged, config.evaluation.seed),
        "verdict": verdict(targeting_gain(judged.scores, judged.predicted, judged.customer, VERDICT)),
        "actions": _actions(judged, config.evaluation.seed),
        "deciles": [_group(one) for one in deciles(judged.scores, judged.predicted, judged.customer)],
        "harmed": {
            name: _group(one) if one else None
            for name, one in harmed(judged.scores, judged.predicted, judged.errors, judged.customer).items()
        },
        "learners": about.models,
    }


def verdict(gain: Interval) -> str:
    """`better`, `worse`, or `cannot tell`."""
    return "better" if gain.low > 0 else "worse" if gain.high < 0 else "cannot tell"


def uplift_answers(
    uplift: Uplift, rows: pl.DataFrame, units: UpliftUnits, trials: tuple[Trial, ...]
) -> tuple[np.ndarray, ...]:
    """For units of a bucket: unit and arm of each pair, baseline, effect, error; all [m], pairs in order of units."""
    parts: list[tuple[np.ndarray, ...]] = []
    for place in np.unique(units.trial):
        chosen = np.flatnonzero(units.trial == place)
        actions = pl.DataFrame(trials[place].actions, schema=SCHEMA, orient="row")
        answers = uplift.expected(rows[chosen], actions)
        for column in range(actions.height):
            told = [values[:, column].astype(np.float64) for values in answers]
            parts.append((chosen, np.full(len(chosen), column + 1), *told))
    joined = [np.concatenate(part) for part in zip(*parts, strict=True)]
    order = np.lexsort((joined[1], joined[0]))
    return tuple(part[order] for part in joined)


def _judged(answers: list[tuple[tuple[np.ndarray, ...], UpliftUnits]], trials: tuple[Trial, ...]) -> Judged:
    parts = []
    for (unit, arm, baseline, effect, error), units in answers:
        had, control = units.arm[unit] == arm, units.arm[unit] == 0
        outcome, p = units.outcome[unit], units.propensity[unit]
        scores = doubly_robust(outcome, had, control, p, baseline + effect, baseline)
        said = np.array([_said(trials[t].actions[a - 1]) for t, a in zip(units.trial[unit], arm, strict=True)])
        parts.append((scores, effect, error, units.customer[unit], had | control, outcome, had, 1 / p, said))
    scores, effect, error, customer, seen, outcome, had, weight, said = (
        np.concatenate([part[i] for part in parts]) for i in range(9)
    )
    compared = Compared(outcome[seen], had[seen], weight[seen], customer[seen])
    return Judged(scores, effect, error, customer, seen, compared, said)


def _ranked(judged: Judged, seed: int) -> dict[str, Any]:
    gains = {
        f"{share:.0%}": _interval(targeting_gain(judged.scores, judged.predicted, judged.customer, share))
        for share in SHARES
    }
    line = best_line(judged.scores, judged.predicted, judged.customer)
    slope = Interval(line.slope, line.slope - 1.96 * line.slope_error, line.slope + 1.96 * line.slope_error)
    found = autoc(judged.scores, judged.predicted, judged.customer, 200, seed)
    return {"targeting": gains, "slope": _interval(slope), "autoc": _interval(found)}


def _actions(judged: Judged, seed: int) -> list[dict[str, Any]]:
    """Each action's mean effect and Qini; those of too few customers are left out."""
    found = []
    for said in np.unique(judged.level):
        rows = judged.level == said
        inside = rows[judged.seen]
        treated = judged.compared.treated[inside]
        if min(treated.sum(), (~treated).sum()) < FEWEST:
            continue
        effect = clustered_mean(judged.scores[rows], judged.customer[rows])
        one = curve(judged.predicted[judged.seen][inside], judged.compared.where(inside), SAMPLES // 2, seed)
        known = {"action": str(said), "contacted": int(treated.sum()), "control": int((~treated).sum())}
        found.append(known | {"effect": _interval(effect), "qini": _interval(one.qini)})
    return found


def _curve(found: Curve) -> dict[str, Any]:
    told = {name: [round(float(v), 6) for v in getattr(found, name)] for name in ("value", "low", "high")}
    gains = {f"{share:.0%}": _interval(one) for share, one in found.gains.items()}
    return {"qini": _interval(found.qini), "auuc": _interval(found.auuc), "curve": told, "targeting_weighted": gains}


def _group(group: Group) -> dict[str, Any]:
    hidden = group.units < FEWEST
    shown = None if hidden else _interval(group.shown)
    return {"units": group.units, "share": group.share, "predicted": group.predicted, "shown": shown}


def _interval(found: Interval) -> list[float]:
    return [float(found.value), float(found.low), float(found.high)]


def _said(action: Action) -> str:
    return ", ".join(one for one in action if one is not None)


def _together(parts: list[UpliftUnits]) -> UpliftUnits:
    """The units of all buckets, without their arrays."""
    names = ("outcome", "trial", "arm", "propensity", "customer")
    joined: Mapping[str, np.ndarray] = {
        name: np.concatenate([getattr(part, name) for part in parts]) if parts else np.empty(0) for name in names
    }
    return UpliftUnits({}, **joined)
