"""S-, T-, X- and DR-learners on boosted trees, cross-fitted over customers, and bags of halves of the customers.

Künzel, Sekhon, Bickel and Yu (PNAS 2019) for S, T and X; Kennedy (Electronic Journal of Statistics 2023) for DR. The
imputed effects and scores that X and DR learn from come from outcome models that never saw the unit, nor, where a fold
is held out, that fold: otherwise its outcomes would reach the learner that is judged by them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import lightgbm
import numpy as np

from recsys.uplift.config import Learner, TreesConfig, UpliftConfig
from recsys.uplift.scores import doubly_robust
from training.churn_boosting import round_leaves

GAIN = 64.0
"""Effects are learned times this power of two, so that rounded leaves still hold small ones."""
STAGES = (0.125, 0.25, 0.5, 1.0)
"""Shares of the most trees that are compared."""
Told = Callable[[int, int], None]


@dataclass(frozen=True)
class Problem:
    """N units and their M pairs with each action of their campaign, as tables."""

    rows: np.ndarray
    """float32 [N, ·] columns that no action changes."""
    action: np.ndarray
    """float32 [N, A] the action that a unit had; of those not contacted the product alone."""
    unit: np.ndarray
    """int64 [M] the unit of each pair."""
    offered: np.ndarray
    """float32 [M, A] the action of each pair."""
    had: np.ndarray
    """bool [M] the unit had this action."""
    outcome: np.ndarray
    """float64 [N]."""
    treated: np.ndarray
    """bool [N]."""
    propensity: np.ndarray
    """float64 [N]."""
    customer: np.ndarray
    """int64 [N]."""
    of_product: np.ndarray
    """float32 [A] 1 for the columns of an action that those not contacted have, too."""

    @property
    def untreated(self) -> np.ndarray:
        """bool [M] the pair's unit had no action."""
        return ~self.treated[self.unit]


@dataclass(frozen=True)
class Term:
    """A part of an effect: one booster for each bag, on the columns of the contacted or of the others."""

    boosters: list[lightgbm.Booster]
    untouched: bool
    """Read the columns of those who are not contacted."""
    link: bool
    """Log-odds, to be turned into a probability."""
    factor: float

    def of(self, table: np.ndarray, trees: int | None = None) -> np.ndarray:
        """float64 [N, bags]."""
        found = [self.factor * _predicted(one, table, self.link, trees) for one in self.boosters]
        return np.stack(found, axis=1)


@dataclass(frozen=True)
class Imputed:
    """What outcome models that never saw a unit say of it."""

    control_mean: np.ndarray
    """float64 [N] P(outcome) without contact."""
    treated_mean: np.ndarray
    """float64 [M] and with the pair's action."""
    scores: np.ndarray
    """float64 [M] doubly robust scores."""


@dataclass(frozen=True)
class CrossFitted:
    """What each learner says of pairs whose customers it never saw, and what judges it."""

    trees: dict[Learner, tuple[int, ...]]
    """The numbers of trees that were compared."""
    predicted: dict[Learner, np.ndarray]
    """float64 [stages, M] effects."""
    imputed: Imputed
    baseline: list[lightgbm.Booster]
    """Log-odds of the outcome without contact, one model for each fold."""

    @property
    def scores(self) -> np.ndarray:
        """float64 [M] doubly robust scores."""
        return self.imputed.scores

    def losses(self, learner: Learner) -> np.ndarray:
        """float64 [stages] mean squared distance from the scores of each prediction on its best line, as it is served;
        a line that would fall counts as flat."""
        apart = self.predicted[learner] - self.predicted[learner].mean(axis=1, keepdims=True)
        spread = (apart**2).mean(axis=1)
        together = np.maximum((apart * self.scores).mean(axis=1), 0)
        return float(self.scores.var()) - np.divide(together**2, spread, out=np.zeros_like(spread), where=spread > 0)

    def best(self, learner: Learner) -> tuple[int, np.ndarray]:
        """The number of trees with the least loss, and its effects [M]."""
        place = int(self.losses(learner).argmin())
        return self.trees[learner][place], self.predicted[learner][place]


class Fits:
    """Fits of boosted trees on units and on pairs, whose columns are cut into bins once."""

    def __init__(self, problem: Problem, config: UpliftConfig, seed: int, threads: int) -> None:
        self.problem, self.config, self.seed, self.threads = problem, config, seed, threads
        self.of_units = np.concatenate([problem.rows, problem.action], axis=1)
        self.of_pairs = np.concatenate([problem.rows[problem.unit], problem.offered], axis=1)
        self._units, self._pairs = _binned(self.of_units), _binned(self.of_pairs)
        self._count = 0

    def outcome(self, rows: np.ndarray, most: int | None = None) -> lightgbm.Booster:
        """Log-odds of the outcome, from units bool [N]."""
        config = _with_trees(self.config.outcome_trees, most)
        return self._fit(self._units, rows, self.problem.outcome, config, "binary")

    def effect_of_units(self, rows: np.ndarray, values: np.ndarray, most: int | None = None) -> lightgbm.Booster:
        """An imputed effect [N] times GAIN, from units bool [N]."""
        return self._fit(self._units, rows, values * GAIN, _with_trees(self.config.effect_trees, most), "regression")

    def effect_of_pairs(self, rows: np.ndarray, values: np.ndarray, most: int | None = None) -> lightgbm.Booster:
        """An imputed effect or score [M] times GAIN, from pairs bool [M]."""
        return self._fit(self._pairs, rows, values * GAIN, _with_trees(self.config.effect_trees, most), "regression")

    def _fit(
        self, data: lightgbm.Dataset, rows: np.ndarray, values: np.ndarray, config: TreesConfig, objective: str
    ) -> lightgbm.Booster:
        self._count += 1
        seed = int(np.random.SeedSequence((self.seed, self._count)).generate_state(1)[0] >> 1)
        chosen = np.flatnonzero(rows)
        part = data.subset(chosen.tolist())
        part.construct()
        part.set_label(values[chosen].astype(np.float32))
        booster = lightgbm.train(_settings(config, objective, seed, self.threads), part, config.trees)
        kept = lightgbm.Booster(model_str=booster.model_to_string())
        round_leaves(kept)
        return kept


def cross_fit(fits: Fits, fold: np.ndarray, learners: Sequence[Learner], told: Told) -> CrossFitted:
    """Effects of every learner for units of each fold, int [N], from the others."""
    problem, config = fits.problem, fits.config
    folds = int(fold.max()) + 1
    outcome_stages, effect_stages = _stages(config.outcome_trees), _stages(config.effect_trees)
    controls = np.empty((len(outcome_stages), len(problem.outcome)))
    contacted = np.empty((len(outcome_stages), len(problem.unit)))
    baseline = []
    for k in range(folds):
        rest, held, pairs = fold != k, fold == k, fold[problem.unit] == k
        baseline.append(fits.outcome(rest & ~problem.treated))
        controls[:, held] = _staged(baseline[-1], _without_contact(fits, held), True, outcome_stages)
        contacted[:, pairs] = _staged(fits.outcome(rest & problem.treated), fits.of_pairs[pairs], True, outcome_stages)
        told(k + 1, folds + 1 + len(learners))
    place, other = _best_outcome(problem, controls, contacted)
    control_mean, treated_mean = controls[place], contacted[other]
    scores = _scores(problem, control_mean, treated_mean)
    predicted: dict[Learner, np.ndarray] = {}
    if "t" in learners:
        predicted["t"] = contacted - controls[:, problem.unit]
    stages_of = {one: outcome_stages if one in ("s", "t") else effect_stages for one in learners}
    imputed = Imputed(control_mean, treated_mean, scores)
    nested = [imputed] * folds
    if {"x", "dr"} & set(learners):
        nested = _nested(fits, fold, outcome_stages[place], outcome_stages[other])
    for learner in (one for one in learners if one != "t"):
        predicted[learner] = np.empty((len(STAGES), len(problem.unit)))
        for k in range(folds):
            pairs = fold[problem.unit] == k
            terms = effect_terms(fits, learner, fold != k, nested[k], None)
            for i, trees in enumerate(stages_of[learner]):
                predicted[learner][i, pairs] = effects(terms, *_tables(fits, pairs), trees)[:, 0]
        told(folds + 1 + learners.index(learner), folds + 1 + len(learners))
    kept = [_cut(one, outcome_stages[place]) for one in baseline]
    return CrossFitted(stages_of, predicted, imputed, kept)


def _nested(fits: Fits, fold: np.ndarray, control_trees: int, treated_trees: int) -> list[Imputed]:
    """For each fold k what outcome models say of the units outside it that saw neither k nor the unit's own fold."""
    problem, folds = fits.problem, int(fold.max()) + 1
    pair_fold = fold[problem.unit]
    controls = np.full((folds, len(problem.outcome)), np.nan)
    contacted = np.full((folds, len(problem.unit)), np.nan)
    for k in range(folds):
        for j in range(k):
            rest = (fold != k) & (fold != j)
            untouched = fits.outcome(rest & ~problem.treated, control_trees)
            treated = fits.outcome(rest & problem.treated, treated_trees)
            for one, other in ((k, j), (j, k)):
                units, pairs = fold == other, pair_fold == other
                controls[one, units] = _predicted(untouched, _without_contact(fits, units), True, None)
                contacted[one, pairs] = _predicted(treated, fits.of_pairs[pairs], True, None)
    return [Imputed(controls[k], contacted[k], _scores(problem, controls[k], contacted[k])) for k in range(folds)]


def effect_terms(fits: Fits, learner: Learner, rows: np.ndarray, imputed: Imputed, trees: int | None) -> list[Term]:
    """One fit of a learner on some units, bool [N], and what was imputed for them."""
    problem = fits.problem
    treated, pairs = problem.treated, rows[problem.unit]
    if learner == "s":
        one = fits.outcome(rows, trees)
        return [Term([one], False, True, 1.0), Term([one], True, True, -1.0)]
    if learner == "t":
        first, second = fits.outcome(rows & treated, trees), fits.outcome(rows & ~treated, trees)
        return [Term([first], False, True, 1.0), Term([second], True, True, -1.0)]
    if learner == "dr":
        return [Term([fits.effect_of_pairs(pairs, imputed.scores, trees)], False, False, 1 / GAIN)]
    untreated = problem.untreated
    share = float(problem.had.sum() / (problem.had.sum() + untreated.sum()))
    gained = imputed.treated_mean - problem.outcome[problem.unit]
    from_controls = fits.effect_of_pairs(pairs & untreated, gained, trees)
    from_treated = fits.effect_of_units(rows & treated, problem.outcome - imputed.control_mean, trees)
    return [
        Term([from_treated], False, False, (1 - share) / GAIN),
        Term([from_controls], False, False, share / GAIN),
    ]


def bagged(
    fits: Fits, learner: Learner, found: CrossFitted, trees: int, halves: Sequence[np.ndarray], told: Told
) -> list[Term]:
    """The learner fitted on each half, bool [N]: terms with a booster for each."""
    made = []
    for i, half in enumerate(halves):
        made.append(effect_terms(fits, learner, half, found.imputed, trees))
        told(i + 1, len(halves))
    return [
        Term([bag[i].boosters[0] for bag in made], first.untouched, first.link, first.factor)
        for i, first in enumerate(made[0])
    ]


def effects(
    terms: Sequence[Term], contacted: np.ndarray, untouched: np.ndarray, trees: int | None = None
) -> np.ndarray:
    """float64 [N, bags] from the columns of those contacted and of those who are not."""
    return np.sum([term.of(untouched if term.untouched else contacted, trees) for term in terms], axis=0)


def out_of_bag(fits: Fits, terms: Sequence[Term], halves: Sequence[np.ndarray]) -> np.ndarray:
    """float64 [M]: for each pair the mean effect of the bags that never saw its unit."""
    problem = fits.problem
    outside = ~np.stack([half[problem.unit] for half in halves], axis=1)
    found = effects(terms, *_tables(fits, np.ones(len(problem.unit), dtype=bool)))
    return (found * outside).sum(axis=1) / outside.sum(axis=1)


def folds_of(customer: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """int64 [N]: the fold of each unit; units of one customer share it."""
    people, place = np.unique(customer, return_inverse=True)
    return (np.random.default_rng((seed, 1)).permutation(len(people)) % folds)[place]


def halves_of(customer: np.ndarray, bags: int, seed: int) -> list[np.ndarray]:
    """bool [N] for each bag: halves of the customers, in pairs that together are all of them."""
    people, place = np.unique(customer, return_inverse=True)
    draws, found = np.random.default_rng((seed, 2)), []
    for _ in range(bags // 2):
        first = draws.permutation(len(people)) < len(people) // 2
        found += [first[place], ~first[place]]
    return found


def _without_contact(fits: Fits, units: np.ndarray) -> np.ndarray:
    """Columns of units had nobody contacted them: of those treated, the product alone."""
    problem = fits.problem
    table = fits.of_units[units]
    width = problem.action.shape[1]
    table[:, table.shape[1] - width :] *= problem.of_product
    return table


def _tables(fits: Fits, pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    contacted = fits.of_pairs[pairs]
    untouched = contacted.copy()
    width = fits.problem.action.shape[1]
    untouched[:, untouched.shape[1] - width :] *= fits.problem.of_product
    return contacted, untouched


def _scores(problem: Problem, control_mean: np.ndarray, treated_mean: np.ndarray) -> np.ndarray:
    unit = problem.unit
    return doubly_robust(
        problem.outcome[unit],
        problem.had,
        problem.untreated,
        problem.propensity[unit],
        treated_mean,
        control_mean[unit],
    )


def _best_outcome(problem: Problem, controls: np.ndarray, contacted: np.ndarray) -> tuple[int, int]:
    """The stage with the least log loss among those not contacted, and among the contacted."""
    untouched = ~problem.treated
    first = [_log_loss(stage[untouched], problem.outcome[untouched]) for stage in controls]
    outcome = problem.outcome[problem.unit][problem.had]
    second = [_log_loss(stage[problem.had], outcome) for stage in contacted]
    return int(np.argmin(first)), int(np.argmin(second))


def _log_loss(p: np.ndarray, y: np.ndarray) -> float:
    p = p.clip(1e-9, 1 - 1e-9)
    return float(-(y * np.log(p) + (1 - y) * np.log1p(-p)).mean())


def _stages(config: TreesConfig) -> tuple[int, ...]:
    return tuple(max(1, round(config.trees * share)) for share in STAGES)


def _with_trees(config: TreesConfig, most: int | None) -> TreesConfig:
    return config if most is None else config.model_copy(update={"trees": most})


def _staged(booster: lightgbm.Booster, table: np.ndarray, link: bool, stages: Sequence[int]) -> np.ndarray:
    return np.stack([_predicted(booster, table, link, trees) for trees in stages])


def _predicted(booster: lightgbm.Booster, table: np.ndarray, link: bool, trees: int | None) -> np.ndarray:
    raw = np.asarray(booster.predict(table, raw_score=True, num_iteration=trees or -1, num_threads=1))
    return 1 / (1 + np.exp(-raw)) if link else raw


def _cut(booster: lightgbm.Booster, trees: int) -> lightgbm.Booster:
    return lightgbm.Booster(model_str=booster.model_to_string(num_iteration=trees))


def _binned(table: np.ndarray) -> lightgbm.Dataset:
    params = {"max_bin": 63, "feature_pre_filter": False, "verbose": -1}
    data = lightgbm.Dataset(table, np.zeros(len(table), dtype=np.float32), params=params, free_raw_data=True)
    return data.construct()


def _settings(config: TreesConfig, objective: str, seed: int, threads: int) -> dict[str, Any]:
    return {
        "objective": objective,
        "num_leaves": config.leaves,
        "learning_rate": config.learning_rate,
        "min_data_in_leaf": config.least_in_leaf,
        "lambda_l2": config.l2,
        "feature_fraction": config.columns,
        "bagging_fraction": config.rows,
        "bagging_freq": 1,
        "max_bin": 63,
        "feature_pre_filter": False,
        "seed": seed,
        "num_threads": threads,
        "deterministic": True,
        "force_row_wise": True,
        "verbose": -1,
    }
