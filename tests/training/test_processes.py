"""A fit on two processes takes the course of a fit on one, and what is memory-mapped is not sent but mapped again."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from recsys.errors import ConfigError
from recsys.two_tower import ModelConfig
from tests.training.test_network import CUSTOMERS, PRODUCTS, checkerboard, fit
from training.batches import Epochs, Examples
from training.network import LossConfig
from training.processes import Sent, part_of

PLAIN = ModelConfig(dim=16, hidden=32, dropout=0.0, product_id_dropout=0.0)
"""Nothing is drawn at random within a step, so that two courses can be compared closely."""


def test_two_processes_take_the_course_of_one_and_resume(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    uneven = np.linspace(0.1, 3, CUSTOMERS).astype(np.float32)  # parts of a batch weigh differently
    said: list[tuple[int, int]] = []
    noisy = np.random.default_rng(5).integers(2, PRODUCTS + 2, (CUSTOMERS, 1), dtype=np.int32)  # a loss that stays
    settings = {"model": PLAIN, "weights": uneven, "targets": np.where(uneven[:, None] < 2, noisy, 3)}
    quick = {"epochs": 3, "batch_size": 37, "learning_rate": 1e-3}  # the last batch has 18 rows
    one = fit(tmp_path / "one", training=quick, **settings)
    two = fit(
        tmp_path / "two",
        training=quick | {"devices": 2},
        progress=lambda done, total, what: said.append((done, total)),
        **settings,
    )
    losses = np.array([[record["loss"] for record in result.history] for result in (one, two)])
    assert losses.shape == (2, 3) and losses[0, 0] - losses[0, 2] > 0.05
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-3)
    assert two.metric == pytest.approx(one.metric, abs=0.02) and two.best_epoch == one.best_epoch
    assert capfd.readouterr() == ("", "")
    assert said[-1] == (21, 21) and [done for done, _ in said] == list(range(1, 22))
    for name, values in one.model.state_dict().items():
        torch.testing.assert_close(two.model.state_dict()[name], values, rtol=1e-2, atol=1e-3)
    again = fit(tmp_path / "two", training=quick | {"devices": 2}, **settings)
    assert again.history == two.history


def test_parts_make_up_the_batch(tmp_path: Path) -> None:
    board = checkerboard()
    examples = Examples(board["arrays"], board["targets"], board["excluded"], np.arange(CUSTOMERS, dtype=np.float32))
    whole = [batch["weights"].tolist() for batch in Epochs(examples, 37, seed=3)]
    parts = []
    for rank in (0, 1):
        epochs = Epochs(examples, 37, seed=3)
        epochs.part = lambda rank=rank: (rank, 2)  # type: ignore[misc]
        parts.append([batch["weights"].tolist() for batch in epochs])
    assert [sorted(a + b) for a, b in zip(*parts, strict=True)] == whole
    assert part_of(np.array([7]), 1, 2).tolist() == [7]


def test_a_memory_mapped_array_is_sent_as_its_place(tmp_path: Path) -> None:
    values = np.arange(5000, dtype=np.float32).reshape(1000, 5)
    np.save(tmp_path / "a.npy", values)
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    for view in (mapped, mapped[300:], mapped[990:995]):
        sent = pickle.dumps(Sent(view))
        assert len(sent) < 500
        assert np.array_equal(pickle.loads(sent).received(), view)
    assert np.array_equal(pickle.loads(pickle.dumps(Sent(mapped[:, 2]))).received(), values[:, 2])


def test_what_processes_cannot_share_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.network.SPARSE_ROWS", 5)
    with pytest.raises(ConfigError, match="learned row by row, which one process does; give training.devices: 1"):
        fit(tmp_path / "a", training={"devices": 2}, loss=LossConfig(memory=0))
    with pytest.raises(ConfigError, match="a search tries one process's trainings"):
        fit(tmp_path / "b", training={"devices": 2}, on_epoch=lambda record: None)
