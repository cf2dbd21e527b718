"""How good probabilities of leaving are on customers that nothing was learned from, with intervals and baselines."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from recsys.bootstrap import resampling_weights
from recsys.calibration import expected_calibration_error, mass_bins
from recsys.churn.config import ChurnCosts
from recsys.churn.decision import Tier, judged, tier_of
from recsys.segment_cards.intervals import wilson
from recsys.segment_cards.suppression import FEWEST

Numbers = Mapping[str, Any]
POINTS = 101
"""Of a curve."""
CHANCES = 400
"""Draws behind what chance alone gives a perfect model."""
_EPS = 1e-7


def measures(p: np.ndarray, y: np.ndarray, base_rate: float, samples: int, seed: int) -> dict[str, Any]:
    """`auc`, `pr_auc`, `brier`, `log_loss` of probabilities [N] for outcomes [N], each with its bootstrap interval.

    `brier` and `log_loss` also beside those of the training part's base rate for everybody; `ece` has, in place of an
    interval, what a perfect model would not exceed 19 times of 20 on so many customers. Customers are resampled.
    """
    order = _Order(p)
    rows = {
        "brier": (p - y) ** 2,
        "log_loss": _log_loss(p, y),
        "brier_base": (base_rate - y) ** 2,
        "log_loss_base": _log_loss(np.full(len(y), base_rate), y),
    }
    whole = _figures(order, rows, y, np.ones((1, len(y))))
    drawn: dict[str, list[np.ndarray]] = {name: [] for name in whole}
    for weights in resampling_weights(len(y), samples, np.random.default_rng(seed)):
        for name, values in _figures(order, rows, y, weights).items():
            drawn[name].append(values)
    found: dict[str, Any] = {}
    for name, value in whole.items():
        found[name] = _bounded(float(value[0]), np.concatenate(drawn[name]))
    found["ece"] = {"value": expected_calibration_error(p, y), "by_chance": _ece_by_chance(p, seed)}
    return found


def beside_column(p: np.ndarray, column: np.ndarray, y: np.ndarray, samples: int, seed: int) -> dict[str, Any]:
    """`auc` of a column's scores [N] alone, and `difference`, the model's less it; paired on the same resamples."""
    ours, theirs = _Order(p), _Order(column)
    one = np.ones((1, len(y)))
    drawn = []
    for weights in resampling_weights(len(y), samples, np.random.default_rng(seed)):
        drawn.append(np.stack([order.auc(y, weights) for order in (ours, theirs)]))
    both = np.concatenate(drawn, axis=1)
    whole = [float(order.auc(y, one)[0]) for order in (ours, theirs)]
    found = {"auc": (whole[1], both[1]), "difference": (whole[0] - whole[1], both[0] - both[1])}
    return {name: _bounded(value, values) for name, (value, values) in found.items()}


def curves(p: np.ndarray, y: np.ndarray) -> dict[str, list[list[float]]]:
    """ROC, precision-recall and gains as points (x, y), thinned to a hundred or so.

    Gains: the share of those who left among the customers most likely to leave, by the share of customers.
    """
    order = np.argsort(-p, kind="stable")
    last = np.append(np.diff(p[order]) != 0, True)
    hits, acted = np.cumsum(y[order])[last], np.flatnonzero(last) + 1.0
    left, count = float(y.sum()), float(len(y))
    recall, false, share = hits / left, (acted - hits) / max(1.0, count - left), acted / count
    kept = np.flatnonzero(acted >= FEWEST)  # no point of a curve is about fewer than ten customers
    start = [[0.0, 0.0]]
    return {
        "roc": start + _thin(false[kept], recall[kept]),
        "pr": _thin(recall[kept], (hits / acted)[kept]),
        "gains": start + _thin(share[kept], recall[kept]),
    }


def reliability_table(p: np.ndarray, y: np.ndarray, bins: int = 15) -> list[dict[str, float]]:
    """Bins of equal mass: `customers`, mean `predicted`, share that left with its Wilson interval, lowest first."""
    index = mass_bins(p, bins)
    found = []
    for b in np.unique(index):
        inside = index == b
        if inside.sum() < FEWEST:
            continue
        found.append({"customers": int(inside.sum()), "predicted": float(p[inside].mean()), **_rate(y[inside])})
    return found


def threshold_table(p: np.ndarray, y: np.ndarray, threshold: float, by: Any, costs: ChurnCosts | None) -> Numbers:
    """What the bundle's threshold gives here, shares with Wilson intervals, and the cost at other thresholds."""
    told = judged(threshold, by, p, y, costs)
    acted = p >= threshold
    found: dict[str, Any] = told.model_dump(mode="json")
    found["precision"] = _rate(y[acted]) if acted.sum() >= FEWEST else None
    found["recall"] = _rate(acted[y == 1])
    found["acted_on"] = _rate(acted)
    if costs is not None:
        grid = np.unique(np.quantile(p, np.linspace(0, 1, POINTS)))
        found["curve"] = [[float(t), judged(float(t), by, p, y, costs).cost] for t in grid]
    return found


def tier_table(p: np.ndarray, y: np.ndarray, tiers: Sequence[Tier]) -> list[dict[str, Any]]:
    """For each tier, `low` last: customers, mean predicted, share that left with its interval, lift."""
    names = tier_of(p, tiers).to_numpy()
    found = []
    for name in [*(tier.name for tier in tiers), "low"]:
        inside = names == name
        entry: dict[str, Any] = {"tier": name, "customers": int(inside.sum())}
        if inside.sum() >= FEWEST:
            rate = _rate(y[inside])
            entry |= {"predicted": float(p[inside].mean()), **rate, "lift": rate["value"] / float(y.mean())}
        found.append(entry)
    return found


def group_table(
    values: np.ndarray, p: np.ndarray, y: np.ndarray, threshold: float, samples: int, seed: int
) -> list[dict[str, Any]]:
    """For each value of an attribute: who left, what was predicted, who is acted on, how many leavers are found.

    `calibration` is the mean predicted less the share that left, with its bootstrap interval. Values of fewer than ten
    customers, or with fewer than ten who left or who stayed, are named without figures.
    """
    found: list[dict[str, Any]] = []
    rng = np.random.default_rng(seed)
    for value in sorted({str(v) for v in values if v is not None}):
        inside = values == value
        n, left = int(inside.sum()), int(y[inside].sum())
        if min(left, n - left) < FEWEST:
            found.append({"value": value, "hidden": True})
            continue
        mine, truth = p[inside], y[inside]
        gaps = np.concatenate([w @ (mine - truth) / n for w in resampling_weights(n, samples, rng)])
        low, high = np.quantile(gaps, [0.025, 0.975])
        calibration = {"value": float((mine - truth).mean()), "low": float(low), "high": float(high)}
        acted = mine >= threshold
        found.append(
            {
                "value": value,
                "customers": n,
                "left": _rate(truth),
                "predicted": float(mine.mean()),
                "calibration": calibration,
                "acted_on": _rate(acted),
                "recall": _rate(acted[truth == 1]),
                "false_alarms": _rate(acted[truth == 0]),
                "auc": float(_Order(mine).auc(truth, np.ones((1, n)))[0]),
            }
        )
    shown = [entry for entry in found if "hidden" not in entry]
    if len(found) - len(shown) == 1 and shown:  # one hidden value would be the whole less the others
        smallest = min(shown, key=lambda entry: entry["customers"])
        found[found.index(smallest)] = {"value": smallest["value"], "hidden": True}
    return found


class _Order:
    """Customers by probability, equal ones together, so that every resample is ranked without sorting again."""

    def __init__(self, p: np.ndarray) -> None:
        self.order = np.argsort(p, kind="stable")
        self.starts = np.flatnonzero(np.append(True, np.diff(p[self.order]) != 0))

    def _sums(self, y: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """[S, distinct] how many left, and stayed, at each probability from the lowest up."""
        sorted_weights = weights[:, self.order]
        ones = np.add.reduceat(sorted_weights * y[self.order], self.starts, axis=1)
        return ones, np.add.reduceat(sorted_weights, self.starts, axis=1) - ones

    def auc(self, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """[S] area under the ROC curve; ties count half."""
        ones, zeros = self._sums(y, weights)
        below = np.cumsum(zeros, axis=1) - zeros
        with np.errstate(divide="ignore", invalid="ignore"):
            wins = (ones * (below + zeros / 2)).sum(axis=1)
            area: np.ndarray = wins / (ones.sum(axis=1) * zeros.sum(axis=1))
        return area

    def average_precision(self, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """[S] precision at each probability, weighted by the recall that it adds."""
        ones, zeros = (values[:, ::-1] for values in self._sums(y, weights))
        hits, acted = np.cumsum(ones, axis=1), np.cumsum(ones + zeros, axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            precision = np.where(acted > 0, hits / acted, 0.0)
            found: np.ndarray = (ones * precision).sum(axis=1) / hits[:, -1]
        return found


def _figures(order: _Order, rows: Numbers, y: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    count = weights.sum(axis=1)
    means = {name: weights @ values / count for name, values in rows.items()}
    found = {"auc": order.auc(y, weights), "pr_auc": order.average_precision(y, weights)}
    for name in ("brier", "log_loss"):
        base = means[f"{name}_base"]
        found |= {name: means[name], f"{name}_of_base_rate": base, f"{name}_difference": means[name] - base}
    return found


def _bounded(value: float, drawn: np.ndarray) -> dict[str, float]:
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return {"value": value, "low": float(low), "high": float(high)}


def _rate(hits: np.ndarray) -> dict[str, float]:
    """The share of true entries with its Wilson interval."""
    found = wilson(np.array([float(hits.sum())]), np.array([float(len(hits))]))
    return {"value": float(found.value[0]), "low": float(found.low[0]), "high": float(found.high[0])}


def _ece_by_chance(p: np.ndarray, seed: int) -> float:
    rng = np.random.default_rng(seed)
    drawn = [expected_calibration_error(p, (rng.random(len(p)) < p).astype(np.float64)) for _ in range(CHANCES)]
    return float(np.quantile(drawn, 0.95))


def _log_loss(p: np.ndarray, y: np.ndarray) -> np.ndarray:
    clipped = p.clip(_EPS, 1 - _EPS)
    return -(y * np.log(clipped) + (1 - y) * np.log1p(-clipped))


def _thin(x: np.ndarray, y: np.ndarray) -> list[list[float]]:
    kept = np.unique(np.linspace(0, len(x) - 1, POINTS).round().astype(int)) if len(x) else np.empty(0, dtype=int)
    return [[float(a), float(b)] for a, b in zip(x[kept], y[kept], strict=True)]
