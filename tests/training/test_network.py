"""Fitting: known answers, resumption, repeatability, and what is kept of a fit."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recsys.errors import ConfigError, DataError
from recsys.features.encoder import ArrayShape
from recsys.two_tower import ModelConfig, TwoTower
from training.export import product_vectors, torch_ranking, torch_vectors
from training.loop import FitResult, TrainingConfig
from training.network import LossConfig, fit_two_tower

PRODUCTS, CUSTOMERS = 12, 240
SHAPE = ArrayShape((), 0, 0, True, 0, 0, 0, PRODUCTS + 2, (), 0, 0)
QUICK: dict[str, Any] = {"epochs": 4, "batch_size": 40, "learning_rate": 1e-2}
IDS = [f"P{i:02d}" for i in range(PRODUCTS)]


def checkerboard(rows: int = CUSTOMERS, seed: int = 0) -> dict[str, Any]:
    """Customers hold every even product or every odd one, except for the one to be found."""
    rng = np.random.default_rng(seed)
    parity, hidden = rng.integers(0, 2, rows), rng.integers(0, PRODUCTS // 2, rows)
    holdings = np.zeros((rows, PRODUCTS + 2), dtype=np.float32)
    targets = (2 + 2 * hidden + parity).astype(np.int32)[:, None]
    for row in range(rows):
        holdings[row, 2 + parity[row] :: 2] = 1
    np.put_along_axis(holdings, targets, 0, axis=1)
    held = [np.flatnonzero(row).astype(np.int32) for row in holdings]
    return {"arrays": {"holdings": holdings}, "targets": targets, "excluded": np.stack(held)}


def as_lists(asked: dict[str, Any]) -> dict[str, Any]:
    """The same customers, their holdings as a list of products and not as columns."""
    return asked | {"arrays": {"held": np.pad(asked["excluded"], ((0, 0), (0, 3)))}}


def fit(directory: Path, **changes: Any) -> FitResult[TwoTower]:
    training = changes.pop("training", {})
    loss = changes.pop("loss", LossConfig())
    settings: dict[str, Any] = {
        "model": ModelConfig(dim=16, hidden=32, dropout=0.1),
        "loss": loss,
        "training": TrainingConfig(**QUICK | training),
        "shape": SHAPE,
        "weights": np.ones(CUSTOMERS, dtype=np.float32),
        "products": {"product": np.arange(2, PRODUCTS + 2, dtype=np.int32)},
        "validation": checkerboard(60, seed=1),
        "seed": 0,
        "threads": 1,
        "directory": directory,
    }
    return fit_two_tower(**settings | checkerboard() | changes)


def same_weights(a: FitResult[TwoTower], b: FitResult[TwoTower]) -> bool:
    first, second = a.model.state_dict(), b.model.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("memory", ["1MiB", "0B"], ids=["exact", "sampled"])
def test_a_checkerboard_is_learned(tmp_path: Path, memory: str) -> None:
    fitted = fit(tmp_path, loss=LossConfig(memory=memory, negatives=4), training={"epochs": 15})
    asked = checkerboard(50, seed=2)
    products = {"product": np.arange(2, PRODUCTS + 2, dtype=np.int32)}
    vectors = torch_vectors(fitted.model, asked["arrays"])
    ids, _ = torch_ranking(fitted.model, vectors, products, IDS, asked["excluded"], 1)
    assert [row[0] for row in ids] == [IDS[target - 2] for target in asked["targets"][:, 0]]
    assert fitted.metric == 1.0
    assert fitted.history[-1]["loss"] < fitted.history[0]["loss"] / 2


def test_a_checkerboard_of_lists_is_learned(tmp_path: Path) -> None:
    """Where the catalogue is large, holdings are lists; the tower takes their weighted mean."""
    lists = {**as_lists(checkerboard()), "validation": as_lists(checkerboard(60, seed=1))}
    shape = replace(SHAPE, holdings=False, held=PRODUCTS // 2 + 2)
    fitted = fit(tmp_path, shape=shape, training={"epochs": 15}, **lists)
    assert fitted.metric == 1.0
    asked = as_lists(checkerboard(50, seed=2))["arrays"]["held"]
    vectors = torch_vectors(fitted.model, {"held": asked})
    shuffled = torch_vectors(fitted.model, {"held": np.flip(asked, axis=1).copy()})
    np.testing.assert_allclose(vectors, shuffled, atol=1e-5, err_msg="a set has no order")


def test_a_large_table_is_learned_row_by_row_and_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recsys.two_tower.SPARSE_ROWS", PRODUCTS)
    lists = {**as_lists(checkerboard()), "validation": as_lists(checkerboard(60, seed=1))}
    settings = lists | {
        "shape": replace(SHAPE, holdings=False, held=PRODUCTS // 2 + 2),
        "training": {"epochs": 15},
        "loss": LossConfig(memory=0, negatives=4),
    }

    def kill(done: int, total: int, what: str) -> None:
        if done == 15:
            raise KeyboardInterrupt  # as Ctrl-C does: Lightning's own way out, an exit, would hide it

    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "killed", progress=kill, **settings)
    resumed, whole = fit(tmp_path / "killed", **settings), fit(tmp_path / "whole", **settings)
    assert whole.metric == 1.0
    assert same_weights(whole, resumed)


def test_a_new_product_ranks_from_its_attributes(tmp_path: Path) -> None:
    """Products are even or odd by their category alone; one that was never seen goes to customers of its kind."""
    products = {
        "product": np.arange(2, PRODUCTS + 2, dtype=np.int32),
        "product_categories": (2 + np.arange(PRODUCTS) % 2).astype(np.int32)[:, None],
    }
    shape = replace(SHAPE, product_categories=(4,))
    model = ModelConfig(dim=16, hidden=32, dropout=0.1, product_id_dropout=0.3, item_bias=False)
    fitted = fit(tmp_path, shape=shape, products=products, model=model, training={"epochs": 15})
    new = {"product": np.array([1, 1], np.int32), "product_categories": np.array([[2], [3]], np.int32)}
    asked = checkerboard(50, seed=2)
    scores = torch_vectors(fitted.model, asked["arrays"]) @ product_vectors(fitted.model, new).T
    assert (scores.argmax(axis=1) == asked["targets"][:, 0] % 2).all()


def test_a_fit_that_was_killed_goes_on_and_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    class Killed(Exception):
        pass

    def kill(done: int, total: int, what: str) -> None:
        if done == total // 2 + 2:  # some steps into the third of four epochs
            raise Killed

    for loss in (LossConfig(), LossConfig(memory=0, negatives=4)):
        folder = tmp_path / str(int(loss.memory))
        whole = fit(folder / "whole", loss=loss)
        with pytest.raises(Killed):
            fit(folder / "killed", loss=loss, progress=kill)
        steps = []
        resumed = fit(folder / "killed", loss=loss, progress=lambda done, total, what, s=steps: s.append(done))
        assert min(steps) == 13 and max(steps) == 24  # six steps an epoch, the first two epochs not made again
        assert same_weights(whole, resumed)
        untimed = [[{k: v for k, v in e.items() if k != "seconds"} for e in r.history] for r in (whole, resumed)]
        assert untimed[0] == untimed[1] and whole.best_epoch == resumed.best_epoch


def test_a_finished_fit_is_read_back_and_another_fit_is_refused(tmp_path: Path) -> None:
    first = fit(tmp_path)
    steps: list[int] = []
    again = fit(tmp_path, progress=lambda done, total, what: steps.append(done))
    assert steps == [] and same_weights(first, again) and again.history == first.history
    with pytest.raises(ConfigError, match="another fit"):
        fit(tmp_path, seed=1)


def test_the_same_seed_gives_the_same_weights_from_memory_or_from_files(tmp_path: Path) -> None:
    given = checkerboard()
    np.save(tmp_path / "holdings.npy", given["arrays"]["holdings"])
    mapped = {"holdings": np.load(tmp_path / "holdings.npy", mmap_mode="r")}
    first, second = fit(tmp_path / "a"), fit(tmp_path / "b", arrays=mapped)
    assert same_weights(first, second)
    assert not same_weights(first, fit(tmp_path / "c", seed=1))


def test_the_weights_of_the_best_epoch_are_kept_and_patience_ends_the_fit(tmp_path: Path) -> None:
    """With answers drawn by chance no epoch is much better than another, and the last is rarely the best."""
    rng = np.random.default_rng(3)
    validation = checkerboard(60, seed=1) | {"targets": rng.integers(2, PRODUCTS + 2, (60, 1)).astype(np.int32)}
    validation["excluded"] = np.zeros((60, 1), dtype=np.int32)
    training = {"epochs": 40, "patience": 3, "metric": "mrr"}
    fitted = fit(tmp_path, validation=validation, training=training)
    values = [record["mrr"] for record in fitted.history]
    assert len(values) < 40 and len(values) == fitted.best_epoch + 3
    assert fitted.metric == max(values) == values[fitted.best_epoch - 1]
    products = {"product": np.arange(2, PRODUCTS + 2, dtype=np.int32)}
    scores = torch_vectors(fitted.model, validation["arrays"]) @ product_vectors(fitted.model, products).T
    own = np.take_along_axis(scores, validation["targets"] - 2, axis=1)
    assert (1 / (scores >= own).sum(axis=1)).mean() == pytest.approx(fitted.metric)


def test_weights_decide_between_contradicting_examples(tmp_path: Path) -> None:
    """Half the rows say product 0, half say product 1, about the same customer; only one half weighs."""
    targets = np.where(np.arange(CUSTOMERS) % 2, 3, 2).astype(np.int32)[:, None]
    alike = {"holdings": np.zeros((CUSTOMERS, PRODUCTS + 2), dtype=np.float32)}
    weights = np.where(np.arange(CUSTOMERS) % 2, 1.0, 0.01).astype(np.float32)
    nobody = np.zeros((CUSTOMERS, 1), dtype=np.int32)
    fitted = fit(tmp_path, arrays=alike, targets=targets, weights=weights, excluded=nobody)
    products = {"product": np.arange(2, PRODUCTS + 2, dtype=np.int32)}
    ids, _ = torch_ranking(fitted.model, torch_vectors(fitted.model, alike), products, IDS, nobody, 1)
    assert ids[0] == ["P01"]


def test_validation_without_a_known_target_is_refused(tmp_path: Path) -> None:
    validation = checkerboard(5, seed=1) | {"targets": np.ones((5, 2), dtype=np.int32)}
    with pytest.raises(DataError, match="none of 5 examples has a target"):
        fit(tmp_path, validation=validation)


def test_a_fit_is_silent_and_leaves_the_process_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(5)
    before = (torch.get_num_threads(), torch.get_rng_state(), torch.are_deterministic_algorithms_enabled())
    level = logging.getLogger("pytorch_lightning").level
    fit(tmp_path / "fit", threads=before[0] + 1)
    assert capfd.readouterr() == ("", "")
    assert [str(w.message) for w in recwarn.list] == []
    assert [p.name for p in tmp_path.iterdir()] == ["fit"]
    assert torch.get_num_threads() == before[0] and torch.equal(torch.get_rng_state(), before[1])
    assert torch.are_deterministic_algorithms_enabled() is before[2]
    assert logging.getLogger("pytorch_lightning").level == level
    for path in (tmp_path / "fit").iterdir():
        torch.load(path, weights_only=True)


def test_a_fit_that_stops_after_an_epoch_takes_the_course_of_the_whole_one(tmp_path: Path) -> None:
    whole = fit(tmp_path / "whole", training={"epochs": 2})
    cut = fit(tmp_path / "cut", training={"epochs": 2}, stop_after=1, validation=None)
    assert [record["loss"] for record in cut.history] == [whole.history[0]["loss"]]
    assert np.isnan(cut.metric)
    again = fit(tmp_path / "both", training={"epochs": 2}, stop_after=2, validation=None)
    assert [record["loss"] for record in again.history] == [record["loss"] for record in whole.history]
