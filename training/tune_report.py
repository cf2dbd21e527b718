"""What a search found, as files: the best configuration, a report, a table of all trials, plots."""

import csv
import os
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import optuna
import yaml
from optuna.trial import FrozenTrial, TrialState

from recsys.durable import rename
from recsys.lake.store import Lake
from training.search_space import SearchSpace, label
from training.study import AS_IT_STANDS, FAILED
from training.tune_plots import plot_history, plot_importance, plot_slices

SHOWN = 10
"""Trials in the report's table."""
JUDGES = {"churn": "recsys churn report", "uplift": "recsys uplift report"}
"""By which command two bundles of a part are judged on the test, where it is not `recsys compare`."""
FEW = 10
"""Complete trials below which importances say little."""


def write_report(folder: Path, space: SearchSpace, lake: Lake, trials: Sequence[FrozenTrial]) -> str:
    """Write `best.yaml`, `report.md`, `trials.csv` and plots into `folder`; return what was found, in a sentence."""
    best, stands = best_of(trials), as_it_stands(trials)
    weights = importance(trials)
    metric = space.metric
    texts = {
        "best.yaml": best_yaml(space, lake, trials),
        "report.md": _report(space, lake, trials, best, stands, weights),
    }
    for name, text in texts.items():
        _replace(folder / name, text.encode())
    with tempfile.TemporaryDirectory(dir=folder, prefix=".report-") as partial:
        _table(Path(partial) / "trials.csv", space, trials)
        plot_history(Path(partial) / "history.png", trials, stands, metric)
        plot_slices(Path(partial) / "slices.png", space, trials, stands, metric)
        if weights:
            plot_importance(Path(partial) / "importance.png", weights)
        for path in sorted(Path(partial).iterdir()):
            rename(path, folder / path.name)
    return found(metric, best, stands)


def best_of(trials: Sequence[FrozenTrial]) -> FrozenTrial:
    """The complete trial with the best value, the earliest of equals."""
    return max(_complete(trials), key=lambda trial: (trial.value, -trial.number))


def as_it_stands(trials: Sequence[FrozenTrial]) -> FrozenTrial:
    """Trial 0: the configuration as it stands."""
    return next(trial for trial in trials if trial.user_attrs.get(AS_IT_STANDS))


def importance(trials: Sequence[FrozenTrial]) -> dict[str, float]:
    """Share of the variance between complete trials that each key explains (fANOVA), greatest first; may be empty.

    Hutter, Hoos and Leyton-Brown, *An Efficient Approach for Assessing Hyperparameter Importance*, ICML 2014.
    """
    complete = _complete(trials)
    if len(complete) < 4 or len({trial.value for trial in complete}) < 2:
        return {}
    study = optuna.create_study(direction="maximize")
    study.add_trials(complete)
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    return optuna.importance.get_param_importances(study, evaluator=evaluator)


def best_yaml(space: SearchSpace, lake: Lake, trials: Sequence[FrozenTrial]) -> str:
    """The best trial's whole configuration, with comments on where it came from."""
    best, stands = best_of(trials), as_it_stands(trials)
    config = space.configuration(best.params)
    metric = space.metric
    changes = [f"#   {key}: {_text(space.own[key])} -> {_text(best.params[key])}" for key in _changed(space, best)]
    lines = [
        f"# Found by `recsys tune`: trial {best.number}, the best of {len(trials)} by {metric} on validation.",
        f"# Lake {lake.source or 'without a name'}, version {lake.version}, {lake.identity()[:12]}.",
        f"# {metric} {best.value:.4f}; the configuration as it stood had {stands.value:.4f}. The best of many is"
        f" optimistic: judge it by `{_judge(space, 'recsys evaluate')}`.",
        *(
            ["# What it changes:", *changes]
            if changes
            else ["# No trial was better than the configuration as it stood."]
        ),
    ]
    content = config.model_dump(mode="json", exclude={"tuning"})
    return "\n".join(lines) + "\n" + yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def found(metric: str, best: FrozenTrial, stands: FrozenTrial) -> str:
    """The best trial beside the configuration as it stands."""
    if best.number == stands.number:
        return f"No trial was better than the configuration as it stands: {metric} {best.value:.4f} on validation."
    gain = (best.value or 0.0) - (stands.value or 0.0)
    return (
        f"Trial {best.number} is the best: {metric} {best.value:.4f} on validation, against {stands.value:.4f} "
        f"for the configuration as it stands ({gain:+.4f})."
    )


def _report(
    space: SearchSpace,
    lake: Lake,
    trials: Sequence[FrozenTrial],
    best: FrozenTrial,
    stands: FrozenTrial,
    weights: dict[str, float],
) -> str:
    metric = space.metric
    complete, failed = _complete(trials), [trial for trial in trials if FAILED in trial.user_attrs]
    early = len(trials) - len(complete) - len(failed)
    ranked = sorted(complete, key=lambda trial: (-(trial.value or 0.0), trial.number))[:SHOWN]
    keys = list(space.domains)
    changes = [(key, _text(space.own[key]), _text(best.params[key])) for key in _changed(space, best)]
    lines = [
        f"# Tuning of {space.config.name}",
        "",
        f"{found(metric, best, stands)} {len(trials)} trials: {len(complete)} complete, {early} given up early, "
        f"{len(failed)} that could not be trained. Lake {lake.source or 'without a name'}, version {lake.version}; "
        f"seed {space.config.seed}.",
        "",
        f"**The value of the best of {len(trials)} trials is optimistic**: it was chosen because it is high, and part "
        "of that is chance. The test split was not read. Train `best.yaml` and the configuration as it stands, "
        f"better with several seeds, and let `{_judge(space, 'recsys compare')}` say whether the difference is real.",
        "",
        "## What the best one changes",
        "",
        *_rows(("key", "as it stands", "best"), changes),
        "",
        f"## The best {len(ranked)}",
        "",
        *_rows(
            ("trial", metric, *keys),
            [(_name(trial), f"{trial.value:.4f}", *(_text(trial.params[key]) for key in keys)) for trial in ranked],
        ),
        "",
        "![Validation of each trial in the order in which they were made](history.png)",
        "",
        "## Which keys matter",
        "",
        *_weights(weights, len(complete)),
        "",
        "![Validation over each key's values](slices.png)",
        "",
        "## What was searched",
        "",
        *_rows(("key", "values", "as it stands"), [(k, str(d), _text(space.own[k])) for k, d in space.domains.items()]),
        "",
        *_given_up(trials, metric),
    ]
    return "\n".join(lines) + "\n"


def _judge(space: SearchSpace, otherwise: str) -> str:
    assert space.config.tuning is not None
    return JUDGES.get(space.config.tuning.part, otherwise)


def _weights(weights: dict[str, float], complete: int) -> list[str]:
    if not weights:
        return ["There are too few complete trials, or no differences between them, to tell."]
    doubt = [] if complete >= FEW else [f"Only {complete} trials are complete: read these as a hint.", ""]
    return [
        "Share of the differences between complete trials that each key explains (fANOVA; Hutter et al., ICML 2014).",
        "",
        *doubt,
        *_rows(("key", "importance"), [(key, f"{value:.2f}") for key, value in weights.items()]),
        "",
        "![Importance of each key](importance.png)",
    ]


def _given_up(trials: Sequence[FrozenTrial], metric: str) -> list[str]:
    rows = []
    for trial in trials:
        if trial.state != TrialState.PRUNED:
            continue
        reached = max(trial.intermediate_values.values(), default=None)
        why = trial.user_attrs.get(FAILED, "worse than the median of the others at that epoch")
        rows.append(
            (str(trial.number), str(trial.last_step or 0), "" if reached is None else f"{reached:.4f}", str(why))
        )
    if not rows:
        return ["No trial was given up early."]
    return ["## Given up early", "", *_rows(("trial", "epochs", metric, "why"), rows)]


def _rows(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    if not rows:
        return ["Nothing."]
    lines = [headings, ["---"] * len(headings), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]


def _table(path: Path, space: SearchSpace, trials: Sequence[FrozenTrial]) -> None:
    """One row a trial: what was tried, what came of it."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["trial", "state", "value", "best_epoch_value", "epochs", "seconds", *space.domains])
        for trial in trials:
            seconds = f"{trial.duration.total_seconds():.1f}" if trial.duration else ""
            reached = max(trial.intermediate_values.values(), default="")
            told = [trial.state.name.lower(), trial.value if trial.state == TrialState.COMPLETE else "", reached]
            values = [trial.params.get(key, "") for key in space.domains]
            writer.writerow([trial.number, *told, trial.last_step or 0, seconds, *values])


def _complete(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    return [trial for trial in trials if trial.state == TrialState.COMPLETE]


def _changed(space: SearchSpace, trial: FrozenTrial) -> list[str]:
    return [key for key in space.domains if trial.params[key] != space.own[key]]


def _name(trial: FrozenTrial) -> str:
    return f"{trial.number} (as it stands)" if trial.user_attrs.get(AS_IT_STANDS) else str(trial.number)


def _text(value: Any) -> str:
    """A value for people: floats in four digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(label(value))


def _replace(path: Path, content: bytes) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_bytes(content)
    with suppress(FileNotFoundError):
        rename(partial, path)
