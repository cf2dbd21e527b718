"""Gamma-Gamma: how much a customer spends at a time, given how much they have spent so far.

The amounts of one customer are gamma distributed (shape p) around a mean of their own, which is inverse gamma
distributed over customers (q, v), whatever they buy how often. Fader, Hardie: The Gamma-Gamma Model of Monetary Value,
2013; Fader, Hardie, Lee: RFM and CLV, Journal of Marketing Research 2005.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import digamma, gammaln

from recsys.errors import DataError
from recsys.lifetime_value.likelihood import Fitted, Gradient, maximise

NAMES = ("p", "q", "v")
SAMPLE = 20_000


@dataclass(frozen=True)
class GammaGamma:
    """The three parameters; v, and every amount, in the same unit of money."""

    p: float
    q: float
    v: float

    @property
    def mean(self) -> float:
        """The mean over customers of what they spend at a time; infinite where q is 1 or less."""
        return self.p * self.v / (self.q - 1) if self.q > 1 else np.inf

    def spend(self, frequency: np.ndarray, total: np.ndarray) -> np.ndarray:
        """float64 [N]: expected spend at a time of customers with so many amounts that make so much together.

        The population's mean and the customer's own, weighted by how much is known: p (v + total) / (p x + q - 1).
        """
        return self.p * (self.v + np.asarray(total)) / (self.p * np.asarray(frequency) + self.q - 1)

    def draws(
        self, frequency: np.ndarray, total: np.ndarray, purchases: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """float64 [N, D]: what `purchases` [N, D] bring together, drawn from what the history leaves open."""
        x = np.asarray(frequency, dtype=np.float64)[:, None]
        rate = rng.gamma(
            self.q + self.p * x, 1 / (self.v + np.asarray(total, dtype=np.float64)[:, None]), purchases.shape
        )
        return np.where(purchases > 0, rng.gamma(np.maximum(self.p * purchases, 1e-12)) / rate, 0.0)


def fit_gamma_gamma(frequency: np.ndarray, total: np.ndarray, seed: int = 0) -> Fitted:
    """Parameters p, q, v by maximum likelihood from customers [N] with `frequency` amounts that sum to `total`.

    Customers without a repeated purchase, or whose purchases cost nothing, say nothing about amounts and are left out.
    Raises DataError if none is left, or if all amounts are the same.
    """
    use = (np.asarray(frequency) > 0) & (np.asarray(total) > 0)
    x, sums = np.asarray(frequency)[use].astype(np.float64), np.asarray(total)[use].astype(np.float64)
    if len(x) < 2:
        raise DataError(f"lifetime value: {len(x)} customers spent something on a second day; a spend needs more")
    means = sums / x
    if np.ptp(means) == 0:
        raise DataError("lifetime value: every customer spends the same at a time; there is nothing to learn of it")
    scale = float(means.mean())
    gradient, part = log_likelihood(x, sums / scale), None
    if len(x) > 2 * SAMPLE:
        chosen = np.random.default_rng(seed).choice(len(x), SAMPLE, replace=False)
        part = log_likelihood(x[chosen], sums[chosen] / scale)
    found = maximise(NAMES, gradient, np.array([2.0, 3.0, 1.0]), len(x), part)
    values = found.values * np.array([1.0, 1.0, scale])
    return Fitted(NAMES, values, found.covariance, found.log_likelihood - len(x) * float(np.log(scale)), len(x))


def log_likelihood(frequency: np.ndarray, total: np.ndarray) -> Gradient:
    """Log-likelihood of the mean amounts and its gradient by (p, q, v): equation 1a of Fader and Hardie 2013."""
    x, at = np.unique(frequency, return_inverse=True)
    buyers = np.bincount(at.reshape(-1)).astype(np.float64)
    count, logs = float(len(frequency)), float(frequency @ np.log(total))
    means = float(np.log(total / frequency).sum())

    def gradient(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        p, q, v = parameters
        grown = np.log(v + total)
        value = buyers @ (gammaln(p * x + q) - gammaln(p * x)) - count * (gammaln(q) - q * np.log(v))
        value += p * logs - means - p * (frequency @ grown) - q * grown.sum()
        more = digamma(p * x + q)
        by_p = (buyers * x) @ (more - digamma(p * x)) + logs - frequency @ grown
        by_q = buyers @ more - count * (digamma(q) - np.log(v)) - grown.sum()
        by_v = count * q / v - ((p * frequency + q) / (v + total)).sum()
        return float(value), np.array([by_p, by_q, by_v])

    return gradient
