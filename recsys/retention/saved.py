"""What retention lists have saved: leavers among those contacted beside those held out, list by list."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from scipy.special import stdtrit

from recsys.campaigns.experiment import Moments, theta
from recsys.campaigns.intervals import NOTHING, Estimate, Fieller, fieller, share
from recsys.retention.listing import CONTACT
from recsys.segment_cards.suppression import FEWEST, hidden_parts

UNKNOWN = Fieller(np.nan, np.nan, np.nan, "everything")


@dataclass(frozen=True)
class Saved:
    """What one action has done, or all of them together (`action` None)."""

    action: str | None
    contacted: int
    held_out: int
    left_contacted: Estimate
    """Share who left, of those drawn to be contacted."""
    left_held_out: Estimate
    save_rate: Fieller
    """The share of those who would have left and stayed."""
    kept: Estimate
    """Customers who stayed because of the contacts."""
    gain: Estimate
    """What they have at stake, less what the contacts cost, in minor units."""
    told_of: bool
    """Whether figures may be told: of fewer than `FEWEST` customers they may not, nor what would give these away."""

    @property
    def shown(self) -> int:
        """1 if the contacts kept customers beyond chance, -1 if they drove them away, else 0."""
        return self.kept.sign if self.told_of else 0

    def told(self) -> dict[str, Any]:
        """For JSON, null where it may not be told."""
        known: dict[str, Any] = {"action": self.action, "contacted": None, "held_out": None}
        if self.told_of:
            known |= {"contacted": self.contacted, "held_out": self.held_out}
        for name in ("left_contacted", "left_held_out", "save_rate", "kept", "gain"):
            known[name] = getattr(self, name).told() if self.told_of else None
        return known


def saved(rows: pl.DataFrame) -> list[Saved]:
    """Of each action by name, then of all, from customers drawn by chance.

    rows: `list` (which one), `action`, `arm`, `probability` of leaving as foretold, `at_stake` and `cost` in minor
    units, and whether they `left`. Each list and action is a test of its own; they are added up weighted by those
    contacted, so that lists of other customers, or with other shares held out, do not mix. The foretold probability
    takes what it explains out of the noise (CUPED, Deng and others, WSDM 2013).
    """
    actions = rows["action"].unique().sort().to_list()
    each = [_saved(action, rows.filter(pl.col("action") == action)) for action in actions]
    hidden = hidden_parts(np.array([(one.contacted, one.held_out) if one.held_out else (0, 0) for one in each]))
    each = [replace(one, told_of=one.told_of and not gone.any()) for one, gone in zip(each, hidden, strict=True)]
    return [*each, _saved(None, rows)]


def _saved(action: str | None, rows: pl.DataFrame) -> Saved:
    tests = [part for _, part in rows.sort("list", "action").group_by(["list", "action"], maintain_order=True)]
    tests = [part for part in tests if part["arm"].n_unique() == 2]  # without a hold-out nothing can be compared
    if not tests:
        mine = (rows["arm"] == CONTACT).to_numpy()
        return Saved(action, int(mine.sum()), int((~mine).sum()), NOTHING, NOTHING, UNKNOWN, NOTHING, NOTHING, False)
    both = pl.concat(tests)
    treated, left = (both["arm"] == CONTACT).to_numpy(), both["left"].to_numpy()
    contacted, held_out = int(treated.sum()), int((~treated).sum())
    weights = np.array([(part["arm"] == CONTACT).sum() for part in tests]) / contacted

    smaller = sum(min((part["arm"] == CONTACT).sum(), (part["arm"] != CONTACT).sum()) for part in tests)
    quantile = float(stdtrit(max(smaller - 1, 1), 0.975))  # the smaller arm is what little is known of
    fewer, base, errors = _added(weights, [_compared(part) for part in tests])
    kept, _, money = _added(weights, [_compared(part, part["at_stake"]) for part in tests])
    cost = float(both.filter(pl.Series(treated))["cost"].sum())
    return Saved(
        action,
        contacted,
        held_out,
        share(float(left[treated].sum()), contacted),
        share(float(left[~treated].sum()), held_out),
        fieller(fewer, base, sum(errors), errors[1], errors[1], quantile),
        _total(contacted, fewer, sum(errors), 0.0, quantile),
        _total(contacted, kept, sum(money), cost, quantile),
        min(contacted, held_out) >= FEWEST,
    )


def _added(weights: np.ndarray, tests: Sequence["_Arms"]) -> tuple[float, float, tuple[float, float]]:
    """Held out less contacted, held out, and the variances of both arms, of tests weighted [T]."""
    fewer = float(weights @ [test.held_out - test.contacted for test in tests])
    here, held = (float(weights**2 @ [test.variance[arm] for test in tests]) for arm in (0, 1))
    return fewer, float(weights @ [test.held_out for test in tests]), (here, held)


@dataclass(frozen=True)
class _Arms:
    """Means of the contacted and the held out, adjusted for what was foretold, and their variances."""

    contacted: float
    held_out: float
    variance: tuple[float, float]


def _compared(part: pl.DataFrame, worth: pl.Series | None = None) -> _Arms:
    """Share of leavers of each arm, or with `worth` [n] what a customer has taken along.

    A share's variance is that of Agresti and Caffo (The American Statistician 2000), one leaver and one who stayed
    added, since few held out may all have stayed. It is scaled by what the adjustment leaves of the noise, or by the
    spread of what was taken along; of both arms, since the few held out may not have those with most at stake.
    """
    left = part["left"].cast(pl.Float64).to_numpy()
    y = left if worth is None else left * worth.to_numpy()
    x = part["probability"].to_numpy() * (1.0 if worth is None else worth.to_numpy())
    treated = (part["arm"] == CONTACT).to_numpy()
    shares = [Moments.of(left[arm]) for arm in (treated, ~treated)]
    plain = [Moments.of(y[arm], x[arm]) for arm in (treated, ~treated)]
    slope = theta(plain[0] + plain[1])
    here, held = (arm.adjusted(slope, float(x.mean())) for arm in plain)
    spread = shares[0].yy + shares[1].yy
    unit = 1.0 if worth is None else float((worth.to_numpy() ** 2).mean())
    scale = (here.yy + held.yy) / spread if spread > 0 else unit
    variances = []
    for arm in shares:
        rate = (arm.y * arm.count + 1) / (arm.count + 2)
        variances.append(rate * (1 - rate) / (arm.count + 2) * scale)
    return _Arms(here.y, held.y, (variances[0], variances[1]))


def _total(customers: int, each: float, variance: float, cost: float, quantile: float) -> Estimate:
    value, half = customers * each - cost, customers * quantile * float(np.sqrt(variance))
    return Estimate(value, value - half, value + half, "Student, CUPED")
