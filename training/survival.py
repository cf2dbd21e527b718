"""Fitting of survival: hazards of leaving by month, boosted trees on customer-months, and their graph."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import lightgbm
import numpy as np

from recsys.bundle.survival import AboutSurvival, survival_part
from recsys.churn.survival_config import SurvivalConfig
from recsys.churn.survival_examples import person_periods
from recsys.features.encoder import ArrayShape
from recsys.features.examples import Part
from recsys.survival import brier_scores, concordance, integrated, kaplan_meier
from training.churn_boosting import round_leaves, tree_attributes
from training.churn_graph import GraphParts, as_model
from training.churn_inputs import Columns
from training.survival_rows import SurvivalData

_STEP = 16_384


@dataclass(frozen=True)
class FittedSurvival:
    """What training made of the section."""

    config: SurvivalConfig
    shape: ArrayShape
    columns: Columns
    booster: lightgbm.Booster
    """Log-odds of leaving in a month, from a customer's table and the number of the month, from 0."""
    about: AboutSurvival

    def log_odds(self, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
        """float64 [N, M] log-odds of leaving in each month, of those who stayed until it."""
        return _log_odds(self.booster, self.columns, arrays, self.config.months)

    def survival(self, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
        """float64 [N, H] P(still a customer) after each horizon."""
        return by_month(self.log_odds(arrays))[:, np.array(self.config.horizons_months) - 1]

    def graph(self) -> bytes:
        """Customer arrays, those that are read → `survival` float32 [N, H].

        Each customer's table is repeated for each month; survival is exp(Σ log(1 - hazard)), and the sum over the
        months of a horizon is one matrix product. log(1 - hazard) is a softmax of two values: ONNX Runtime's Softplus
        gives other last bits to the same customer at another place in a batch.
        """
        parts, months = GraphParts(self.columns), self.config.months
        number = np.arange(months, dtype=np.float32).reshape(1, months, 1)
        table = parts.node("Unsqueeze", [parts.table(), parts.constant("second", np.array([1]))], "table_row")
        each = parts.node("Expand", [table, parts.constant("by_month", np.array([1, months, 1]))], "table_by_month")
        one = parts.node("Shape", [table], "batch", start=0, end=1)
        all_months = parts.constant("all_months", np.array([months, 1]))
        size = parts.node("Concat", [one, all_months], "month_shape", axis=0)
        month = parts.node("Expand", [parts.constant("month_numbers", number), size], "month")
        joined = parts.node("Concat", [each, month], "table_and_month", axis=2)
        flat = parts.constant("flat", np.array([-1, self.columns.width + 1]))
        rows = parts.node("Reshape", [joined, flat], "customer_months")
        trees = tree_attributes([self.booster])
        summed = parts.node("TreeEnsembleRegressor", [rows], "trees", domain="ai.onnx.ml", **trees)
        log_odds = parts.node("Reshape", [summed, parts.constant("square", np.array([-1, months]))], "log_odds")
        until = np.arange(months)[:, None] < np.array(self.config.horizons_months)[None, :]
        alone = parts.node("Unsqueeze", [log_odds, parts.constant("third", np.array([2]))], "log_odds_alone")
        two = parts.node("Pad", [alone, parts.constant("zero", np.array([0, 0, 0, 0, 0, 1]))], "and_zero")
        both = parts.node("LogSoftmax", [two], "log_chances", axis=2)
        stays = parts.node("Gather", [both, parts.constant("staying", np.array(1))], "log_stays", axis=2)
        total = parts.node("MatMul", [stays, parts.constant("until", until.astype(np.float32))], "log_survival")
        parts.node("Exp", [total], "survival")
        outputs: dict[str, tuple[str | int, ...]] = {"survival": ("batch", len(self.config.horizons_months))}
        return as_model(parts, "survival", self.shape, self.columns.arrays, outputs)

    def files(self, parity: Mapping[str, np.ndarray]) -> dict[str, bytes]:
        """The files in the part `churn`; `parity` are the encoder's customer arrays of the invented customers."""
        return survival_part(graph=self.graph(), about=self.about, survival=self.survival(parity))


def fit_survival(
    config: SurvivalConfig, shape: ArrayShape, data: Mapping[Part, SurvivalData], *, seed: int, threads: int
) -> FittedSurvival:
    """Boosted trees on customer-months, as many as the validation customers like best."""
    train, validation = data["train"], data["validation"]
    columns = Columns.of(shape, train.arrays)
    learned = _dataset(config, columns, train, seed)
    held = _dataset(config, columns, validation, seed + 1, learned)
    stop = lightgbm.early_stopping(config.patience, verbose=False)
    booster = lightgbm.train(
        _settings(config, seed, threads), learned, config.trees, valid_sets=[held], callbacks=[stop]
    )
    kept = lightgbm.Booster(model_str=booster.model_to_string(num_iteration=booster.best_iteration))
    round_leaves(kept)
    survival = by_month(_log_odds(kept, columns, validation.arrays, config.months))
    about = AboutSurvival(
        horizons_months=config.horizons_months,
        arrays=columns.arrays,
        examples=len(train),
        left=int(train.event.sum()),
        trees=kept.num_trees(),
        observed=_observed(train, config),
        validation=judged(validation, survival, config.horizons_months),
    )
    return FittedSurvival(config, shape, columns, kept, about)


def by_month(log_odds: np.ndarray) -> np.ndarray:
    """Log-odds of leaving in each month [N, M] → P(still a customer) after it, float64 [N, M]."""
    return np.exp(-np.cumsum(np.logaddexp(0.0, log_odds), axis=1))


def judged(data: SurvivalData, survival: np.ndarray, horizons: tuple[int, ...]) -> dict[str, float]:
    """`concordance`, with weights for censoring, and `integrated_brier` from 1 to the last month, beside what
    Kaplan-Meier, which knows no customer, would have; survival float64 [N, M] by month."""
    months = np.arange(1, survival.shape[1] + 1)
    time, event = data.time.astype(np.float64), data.event
    curve = kaplan_meier(time, event)
    flat = np.tile([curve.at(float(month)) for month in months], (len(time), 1))
    scores = [brier_scores(time, event, values, months.tolist())["score"] for values in (survival, flat)]
    last = survival[:, horizons[-1] - 1]
    return {
        "examples": float(len(time)),
        "left": float(event.sum()),
        "concordance": concordance(time, event, -last, weighted=True),
        "integrated_brier": float(integrated(scores[0], months.tolist())),
        "integrated_brier_kaplan_meier": float(integrated(scores[1], months.tolist())),
    }


def _settings(config: SurvivalConfig, seed: int, threads: int) -> dict[str, Any]:
    return {
        "objective": "binary",
        "num_leaves": config.leaves,
        "learning_rate": config.learning_rate,
        "min_data_in_leaf": config.least_in_leaf,
        "lambda_l2": config.l2,
        "feature_fraction": config.columns,
        "bagging_fraction": 0.7,
        "bagging_freq": 1,
        "max_bin": 127,
        "seed": seed,
        "num_threads": threads,
        "deterministic": True,
        "force_row_wise": True,
        "verbose": -1,
    }


def _dataset(
    config: SurvivalConfig, columns: Columns, data: SurvivalData, seed: int, learned: lightgbm.Dataset | None = None
) -> lightgbm.Dataset:
    row, month, left, weight = person_periods(data.time, data.event, config.stayed, seed)
    used, place = np.unique(row, return_inverse=True)
    table = columns.table({name: np.asarray(data.arrays[name][used]) for name in columns.arrays})
    rows = np.concatenate([table[place], month[:, None].astype(np.float32)], axis=1)
    return lightgbm.Dataset(rows, left.astype(np.float32), weight=weight, reference=learned, params={"max_bin": 127})


def _log_odds(booster: lightgbm.Booster, columns: Columns, arrays: Mapping[str, np.ndarray], months: int) -> np.ndarray:
    count = len(arrays[columns.arrays[0]])
    found = np.empty((count, months))
    for start in range(0, count, _STEP):
        table = columns.table({name: np.asarray(arrays[name][start : start + _STEP]) for name in columns.arrays})
        for month in range(months):
            rows = np.concatenate([table, np.full((len(table), 1), month, dtype=np.float32)], axis=1)
            found[start : start + _STEP, month] = booster.predict(rows, raw_score=True, num_threads=1)
    return found


def _observed(train: SurvivalData, config: SurvivalConfig) -> tuple[float, ...]:
    curve = kaplan_meier(train.time.astype(np.float64), train.event)
    return tuple(curve.at(float(horizon)) for horizon in config.horizons_months)
