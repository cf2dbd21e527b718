"""An additive model of few steps between two asymptotes: one step more at a time, all weights fitted anew each time.

Boosted stumps shrink every step and need hundreds of small ones; where what counts is how many numbers are above a
bound, few whole steps say it better. This is boosting that corrects all weights after each base learner (Warmuth, Liao
and Rätsch, Totally corrective boosting, ICML 2006).

P(y = 1) = low + (high - low) · sigmoid(f): some act whatever is known of them, and some never do. Without the
asymptotes such rows flatten every weight. `low` and `high` are fitted by expectation and maximisation, as the guessing
and slipping of the four-parameter logistic model of test theory (Barton and Lord 1981): what a row would have done
without them is missing data, its expectation is the target of a logistic regression.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recsys.churn.models_config import StepsConfig
from training.churn_blend import sigmoid
from training.churn_graph import GraphParts
from training.churn_oblivious import MOST_CELLS, WHOLE, Histogram

_ROUNDS, _NEWTON = 15, 3
"""Of expectation and maximisation after each step, and Newton steps in each."""
_SURE = 1e-4
"""How near to 0 and 1 the asymptotes come."""
_NEVER, _BEGIN = (_SURE, 1 - _SURE), (0.02, 0.98)
"""Asymptotes that are none, and those with which expectation and maximisation begin."""
_STILL = 1e-6
"""A step of Newton's by less than this is none."""
_POLISHED = 2
"""Times that each threshold is moved."""
_LEAK = 0.05
"""Share of f that counts where it is beyond an asymptote: the order there stays, and weighs little in a blend."""


@dataclass(frozen=True)
class Fit:
    """f = start + Σ value · (column above threshold), and the asymptotes."""

    columns: np.ndarray
    thresholds: np.ndarray
    """float32, so that every float32 is on the same side here and in a graph."""
    start: float
    values: np.ndarray
    """Whole multiples of 2^-18, so that float32 sums are exact in any order."""
    low: float
    high: float

    @property
    def bounds(self) -> tuple[float, float]:
        """The log-odds of the asymptotes."""
        return float(np.log(self.low / (1 - self.low))), float(np.log(self.high / (1 - self.high)))

    def __call__(self, table: np.ndarray) -> np.ndarray:
        """float32 [N, width] → log-odds float64 [N], f within the asymptotes and a little of it beyond."""
        f = self.start + (table[:, self.columns] > self.thresholds) @ self.values
        return _LEAK * f + (1 - _LEAK) * np.clip(f, *self.bounds)


class Steps:
    """Fits of the folds; the mean of their log-odds counts."""

    name = "steps"

    def __init__(self, folds: Sequence[Fit]) -> None:
        self.folds = list(folds)

    def log_odds(self, table: np.ndarray) -> np.ndarray:
        """float32 [N, width] → float64 [N]."""
        return np.asarray(np.mean([fit(table) for fit in self.folds], axis=0))

    def add_to(self, parts: GraphParts) -> str:
        """Its operators; the name of its log-odds [N, 1]."""

        def constant(name: str, values: object) -> str:
            return parts.constant(f"steps_{name}", np.asarray(values, dtype=np.float32))

        places = np.concatenate([fit.columns for fit in self.folds])
        weights = np.zeros((len(places), len(self.folds)))
        end = 0
        for fold, fit in enumerate(self.folds):
            weights[end : end + len(fit.columns), fold] = fit.values
            end += len(fit.columns)
        read = parts.node("Gather", [parts.table(), parts.constant("steps_columns", places)], "steps_read", axis=1)
        bounds = constant("thresholds", np.concatenate([fit.thresholds for fit in self.folds]))
        over = parts.node("Cast", [parts.node("Greater", [read, bounds], "steps_over")], "steps_number", to=1)
        total = parts.node("MatMul", [over, constant("values", weights)], "steps_sum")
        f = parts.node("Add", [total, constant("start", [fit.start for fit in self.folds])], "steps_f")
        lows, highs = np.array([fit.bounds for fit in self.folds]).T
        least = parts.node("Max", [f, constant("low", lows)], "steps_least")
        within = parts.node("Min", [least, constant("high", highs)], "steps_within")
        kept = parts.node("Mul", [within, constant("share_within", [1 - _LEAK])], "steps_kept")
        leaked = parts.node("Mul", [f, constant("share_beyond", [_LEAK])], "steps_leaked")
        each = parts.node("Add", [kept, leaked], "steps_each")
        mean = np.full((len(self.folds), 1), 1 / len(self.folds))
        return parts.node("MatMul", [each, constant("mean", mean)], "steps_log_odds")


def fit_steps(
    config: StepsConfig,
    table: np.ndarray,
    outcome: np.ndarray,
    splits: Sequence[tuple[np.ndarray, np.ndarray]],
    seed: int,
    refit: bool,
) -> tuple[Steps, np.ndarray]:
    """The model, and the log-odds of the held-out rows of the splits, [N], NaN where no split holds a row out.

    With `refit` the model is one fit on all rows, with as many steps as were best in the median fold.
    """
    held_out = np.full(len(table), np.nan)
    y = outcome.astype(np.float64)
    folds = []
    for i, (fitted_on, held) in enumerate(splits):
        fit = _fit(config, table, y, fitted_on, held, np.random.default_rng((seed, i)))
        held_out[held] = fit(table[held])
        folds.append(fit)
    if refit:
        longest = config.model_copy(update={"steps": max(1, round(np.median([len(fit.columns) for fit in folds])))})
        rng = np.random.default_rng((seed, len(splits)))
        folds = [_fit(longest, table, y, np.arange(len(table)), None, rng)]
    return Steps(folds), held_out


def _fit(
    config: StepsConfig,
    table: np.ndarray,
    outcome: np.ndarray,
    fitted_on: np.ndarray,
    held: np.ndarray | None,
    rng: np.random.Generator,
) -> Fit:
    """Steps until the held-out rows have liked none for long, as they were when liked best; all without such rows."""
    most = max(1, MOST_CELLS // table.shape[1])
    if len(fitted_on) > most:
        fitted_on = rng.choice(fitted_on, most, replace=False)
    x, y = table[fitted_on], outcome[fitted_on]
    histogram, places = Histogram(x, config.bins), _Places(x)
    base = float(np.log(y.mean() / (1 - y.mean())))
    best_loss, best = float("inf"), Fit(np.empty(0, np.int64), np.empty(0, np.float32), base, np.empty(0), *_NEVER)
    state = _State(np.ones((len(x), 1)), np.array([base]), *_NEVER)
    taken = np.zeros(len(histogram.columns) * histogram.width, dtype=bool)
    columns: list[int] = []
    thresholds: list[np.float32] = []
    while len(columns) < config.steps and (held is None or len(columns) - len(best.columns) < config.patience):
        s = state.sigmoid
        number = histogram.best_step(y - s, s * (1 - s), taken)
        if number is None:
            break
        taken[number] = True
        column, threshold, over = histogram.step(number)
        columns.append(column)
        thresholds.append(threshold)
        state = _maximised(state.with_step(over), y, config.l2, False)
        if held is not None:
            found = _polished(state, y, columns, thresholds, places, config)
            if (loss := _loss(found, table[held], outcome[held])) < best_loss:
                best_loss, best = loss, found
    return best if held is not None or not columns else _polished(state, y, columns, thresholds, places, config)


def _polished(
    state: "_State",
    y: np.ndarray,
    columns: Sequence[int],
    thresholds: Sequence[np.float32],
    places: "_Places",
    config: StepsConfig,
) -> Fit:
    """The steps with asymptotes, each threshold moved to where it is best. From the first step on this would settle
    on asymptotes that stand for the steps still to come, so it begins with steps chosen and weighed without them."""
    state = _State(state.above.copy(), state.weights, *(_BEGIN if config.asymptotes else _NEVER))
    for _ in range(_POLISHED):
        state = _maximised(state, y, config.l2, config.asymptotes)
        thresholds = places.moved(state, y, columns, thresholds)
    state = _maximised(state, y, config.l2, config.asymptotes)
    start, *values = np.round(state.weights / WHOLE) * WHOLE
    bounds = np.array(thresholds, dtype=np.float32)
    return Fit(np.array(columns, dtype=np.int64), bounds, float(start), np.array(values), state.low, state.high)


@dataclass(frozen=True)
class _State:
    """Steps so far as columns [N, 1 + S], the first of ones; their weights; the asymptotes."""

    above: np.ndarray
    weights: np.ndarray
    low: float
    high: float

    @property
    def sigmoid(self) -> np.ndarray:
        return sigmoid(self.above @ self.weights)

    def expected(self, y: np.ndarray) -> np.ndarray:
        """P(would have acted without asymptotes | what was seen), [N]."""
        s = self.sigmoid
        acted = self.high * s / (self.high * s + self.low * (1 - s))
        stayed = (1 - self.high) * s / ((1 - self.high) * s + (1 - self.low) * (1 - s))
        return np.where(y > 0, acted, stayed)

    def log_likelihood(self, f: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Of each row, [N], were f its sum of steps."""
        p = self.low + (self.high - self.low) * sigmoid(f)
        return np.log(np.where(y > 0, p, 1 - p))

    def with_step(self, over: np.ndarray) -> "_State":
        return _State(np.column_stack([self.above, over]), np.append(self.weights, 0.0), self.low, self.high)


class _Places:
    """The rows of a table in the order of each column, by which thresholds are moved to where they are best."""

    def __init__(self, x: np.ndarray) -> None:
        self.x = x
        self._order: dict[int, np.ndarray] = {}

    def moved(
        self, state: "_State", y: np.ndarray, columns: Sequence[int], thresholds: Sequence[np.float32]
    ) -> list[np.float32]:
        """Each threshold in turn where the likelihood is highest, all else as it is; `state.above` changes with it."""
        found = list(thresholds)
        f = state.above @ state.weights
        for step, column in enumerate(columns, start=1):
            weight = state.weights[step]
            without = f - weight * state.above[:, step]
            order = self._order.setdefault(column, np.argsort(self.x[:, column], kind="stable"))
            gain = state.log_likelihood(without + weight, y) - state.log_likelihood(without, y)
            above = gain.sum() - np.cumsum(gain[order])  # of all that come after a place, were they above
            values = self.x[order, column]
            last = np.flatnonzero(values[1:] > values[:-1])
            threshold = values[last[above[last].argmax()]]
            state.above[:, step] = self.x[:, column] > threshold
            f = without + weight * state.above[:, step]
            found[step - 1] = threshold
        return found


def _maximised(state: _State, y: np.ndarray, l2: float, asymptotes: bool) -> _State:
    """Weights, and with `asymptotes` these, too, where the likelihood less the ridge penalty is highest nearby."""
    for _ in range(_ROUNDS):
        target = state.expected(y) if asymptotes else y
        weights = _weights(state.above, target, l2, state.weights)
        low, high = state.low, state.high
        if asymptotes:
            low = float(np.clip(((1 - target) * y).sum() / max((1 - target).sum(), 1e-9), _SURE, 0.45))
            high = float(np.clip((target * y).sum() / max(target.sum(), 1e-9), 0.55, 1 - _SURE))
        moved = np.abs(weights - state.weights).max()
        state = _State(state.above, weights, low, high)
        if moved < 1e-5:
            break
    return state


def _weights(above: np.ndarray, target: np.ndarray, l2: float, start: np.ndarray) -> np.ndarray:
    """Some Newton steps of logistic regression on columns [N, S], with a ridge penalty on all weights but the first."""
    weights, ridge = start, np.full(len(start), l2)
    ridge[0] = 1e-9

    def cost(weights: np.ndarray) -> float:
        f = above @ weights
        return float((np.logaddexp(0.0, f) - target * f).sum() + 0.5 * (ridge * weights**2).sum())

    now = cost(weights)
    for _ in range(_NEWTON):
        p = sigmoid(above @ weights)
        gradient = above.T @ (target - p) - ridge * weights
        step = np.linalg.solve((above * (p * (1 - p))[:, None]).T @ above + np.diag(ridge), gradient)
        while (after := cost(weights + step)) > now + 1e-9 and np.abs(step).max() > _STILL:
            step = step / 2
        if after > now:
            break
        weights, now = weights + step, after
        if np.abs(step).max() < _STILL:
            break
    return weights


def _loss(fit: Fit, table: np.ndarray, y: np.ndarray) -> float:
    f = fit.start + (table[:, fit.columns] > fit.thresholds) @ fit.values
    p = fit.low + (fit.high - fit.low) * sigmoid(f)
    return float(-np.log(np.where(y > 0, p, 1 - p)).mean())
