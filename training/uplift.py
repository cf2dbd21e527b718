"""Fitting of the uplift part: learners compared on held-out customers, the best one bagged, calibrated and exported."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from recsys.bundle.uplift import About, Counted, TrialAbout, uplift_part
from recsys.progress import Progress
from recsys.uplift.actions import SCHEMA, ActionColumns
from recsys.uplift.config import Learner, UpliftConfig
from recsys.uplift.qini import Compared, curve
from recsys.uplift.scores import Line, autoc, best_line, clustered_mean, losses
from recsys.uplift.trials import Trial
from training.uplift_graph import UpliftModel
from training.uplift_inputs import Inputs
from training.uplift_learners import CrossFitted, Fits, Problem, bagged, cross_fit, folds_of, halves_of, out_of_bag
from training.uplift_rows import UpliftRows, UpliftUnits

STEEPEST = 3.0
"""Predicted effects are spread by at most this factor, and by none where they do not go with the scores."""
SAMPLES = 200
"""Bootstrap samples of the curves that a bundle keeps."""
PARITY_ACTIONS = 3
Embed = Callable[[Mapping[str, np.ndarray]], np.ndarray]
"""The customer arrays → float32 [N, dimensions]."""


@dataclass(frozen=True)
class FittedUplift:
    """What training made of the section."""

    model: UpliftModel
    about: About
    shown: pl.DataFrame
    """The actions that the parity record asks about."""

    def files(self, parity: Mapping[str, np.ndarray], embed: Embed | None) -> dict[str, bytes]:
        """The files of the part; `parity` are the encoder's customer arrays of the invented customers."""
        embedding = embed(parity) if self.about.embedding and embed else None
        answers = self.model.answers(parity, embedding, self.shown)
        return uplift_part(graph=self.model.graph(), about=self.about, actions=self.shown, answers=answers)

    def report(self) -> dict[str, Any]:
        """For the bundle's report: what was compared on customers that were held out."""
        told = self.about.model_dump(mode="json")
        kept = ("learner", "trees", "embedding", "units", "effect", "slope", "left_out")
        candidates = {name: {k: v for k, v in one.items() if k != "curve"} for name, one in told["models"].items()}
        return {name: told[name] for name in kept} | {"candidates": candidates}


def fit_uplift(
    config: UpliftConfig,
    data: UpliftRows,
    attributes: pl.DataFrame,
    *,
    embed: Embed | None,
    embedding: int,
    seed: int,
    threads: int,
    progress: Progress,
) -> FittedUplift:
    """Compare the learners on customers that each has not seen, and fit the best on halves of the customers.

    `attributes` is the catalogue as `product_attributes` gives it; `embed` gives the embedding of so many dimensions,
    which is tried with the best learner. The best has the least squared distance from the doubly robust scores on its
    best line.
    """
    inputs = inputs_of(data, attributes)
    fits = Fits(problem_of(inputs, data, None), config, seed, threads)
    fold = folds_of(fits.problem.customer, config.folds, config.seed)
    found = cross_fit(fits, fold, config.learners, _step(progress, "comparing learners"))
    learner = min(config.learners, key=lambda one: float(found.losses(one).min()))
    models: dict[str, Any] = {}
    for name in config.learners:
        models[name] = candidate(fits.problem, found, name, found.best(name), seed)
    chosen, judged = (fits, found), found.best(learner)
    if embed is not None and config.embedding:
        wide = Inputs.of(data.encoder, data.train.arrays, inputs.actions, embedding)
        more = Fits(problem_of(wide, data, embed(data.train.arrays)), config, seed, threads)
        other = cross_fit(more, fold, (learner,), _step(progress, "comparing with the embedding"))
        same = replace(other, imputed=found.imputed)  # both are judged by the same scores
        models[f"{learner} with the embedding"] = candidate(fits.problem, same, learner, same.best(learner), seed)
        if same.losses(learner).min() < found.losses(learner).min():
            inputs, chosen, judged = wide, (more, other), same.best(learner)
    halves = halves_of(fits.problem.customer, config.bags, config.seed)
    terms = bagged(chosen[0], learner, chosen[1], judged[0], halves, _step(progress, "fitting halves"))
    line = _line(found.scores, out_of_bag(chosen[0], terms, halves), fits.problem)
    model = UpliftModel(
        inputs, data.encoder.shape, data.encoder.products, tuple(chosen[1].baseline), tuple(terms), line
    )
    about = _about(config, data, inputs, learner, judged[0], line, models, embedding if inputs.embedding else 0)
    return FittedUplift(model, about, _shown(data.trials.found, data.split.train))


def _line(scores: np.ndarray, predicted: np.ndarray, problem: Problem) -> Line:
    """By which the served effects are spread about their mean: what halves say of customers outside them, on scores."""
    line = best_line(scores, predicted, problem.customer[problem.unit])
    return replace(line, slope=float(np.clip(line.slope, 0, STEEPEST)))


def inputs_of(data: UpliftRows, attributes: pl.DataFrame) -> Inputs:
    """What the trees read of the training units, without an embedding; `attributes` as `product_attributes` gives."""
    actions = [action for i in data.split.train for action in data.trials.found[i].actions]
    return Inputs.of(data.encoder, data.train.arrays, ActionColumns.of(actions, attributes))


def problem_of(inputs: Inputs, data: UpliftRows, embedding: np.ndarray | None) -> Problem:
    """The training units, and each with every action of its trial, as tables."""
    return problem(inputs, data.train, data.trials.found, data.encoder.products, embedding)


def problem(
    inputs: Inputs,
    units: UpliftUnits,
    trials: Sequence[Trial],
    products: Sequence[str],
    embedding: np.ndarray | None,
) -> Problem:
    """Units and their pairs as tables; `products` is the encoder's catalogue."""
    place = {product: i for i, product in enumerate(products)}
    unknown = [place.get(trial.actions[0].product_id or "", -1) + 2 for trial in trials]
    product = np.array(unknown, dtype=np.int64)[units.trial]
    rows = np.concatenate([inputs.of_customers(units.arrays, embedding), inputs.looked(units.arrays, product)], axis=1)
    vectors = [inputs.actions.vectors(pl.DataFrame(trial.actions, schema=SCHEMA, orient="row")) for trial in trials]
    counts = np.array([len(one) for one in vectors])[units.trial]
    unit = np.repeat(np.arange(len(units)), counts)
    arm = np.arange(len(unit)) - np.repeat(np.cumsum(counts) - counts, counts)
    first = np.cumsum([0, *(len(one) for one in vectors[:-1])])
    stacked = np.concatenate(vectors)
    offered = stacked[first[units.trial][unit] + arm]
    treated = units.arm > 0
    own = stacked[first[units.trial] + np.maximum(units.arm - 1, 0)]
    return Problem(
        rows=rows,
        action=np.where(treated[:, None], own, own * inputs.actions.of_product),
        unit=unit,
        offered=offered,
        had=units.arm[unit] == arm + 1,
        outcome=units.outcome,
        treated=treated,
        propensity=units.propensity,
        customer=units.customer,
        of_product=inputs.actions.of_product,
    )


def compared(problem: Problem) -> tuple[np.ndarray, Compared]:
    """The pairs whose units had the action or none, bool [M], and how they compare."""
    seen = problem.had | problem.untreated
    unit = problem.unit[seen]
    return seen, Compared(
        problem.outcome[unit], problem.treated[unit], 1 / problem.propensity[unit], problem.customer[unit]
    )


def candidate(
    problem: Problem, found: CrossFitted, learner: Learner, best: tuple[int, np.ndarray], seed: int
) -> dict[str, Any]:
    """What a learner came to on held-out customers: Qini, AUTOC, the loss saved over one effect for all, its curve."""
    trees, predicted = best
    customer = problem.customer[problem.unit]
    seen, pairs = compared(problem)
    drawn = curve(predicted[seen], pairs, SAMPLES, seed)
    constant = np.full(len(predicted), found.scores.mean())
    saved = clustered_mean(losses(found.scores, constant) - losses(found.scores, predicted), customer)
    line = best_line(found.scores, predicted, customer)
    return {
        "trees": trees,
        "loss_saved": _told(saved),
        "qini": _told(drawn.qini),
        "auuc": _told(drawn.auuc),
        "autoc": _told(autoc(found.scores, predicted, customer, SAMPLES, seed)),
        "gain_at_30": _told(drawn.gains[0.3]),
        "slope": [line.slope, line.slope - 1.96 * line.slope_error, line.slope + 1.96 * line.slope_error],
        "curve": {
            "value": [round(float(v), 6) for v in drawn.value],
            "low": [round(float(v), 6) for v in drawn.low],
            "high": [round(float(v), 6) for v in drawn.high],
        },
    }


def _told(interval: Any) -> list[float]:
    return [float(interval.value), float(interval.low), float(interval.high)]


def _about(
    config: UpliftConfig,
    data: UpliftRows,
    inputs: Inputs,
    learner: Learner,
    trees: int,
    line: Line,
    models: dict[str, Any],
    embedding: int,
) -> About:
    units, split = data.train, data.split
    treated = units.arm > 0
    return About(
        outcome=config.outcome,
        treatment=config.treatment,
        control=config.control,
        arrays=inputs.arrays,
        looks=bool(inputs.looking),
        embedding=embedding,
        actions=inputs.actions,
        learner=learner,
        trees=trees,
        bags=config.bags,
        effect=(line.mean, line.mean_error),
        slope=(line.slope, line.slope_error),
        units=Counted(
            contacted=int(treated.sum()),
            contacted_with_outcome=int(units.outcome[treated].sum()),
            control=int((~treated).sum()),
            control_with_outcome=int(units.outcome[~treated].sum()),
        ),
        trials=tuple(_trial(data.trials.found[i]) for i in split.train),
        test_from=split.test_from.isoformat() if split.test_from else None,
        left_out=data.trials.left_out | split.left_out,
        models=models,
    )


def _trial(trial: Trial) -> TrialAbout:
    return TrialAbout(
        campaign=trial.campaign,
        actions=tuple(tuple(action) for action in trial.actions),
        first=trial.first.isoformat() if trial.first else None,
        last=trial.last.isoformat() if trial.last else None,
    )


def _shown(trials: Sequence[Trial], train: Sequence[int]) -> pl.DataFrame:
    """A few different actions of the training's trials, in order."""
    seen = sorted({action for i in train for action in trials[i].actions}, key=str)
    step = max(1, len(seen) // PARITY_ACTIONS)
    return pl.DataFrame(seen[::step][:PARITY_ACTIONS], schema=SCHEMA, orient="row")


def _step(progress: Progress, what: str) -> Callable[[int, int], None]:
    return lambda done, total: progress(done, total, f"uplift: {what}")
