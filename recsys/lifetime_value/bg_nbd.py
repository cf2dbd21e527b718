"""BG/NBD: how often customers buy, and whether they still do, where nobody says that they leave.

While alive a customer buys at random times at a rate of their own (gamma distributed over customers, shape r, rate
alpha); after each purchase they leave with a probability of their own (beta distributed, a and b). Fader, Hardie, Lee:
"Counting Your Customers" the Easy Way: An Alternative to the Pareto/NBD Model, Marketing Science 2005.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import betaln, digamma, expit, gammaln

from recsys.errors import DataError
from recsys.lifetime_value.histories import Histories
from recsys.lifetime_value.likelihood import Fitted, Gradient, maximise

NAMES = ("r", "alpha", "a", "b")
SAMPLE = 20_000
"""Distinct histories on which the search begins."""
NODES = 48
"""Nodes of the quadrature over a customer's probability of leaving."""
LEGENDRE = np.polynomial.legendre.leggauss(6)
"""Nodes and weights over the horizon, for discounting."""


@dataclass(frozen=True)
class BgNbd:
    """The four parameters; alpha, and every time given, in the same unit."""

    r: float
    alpha: float
    a: float
    b: float

    def alive(self, frequency: np.ndarray, recency: np.ndarray, age: np.ndarray) -> np.ndarray:
        """float64 [N] in [0, 1]: P(still buys | history); equation 7 of Fader, Hardie and Lee solved for it.

        Someone who bought once is alive for certain: in this model one leaves after a repeated purchase only.
        """
        x = np.asarray(frequency, dtype=np.float64)
        logs = np.log(self.a) - np.log(self.b + np.maximum(x, 1) - 1)
        logs = logs + (self.r + x) * (np.log(self.alpha + age) - np.log(self.alpha + recency))
        return np.where(x > 0, expit(-logs), 1.0)

    def purchases(
        self, frequency: np.ndarray, recency: np.ndarray, age: np.ndarray, horizon: float, discount: float = 0.0
    ) -> np.ndarray:
        """float64 [N]: expected purchases in (age, age + horizon], each worth e^(-discount · time until it).

        Equation 10 of Fader, Hardie and Lee, as an integral over the probability of leaving: without the singularity
        of its closed form at a = 1, and without overflow where a customer has bought hundreds of times.
        """
        place, x, older = _pairs(frequency, age)
        ends, worth = np.array([horizon]), np.ones(1)
        if discount:  # the integral over time of what is bought, by parts
            nodes, weights = (LEGENDRE[0] + 1) / 2 * horizon, LEGENDRE[1] / 2 * horizon
            ends = np.append(nodes, horizon)
            worth = np.append(weights * discount, 1.0) * np.exp(-discount * ends)
        return (worth @ _expected(self, x, older, ends))[place] * self.alive(frequency, recency, age)

    def of_new(self, horizon: np.ndarray) -> np.ndarray:
        """float64 [T]: expected repeated purchases of a new customer by each time after the first (equation 9)."""
        return _expected(self, np.zeros(1), np.zeros(1), horizon)[:, 0]

    def draws(
        self,
        frequency: np.ndarray,
        recency: np.ndarray,
        age: np.ndarray,
        horizon: float,
        count: int,
        rng: np.random.Generator,
    ) -> np.ndarray:
        """int64 [N, count]: purchases in the horizon, drawn from what the history leaves open.

        Alive, the rate is Gamma(r + x, alpha + age) and the probability of leaving Beta(a, b + x); the purchases are
        those that chance brings until the one after which the customer leaves.
        """
        x = np.asarray(frequency, dtype=np.float64)[:, None]
        size = (len(x), count)
        lives = rng.random(size) < self.alive(frequency, recency, age)[:, None]
        rate = rng.gamma(self.r + x, 1 / (self.alpha + np.asarray(age)[:, None]), size)
        leaves = np.clip(rng.beta(self.a, self.b + x, size), 1e-12, 1.0)
        return np.where(lives, np.minimum(rng.poisson(rate * horizon), rng.geometric(leaves)), 0)


def fit_bg_nbd(known: Histories, unit: float, seed: int = 0) -> Fitted:
    """Parameters r, alpha, a, b with `alpha` in units of so many days, by maximum likelihood.

    Raises DataError if nobody bought twice, or if everybody was met on the last day only.
    """
    if not known.customers:
        raise DataError("lifetime value: nobody bought anything; check what counts as a purchase")
    if known.frequency.max() < 1:
        raise DataError(
            f"lifetime value: none of {known.customers:,} customers bought on a second day; there is no rate to learn"
        )
    gradient, part = log_likelihood(known, unit), None
    if len(known.count) > 2 * SAMPLE:
        chosen = np.random.default_rng(seed).choice(len(known.count), SAMPLE, replace=False)
        columns = (known.frequency, known.recency, known.age, known.count)
        part = log_likelihood(Histories(*(column[chosen] for column in columns)), unit)
    rate = (known.count @ known.frequency) / max(known.count @ known.age, 1) * unit
    return maximise(NAMES, gradient, np.array([1.0, 1 / rate, 1.0, 3.0]), known.customers, part)


def log_likelihood(known: Histories, unit: float) -> Gradient:
    """Log-likelihood and gradient of (r, alpha, a, b): equation 6 of Fader, Hardie and Lee.

    All but one term needs sums by frequency and by age only; the one that remains needs repeat buyers alone.
    """
    x, at = np.unique(known.frequency, return_inverse=True)
    buyers = np.bincount(at.reshape(-1), weights=known.count)
    ages = np.arange(known.age.max() + 1) / unit
    of_age = np.bincount(known.age, weights=known.count)
    bought = np.bincount(known.age, weights=known.count * known.frequency)
    again = known.frequency > 0
    times, recent, old = known.frequency[again].astype(np.float64), known.recency[again], known.age[again]
    weight = known.count[again]
    place = at.reshape(-1)[again]

    def gradient(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        r, alpha, a, b = parameters
        span, inverse = np.log(alpha + ages), 1 / (alpha + ages)
        later = (span[old] - span[recent]) * (r + times)
        odds = np.log(a) - np.log(b + np.maximum(x, 1) - 1)
        logs = later + odds[place]
        left = weight * expit(logs)  # customers taken to have left at their last purchase
        value = buyers @ (gammaln(r + x) - gammaln(r) + r * np.log(alpha) + betaln(a, b + x) - betaln(a, b))
        value += -(r * of_age + bought) @ span + weight @ np.logaddexp(0, logs)
        in_all = digamma(a + b) - digamma(a + b + x)
        by_r = (
            buyers @ (digamma(r + x) - digamma(r) + np.log(alpha)) - of_age @ span + left @ (span[old] - span[recent])
        )
        by_alpha = buyers.sum() * r / alpha - (r * of_age + bought) @ inverse
        by_alpha += left @ ((r + times) * (inverse[old] - inverse[recent]))
        by_a = buyers @ in_all + left.sum() / a
        by_b = buyers @ (in_all + digamma(b + x) - digamma(b)) - left @ (1 / (b + times - 1))
        return float(value), np.array([by_r, by_alpha, by_a, by_b])

    return gradient


def _pairs(frequency: np.ndarray, age: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The distinct pairs of frequency and age, and the place [N] of each customer's: expectations need no more."""
    ages, old = np.unique(np.asarray(age, dtype=np.float64), return_inverse=True)
    key = np.asarray(frequency, dtype=np.int64) * len(ages) + old.reshape(-1)
    pairs, place = np.unique(key, return_inverse=True)
    return place.reshape(-1), pairs // len(ages), ages[pairs % len(ages)]


def _expected(model: BgNbd, x: np.ndarray, age: np.ndarray, horizons: np.ndarray) -> np.ndarray:
    """float64 [H, G]: purchases expected within each horizon of someone who is alive with this frequency and age.

    The mean over p ~ Beta(a, b + x) of (1 - (1 + p · horizon / (alpha + age))^-(r + x)) / p.
    """
    often, place = np.unique(x, return_inverse=True)
    place = place.reshape(-1)
    answer = np.empty((len(horizons), len(x)))
    order = np.argsort(place, kind="stable")
    ends = np.searchsorted(place[order], np.arange(len(often) + 1))
    nodes, weights = _beta_nodes(model.a, model.b + often)
    for i, count in enumerate(often):
        rows = order[ends[i] : ends[i + 1]]
        slower = 1 / (model.alpha + age[rows])
        for h, horizon in enumerate(horizons):
            grown = np.log1p((horizon * slower)[:, None] * nodes[i])
            answer[h, rows] = (-np.expm1(-(model.r + count) * grown) / nodes[i]) @ weights[i]
    return answer


def _beta_nodes(a: float, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights [U, NODES] of Gauss's quadrature for the mean over Beta(a, b), for each b.

    Eigenvalues of the Jacobi matrix (Golub, Welsch: Calculation of Gauss Quadrature Rules, 1969).
    """
    b = np.asarray(b, dtype=np.float64)[:, None]
    k = np.arange(1, NODES, dtype=np.float64)
    both = 2 * k + a + b - 2
    middle = 0.5 + 0.5 * ((a - 1) ** 2 - (b - 1) ** 2) / (both * (both + 2))
    middle = np.concatenate([a / (a + b), middle], axis=1)
    beside = k * (k + b - 1) * (k + a - 1) * (k + a + b - 2) / (both**2 * (both + 1) * (both - 1))
    beside[:, :1] = a * b / ((a + b) ** 2 * (a + b + 1))  # its factor k + a + b - 2 cancels, which may be zero
    matrix = np.zeros((len(b), NODES, NODES))
    on = np.arange(NODES)
    matrix[:, on, on] = middle
    matrix[:, on[1:], on[:-1]] = np.sqrt(beside)
    nodes, vectors = np.linalg.eigh(matrix)
    return np.maximum(nodes, 1e-300), vectors[:, 0, :] ** 2
