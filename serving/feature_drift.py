"""Do the customers asked about still look like those of training? A sample of them, feature by feature, in windows."""

import polars as pl

from recsys.bundle import Segmentation
from recsys.drift import Drift, DriftConfig, drift
from recsys.population import Population, PopulationState
from serving.drift import drift_config
from serving.metrics import DRIFTED, FEATURE_DRIFT
from serving.seen import Seen
from serving.store import StoreDown

EVERY = 10
"""One of so many answers is looked at: a stored customer's feature row has to be made for it."""
WINDOW = 500
"""Customers looked at until they are compared, all at once, in about ten milliseconds."""


class FeatureDrift:
    """Compares with the profile that a bundle's segments keep; without segments there is none, and nothing is done.

    By the same formula, thresholds and bound of chance as `recsys segments drift`, which looks at everybody. Here it is
    those who were asked about, each as often as asked: a campaign alone may move it.
    """

    def __init__(self, segmentation: Segmentation | None, every: int = EVERY, window: int = WINDOW) -> None:
        self._every, self._window = every, window
        self._count = 0
        self._rows: list[pl.DataFrame] = []
        self._before: Population | None = None
        if segmentation is None:
            return
        self._definition = segmentation.definition
        self._config: DriftConfig = drift_config(segmentation)
        profile = segmentation.table.profile.customers
        counted = PopulationState.of_features(self._definition).columns
        features = {name: cells for name, cells in profile.columns.items() if name in counted}
        self._before = Population(customers=profile.customers, columns=features)

    def saw(self, customer: Seen) -> None:
        """Count a customer who is being answered about; one call at a time."""
        self._count += 1
        if self._before is None or self._count % self._every:
            return
        try:
            self._rows.append(customer.rows)
        except StoreDown:  # the answer itself may not need it
            return
        if len(self._rows) >= self._window:
            state = PopulationState.of_features(self._definition)
            state.update(pl.concat(self._rows))
            self._rows.clear()
            _tell(drift(self._before, state, self._config))


def _tell(found: Drift) -> None:
    for column in found.columns:
        FEATURE_DRIFT.labels(column.column).set(column.psi)
    for flag in ("watch", "act"):
        DRIFTED.labels(flag).set(sum(column.flag == flag for column in found.columns))
