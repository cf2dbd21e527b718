"""The minimum of a convex function over prices ≥ 0, from its values and subgradients: cutting planes in a trust region.

Every evaluation is a plane below the function. The next point is the lowest of the planes' maximum within a box around
the best point so far (a linear program of as many variables as prices, solved by HiGHS); the box widens where the
planes foretold the descent and narrows where they did not (Marsten, Hogan and Blankenship, Operations Research 1975).
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

WORTHWHILE = 0.1
"""The share of a foretold descent from which a step is taken."""
KEPT = 400
"""The most planes; the oldest that lie low at the best point go first."""


@dataclass
class Planes:
    """Values and subgradients at the points that were tried."""

    points: list[np.ndarray] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    slopes: list[np.ndarray] = field(default_factory=list)

    def add(self, point: np.ndarray, value: float, slope: np.ndarray) -> None:
        """Keep one more plane."""
        self.points.append(point)
        self.values.append(value)
        self.slopes.append(slope)
        if len(self.values) > KEPT:
            centre = self.points[int(np.argmin(self.values))]
            height = [v + s @ (centre - p) for p, v, s in zip(self.points, self.values, self.slopes, strict=True)]
            for place in sorted(np.argsort(height)[: KEPT // 4].tolist(), reverse=True):
                for kept in (self.points, self.values, self.slopes):
                    del kept[place]

    def lowest(
        self, centre: np.ndarray, radius: float, lower: np.ndarray, upper: np.ndarray
    ) -> tuple[np.ndarray, float]:
        """The lowest point of the planes' maximum within `radius` of the centre, from `lower` to `upper`, and its
        height."""
        from scipy.optimize import linprog

        best, size = min(self.values), len(centre)
        slopes = np.array(self.slopes)
        offsets = np.array([v - best - s @ p for v, s, p in zip(self.values, slopes, self.points, strict=True)])
        rows = np.hstack([np.full((len(slopes), 1), -1.0), slopes])
        box = zip(np.maximum(centre - radius, lower), np.minimum(centre + radius, upper), strict=True)
        within = [(None, None), *box]
        found = linprog(np.eye(1, size + 1)[0], A_ub=rows, b_ub=-offsets, bounds=within, method="highs")
        if found.x is None:  # numerically stuck: stay, and let the caller narrow the box
            return centre, best
        return np.clip(found.x[1:], lower, upper), best + float(found.x[0])


def minimise(
    function: Callable[[np.ndarray], tuple[float, np.ndarray]],
    start: np.ndarray,
    radius: float,
    tolerance: float,
    passes: int,
    planes: Planes | None = None,
    stop_below: float = -np.inf,
    upper: np.ndarray | None = None,
    lower: np.ndarray | None = None,
) -> tuple[np.ndarray, float]:
    """The best point found, and its value, after at most so many evaluations.

    Ends when within the box no more than `tolerance` can be gained and a wider box would not change that, or when
    the value is below `stop_below`. No price is above `upper`, or below `lower`, which is 0 where not given.
    """
    planes = Planes() if planes is None else planes
    size = len(start) or len(planes.points[0])
    most = np.full(size, np.inf) if upper is None else upper
    least = np.zeros(size) if lower is None else lower
    centre, best = start, np.inf
    if planes.values:
        at = int(np.argmin(planes.values))
        centre, best = planes.points[at], planes.values[at]
    else:
        best, slope = function(start)
        planes.add(start, best, slope)
        passes -= 1
    while passes > 0 and best >= stop_below:
        point, height = planes.lowest(centre, radius, least, most)
        foretold = best - height
        inside = bool(((np.abs(point - centre) < radius * (1 - 1e-6)) | (point >= most) | (point <= least)).all())
        if foretold <= tolerance:
            if inside or radius > 1e6:
                break
            radius *= 4
            continue
        value, slope = function(point)
        passes -= 1
        planes.add(point, value, slope)
        if best - value > WORTHWHILE * foretold:
            if not inside and best - value > 0.5 * foretold:
                radius *= 2
            centre, best = point, value
        elif value > best:
            radius = max(0.6 * min(radius, float(np.abs(point - centre).max())), 1e-12)
    return centre, best
