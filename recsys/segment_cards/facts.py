"""What sets each segment apart: lift of every feature with intervals, and which differences are beyond chance."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy.special import erfc

from recsys.segment_cards.intervals import Estimates, Z, benjamini_hochberg, newcombe, welch, wilson
from recsys.segment_cards.profiles import Moments, Profiles
from recsys.segment_cards.suppression import FEWEST, hidden_parts, hidden_shares

Kind = Literal["number", "known", "category", "set"]
LEVEL = 0.05
"""Expected share of false ones among all differences that are declared."""
EXPECTED = 5
"""A share is tested where at least so many customers are expected on each side of it."""


@dataclass(frozen=True)
class Fact:
    """One feature in one segment, beside all customers."""

    kind: Kind
    """number: its mean. known: whether it is known at all. category, set: whether it has the value."""
    feature: str
    value: str | None
    """Of a category or a set; None for numbers, and for a category that is not known."""
    inside: float
    """Mean, or share, in the segment."""
    overall: float
    effect: float
    """Segment minus all customers, in standard deviations over all customers: of a share, of its indicator."""
    effect_low: float
    effect_high: float
    ratio: float | None
    """Segment over all customers: of means, where no value is negative, or of shares; None where it says nothing."""
    ratio_low: float | None
    ratio_high: float | None
    nonzero: float | None
    """Share of known numbers in the segment that are not zero."""
    nonzero_overall: float | None
    p: float
    q: float
    """Benjamini-Hochberg over all segments and features."""

    @property
    def declared(self) -> bool:
        """Whether the difference is beyond chance."""
        return self.q <= LEVEL


def facts(profiles: Profiles) -> list[list[Fact]]:
    """For each segment its facts, the greatest effect first, ties by feature; those that could be tested and shown."""
    found = [*_numbers(profiles), *_shares(profiles)]
    q = benjamini_hochberg(np.array([fact.p for _, fact in found]))
    by_segment: list[list[Fact]] = [[] for _ in range(profiles.segments)]
    for (segment, fact), adjusted in zip(found, q, strict=True):
        by_segment[segment].append(replace(fact, q=float(adjusted)))
    for listed in by_segment:
        listed.sort(key=lambda fact: (-abs(fact.effect), fact.feature, fact.kind, fact.value or ""))
    return by_segment


def _numbers(profiles: Profiles) -> list[tuple[int, Fact]]:
    """Means of numbers: effect and test on the scale of judgement, ratio on the numbers as they are."""
    found = []
    everyone = np.ones(profiles.segments, dtype=bool)
    whole = profiles.scaled.pooled(everyone)
    spread = np.sqrt(whole.m2[0] / np.maximum(whole.count[0], 1))
    hidden = hidden_parts(profiles.raw.count)
    for k in range(profiles.segments):
        others = everyone.copy()
        others[k] = False
        rest, inside = profiles.scaled.pooled(others), profiles.scaled
        apart = inside.mean[k] - rest.mean[0]
        counts = inside.count[k], rest.count[0]
        half, p = welch(apart, (inside.variance[k], rest.variance[0]), counts)
        told = ~np.isnan(p) & (spread > 0) & ~hidden[k] & (counts[0] >= FEWEST) & (counts[1] >= FEWEST)
        with np.errstate(divide="ignore", invalid="ignore"):
            factor = (1 - counts[0] / np.maximum(whole.count[0], 1)) / spread
            effect = Estimates(*(bound * factor for bound in (apart, apart - half, apart + half)))
        ratio = _ratio_of_means(profiles, k, profiles.raw.pooled(others))
        found += [(k, _number(profiles, k, int(f), effect, ratio, float(p[f]))) for f in np.flatnonzero(told)]
    return found


def _number(profiles: Profiles, k: int, f: int, effect: Estimates, ratio: Estimates, p: float) -> Fact:
    count, total = profiles.raw.count[:, f], profiles.raw.count[:, f].sum()
    sound = profiles.lowest[f] >= 0
    return Fact(
        "number",
        profiles.numbers[f],
        None,
        inside=float(profiles.raw.mean[k, f]),
        overall=float((count * profiles.raw.mean[:, f]).sum() / total),
        effect=float(effect.value[f]),
        effect_low=float(effect.low[f]),
        effect_high=float(effect.high[f]),
        ratio=_known(ratio.value[f]) if sound else None,
        ratio_low=_known(ratio.low[f]) if sound else None,
        ratio_high=_known(ratio.high[f]) if sound else None,
        nonzero=float(profiles.nonzero[k, f] / count[k]),
        nonzero_overall=float(profiles.nonzero[:, f].sum() / total),
        p=p,
        q=np.nan,
    )


def _ratio_of_means(profiles: Profiles, k: int, rest: Moments) -> Estimates:
    """Mean of segment k over the mean of all, by the interval of its logarithm against everyone else's mean."""
    mean, count = profiles.raw.mean[k], np.maximum(profiles.raw.count[k], 1)
    rest_mean, rest_count = rest.mean[0], np.maximum(rest.count[0], 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = profiles.raw.variance[k] / count / mean**2 + rest.variance[0] / rest_count / rest_mean**2
    share = profiles.raw.count[k] / np.maximum(profiles.raw.count.sum(axis=0), 1)
    return _against_all(mean, rest_mean, share, np.sqrt(variance))


def _against_all(inside: np.ndarray, rest: np.ndarray, share: np.ndarray, log_error: np.ndarray) -> Estimates:
    """inside / (share·inside + (1 - share)·rest) with the bounds of inside / rest carried over: it rises with it."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        against = inside / rest
        bounds = (against, against * np.exp(-Z * log_error), against * np.exp(Z * log_error))
        lifts = [np.where(b > 0, 1 / (share + (1 - share) / b), np.where(b == 0, 0.0, np.nan)) for b in bounds]
    return Estimates(*lifts)


def _shares(profiles: Profiles) -> list[tuple[int, Fact]]:
    """Shares of customers: with a known number, with a category's value, with a tag or a product."""
    sizes = profiles.sizes
    found = _tested("known", profiles.numbers, [None] * len(profiles.numbers), profiles.raw.count, sizes)
    for name in (*profiles.categories, *profiles.sets):
        words, counts = profiles.table(name)
        kind: Kind = "category" if name in profiles.categories else "set"
        found += _tested(kind, [name] * len(words), words, counts, sizes)
    return found


def _tested(
    kind: Kind, features: Sequence[str], values: Sequence[str | None], counts: np.ndarray, sizes: np.ndarray
) -> list[tuple[int, Fact]]:
    """Two-proportion score test of each column of counts [K, V] against everyone else."""
    total, having = sizes.sum(), counts.sum(axis=0)
    enough = (having >= FEWEST) & (total - having >= FEWEST)
    hidden = np.zeros(counts.shape, dtype=bool)
    hidden[:, enough] = hidden_shares(counts[:, enough], sizes)
    overall = having / max(total, 1)
    deviation = np.sqrt(overall * (1 - overall))
    found = []
    for k in range(len(sizes)):
        n, others = sizes[k], total - sizes[k]
        if n < FEWEST or others < FEWEST:
            continue
        inside, rest = counts[k] / n, (having - counts[k]) / others
        apart = newcombe((inside, n), (rest, others))
        with np.errstate(divide="ignore", invalid="ignore"):
            z = apart.value / (deviation * np.sqrt(1 / n + 1 / others))
            factor = (1 - n / total) / deviation
            effect = Estimates(*(bound * factor for bound in (apart.value, apart.low, apart.high)))
            lift = _lift(counts[k], n, having - counts[k], others)
        likely = np.minimum(overall, 1 - overall) * min(n, others) >= EXPECTED
        p = erfc(np.abs(z) / np.sqrt(2))
        for v in np.flatnonzero(enough & ~hidden[k] & likely).tolist():
            shares = float(inside[v]), float(overall[v])
            found.append((k, _share((kind, features[v], values[v]), shares, effect, lift, v, float(p[v]))))
    return found


def _lift(count: np.ndarray, n: float, elsewhere: np.ndarray, others: float) -> Estimates:
    """Share in the segment over the share of all; where nobody has it, up to what Wilson's interval allows."""
    inside, rest, share = count / n, elsewhere / others, np.full(len(count), n / (n + others))
    log_error = np.sqrt((1 - inside) / np.maximum(count, 0.5) + (1 - rest) / np.maximum(elsewhere, 0.5))
    found = _against_all(inside, rest, share, log_error)
    most = _against_all(wilson(count, np.full(len(count), n)).high, rest, share, np.zeros(len(count))).value
    return Estimates(found.value, found.low, np.where(count > 0, found.high, most))


def _share(
    what: tuple[Kind, str, str | None],
    shares: tuple[float, float],
    effect: Estimates,
    lift: Estimates,
    v: int,
    p: float,
) -> Fact:
    return Fact(
        *what,
        inside=shares[0],
        overall=shares[1],
        effect=float(effect.value[v]),
        effect_low=float(effect.low[v]),
        effect_high=float(effect.high[v]),
        ratio=_known(lift.value[v]),
        ratio_low=_known(lift.low[v]),
        ratio_high=_known(lift.high[v]),
        nonzero=None,
        nonzero_overall=None,
        p=p,
        q=np.nan,
    )


def _known(number: float) -> float | None:
    return float(number) if np.isfinite(number) else None
