"""Churn models: known answers are found, rows are judged by models that have not seen them, the graph says the same."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from recsys.bundle.graph import Graph, Port
from recsys.churn.models_config import CANDIDATES, ChurnModelsConfig
from recsys.errors import DataError
from recsys.features.encoder import ArrayShape
from training.churn_models import ChurnData, ChurnModel, fit_churn_models
from training.export import customer_example

SHAPE = ArrayShape(
    categories=(5, 200),
    numbers=4,
    tags=6,
    holdings=True,
    history=0,
    kinds=0,
    ages=0,
    products=7,
    product_categories=(),
    product_numbers=0,
    product_tags=0,
)
QUICK = {
    "network": {"epochs": 4, "members": 4, "hidden": 16},
    "boosting": {"learning_rate": 0.2, "trees": 60},
    "additive": {"leaves": 2, "trees": 60},
    "oblivious": {"depth": 3, "trees": 40},
    "randomised": {"random_thresholds": True, "trees": 60},
    "steps": {"steps": 12, "patience": 4},
    "gaussian_process": {"points": 48, "steps": 15, "rows": 200},
}


def drawn(rows: int, seed: int, unseen: bool = False) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Arrays and true log-odds: linear in a number, a category, a tag and a product, and a product of two numbers."""
    rng = np.random.default_rng(seed)
    first = 1 if unseen else 2
    arrays = {
        "numbers": rng.normal(size=(rows, 4)).astype(np.float32),
        "missing": (rng.random((rows, 4)) < [0.0, 0.3, 0.0, 0.1]).astype(np.float32),
        "categories": np.stack([rng.integers(first, 5, rows), rng.integers(first, 200, rows)], axis=1).astype(np.int32),
        "tags": np.where(rng.random((rows, 3)) < 0.6, rng.integers(first, 6, (rows, 3)), 0).astype(np.int32),
        "holdings": (rng.random((rows, 7)) < 0.4).astype(np.float32),
    }
    arrays["numbers"] *= 1 - arrays["missing"]
    numbers = arrays["numbers"]
    truth = -1.5 + numbers[:, 0] + 1.5 * numbers[:, 1] * numbers[:, 2] + 0.7 * (arrays["categories"][:, 0] == 3)
    truth += 0.8 * (arrays["tags"] == 4).any(axis=1) - 0.9 * arrays["holdings"][:, 3] + 0.5 * arrays["missing"][:, 1]
    return arrays, truth


def data(rows: int, seed: int) -> ChurnData:
    arrays, truth = drawn(rows, seed)
    chance = 1 / (1 + np.exp(-truth))
    return ChurnData(arrays, (np.random.default_rng(seed + 1).random(rows) < chance).astype(np.int8))


def fitted(
    work: Path, train: ChurnData | None = None, validation: ChurnData | None = None, **settings: Any
) -> ChurnModel:
    config = ChurnModelsConfig.model_validate({"candidates": ("logistic",), **QUICK, **settings})
    train, validation = train or data(2400, 0), validation or data(600, 10)
    return fit_churn_models(
        config, SHAPE, train, validation, seed=0, threads=1, work=work, progress=lambda done, total, what: None
    )


def served(model: ChurnModel) -> Graph:
    example = customer_example(SHAPE)
    ports = {}
    for name in model.arrays:
        values = example[name].numpy()
        ports[name] = Port(str(values.dtype), (None, None if name == "tags" else values.shape[1]))
    outputs = {"log_odds": Port("float32", (None,)), "probability": Port("float32", (None,))}
    return Graph(model.graph(), "churn.onnx", ports, outputs)


@pytest.mark.parametrize(
    "candidates", [["logistic"], ["boosting"], ["oblivious"], ["steps"], ["gaussian_process"], ["network"], CANDIDATES]
)
def test_the_graph_answers_as_the_models_do_about_unseen_values_and_in_any_batch(
    tmp_path: Path, candidates: Sequence[str]
) -> None:
    model = fitted(tmp_path, candidates=candidates)
    graph = served(model)
    arrays, truth = drawn(10_000, 20, unseen=True)
    log_odds, probability = graph.run({name: arrays[name] for name in model.arrays})
    assert np.abs(log_odds - model.log_odds(arrays)).max() < 1e-5
    assert np.abs(probability - model.probability(arrays)).max() < 1e-5
    assert model.graph() == model.graph()
    outcome = np.random.default_rng(3).random(len(probability)) < 1 / (1 + np.exp(-truth))
    assert roc_auc_score(outcome, probability) > 0.65
    for batch in (1, 7, 640):
        again = graph.run({name: arrays[name][:batch] for name in model.arrays})
        assert (again[0] == log_odds[:batch]).all() and (again[1] == probability[:batch]).all()


def test_what_is_linear_is_found_and_calibrated(tmp_path: Path) -> None:
    model = fitted(tmp_path)
    arrays, truth = drawn(20_000, 30)
    chance = 1 / (1 + np.exp(-truth))
    outcome = np.random.default_rng(1).random(len(chance)) < chance
    assert roc_auc_score(outcome, model.log_odds(arrays)) > 0.7
    assert model.probability(arrays).mean() == pytest.approx(chance.mean(), abs=0.02)
    assert model.report["candidates"]["blend"]["ece"] < 0.03
    assert model.report["shares"] == {"logistic": 1.0}


def test_held_out_rows_are_judged_by_models_that_have_not_seen_them(tmp_path: Path) -> None:
    """Outcomes without any pattern, each customer in two rows: who has seen one row knows the other."""
    arrays, _ = drawn(300, 1)
    noise = np.random.default_rng(2).integers(0, 2, 300).astype(np.int8)
    part = ChurnData(arrays, noise, np.arange(300))
    model = fitted(tmp_path, part, part, logistic={"l2": 0.01})
    said = model.candidates["logistic"].log_odds(model.columns.table(arrays))
    assert len(model.held_out.rows) == 600
    assert model.report["candidates"]["logistic"]["auc"] < 0.57 < 0.6 < roc_auc_score(noise, said)


def test_without_folds_the_validation_part_judges(tmp_path: Path) -> None:
    model = fitted(tmp_path, folds=0, refit=0)
    assert (model.held_out.rows == np.arange(2400, 3000)).all()
    known = model.probability(data(600, 10).arrays)
    assert np.abs(known - model.held_out.probability).max() < 1e-9


@pytest.mark.parametrize("outcome", [0, 1])
def test_too_few_outcomes_are_refused(tmp_path: Path, outcome: int) -> None:
    arrays, _ = drawn(50, 0)
    values = np.full(50, outcome, dtype=np.int8)
    values[0] = 1 - outcome
    part = ChurnData(arrays, values)
    with pytest.raises(DataError, match="at least 10 of each are needed"):
        fitted(tmp_path, part, part)
    with pytest.raises(DataError, match="validation part 50 of 50|validation part 0 of 50|training part"):
        fitted(tmp_path, data(300, 0), ChurnData(arrays, np.full(50, outcome, dtype=np.int8)), folds=0)
