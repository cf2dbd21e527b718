"""What boosted trees are worth to uplift on customers that they have not seen: the objective of a search."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import polars as pl

from recsys.progress import Progress
from recsys.uplift.config import UpliftConfig
from training.uplift import inputs_of, problem_of
from training.uplift_learners import Fits, cross_fit, folds_of
from training.uplift_rows import UpliftRows


class UpliftObjective:
    """The training contacts, cut into folds of customers, with the doubly robust scores that judge every trial.

    The scores follow from the outcome trees of the configuration as it stands. Each trial having its own, the one whose
    scores vary least would win.
    """

    def __init__(
        self,
        config: UpliftConfig,
        data: UpliftRows,
        attributes: pl.DataFrame,
        *,
        seed: int,
        threads: int,
        progress: Progress,
    ) -> None:
        self._problem = problem_of(inputs_of(data, attributes), data, None)
        self._seed, self._threads = seed, threads
        self._fold = folds_of(self._problem.customer, config.folds, config.seed)
        fits = Fits(self._problem, config, seed, threads)
        self._imputed = cross_fit(fits, self._fold, (), _step(progress, "scores of held-out customers")).imputed

    def effect_spread(self, config: UpliftConfig, progress: Progress) -> float:
        """The standard deviation of the effect that the best learner tells of held-out pairs, on its best line.

        Its square is what the learner takes off the mean squared distance from the scores, beside one effect for all:
        the greatest is told by the learner, and the number of trees, that training chooses. 0 where no learner's
        predictions go with the scores.
        """
        fits = Fits(self._problem, config, self._seed, self._threads)
        found = cross_fit(fits, self._fold, config.learners, _step(progress, "learners"))
        judged = replace(found, imputed=self._imputed)
        least = min(float(judged.losses(one).min()) for one in config.learners)
        return float(np.sqrt(max(float(judged.scores.var()) - least, 0.0)))


def _step(progress: Progress, what: str) -> Callable[[int, int], None]:
    return lambda done, total: progress(done, total, f"uplift: {what}")
