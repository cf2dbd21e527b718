"""The spectral starts: their formulas, the reading of the arrays, and what a fit gains from it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recsys.two_tower import ModelConfig, TwoTower
from tests.training.test_network import CUSTOMERS, PRODUCTS, SHAPE, as_lists, checkerboard, fit, same_weights
from training import spectral
from training.batches import Examples
from training.loop import FitResult
from training.spectral import LENGTH, spectral_table, tag_table

WIDTH = PRODUCTS + 2


def random_examples(rows: int = 300) -> tuple[Examples, np.ndarray]:
    """Examples with lists of random products, and the matrix float64 [rows, WIDTH] of what each names."""
    rng = np.random.default_rng(0)
    held = rng.integers(0, WIDTH, (rows, 4)).astype(np.int32)
    targets = rng.integers(0, WIDTH, (rows, 2)).astype(np.int32)
    named = np.zeros((rows, WIDTH))
    for lists in (held, targets):
        np.put_along_axis(named, lists, 1.0, axis=1)
    named[:, :2] = 0
    return Examples({"held": held}, targets, held, np.ones(rows, dtype=np.float32)), named


def test_scores_are_the_filtered_matrix() -> None:
    """A row's normalised products times the table, in full rank, is U exp(4 s) Vᵀ of the normalised matrix."""
    examples, named = random_examples()
    table = spectral_table(examples, WIDTH, PRODUCTS - 1, seed=0).astype(np.float64)
    scaled = named / np.sqrt(named.sum(1, keepdims=True) + 10) / np.sqrt(named.sum(0) + 20)
    left, singular, right = np.linalg.svd(scaled, full_matrices=False)
    left, singular, right = left[:, :-3], singular[:-3], right[:-3]  # two empty columns, one direction too many
    expected = left * singular[0] * np.exp(4 * singular / singular[0]) @ right
    scores = scaled @ table @ table.T
    assert np.corrcoef(scores.ravel(), expected.ravel())[0, 1] > 0.99999
    assert np.allclose(scores / scores.std(), expected / expected.std(), atol=1e-3)


def test_the_table_has_no_rows_for_what_is_no_product_and_zeros_for_surplus_directions() -> None:
    examples, _ = random_examples()
    table = spectral_table(examples, WIDTH, 40, seed=0)
    assert table.shape == (WIDTH, 40) and table.dtype == np.float32
    assert not table[:2].any() and not table[:, WIDTH - 1 :].any()
    assert np.linalg.norm(table[2:], axis=1).mean() == pytest.approx(LENGTH, rel=1e-5)


def test_lists_columns_and_slices_read_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, ones = checkerboard(), np.ones(CUSTOMERS, dtype=np.float32)
    columns = Examples(asked["arrays"], asked["targets"], asked["excluded"], ones)
    lists = Examples(as_lists(asked)["arrays"], asked["targets"], asked["excluded"], ones)
    table = spectral_table(columns, WIDTH, 4, seed=0)
    monkeypatch.setattr(spectral, "_SLICE", 7)
    assert np.array_equal(table, spectral_table(lists, WIDTH, 4, seed=0))
    assert np.array_equal(table, spectral_table(columns, WIDTH, 4, seed=0))


def test_nothing_held_gives_zeros() -> None:
    none = np.zeros((3, 1), dtype=np.int32)
    assert not spectral_table(Examples({}, none, none, np.ones(3, dtype=np.float32)), WIDTH, 4, seed=0).any()


def test_one_short_epoch_is_enough_with_it_and_a_finished_fit_stays(tmp_path: Path) -> None:
    """The checkerboard's two groups are its first directions; the same fit from a random table does not know them."""
    shape = replace(SHAPE, holdings=False, held=PRODUCTS)
    lists = as_lists(checkerboard()) | {"validation": as_lists(checkerboard(60, seed=1)), "shape": shape}
    short = {"epochs": 1, "learning_rate": 1e-5, "metric": "recall@1"}

    def with_start(name: str, on: bool, **changes: Any) -> FitResult[TwoTower]:
        model = ModelConfig(dim=16, layers=0, dropout=0.0, item_bias=False, spectral_start=on)
        return fit(tmp_path / name, model=model, training=short, **lists, **changes)

    helped, again, random = with_start("a", True), with_start("b", True), with_start("c", False)
    assert helped.metric == 1.0 > random.metric
    assert same_weights(helped, again)
    assert torch.equal(with_start("a", True).model.ids.weight, helped.model.ids.weight)


def test_products_with_the_same_tags_start_alike_by_how_rare_these_are() -> None:
    """In full rank the mean over a product's tags is its tf-idf row, turned and scaled: cosines are the same."""
    rng = np.random.default_rng(1)
    has = rng.random((40, 9)) < np.linspace(0.1, 0.7, 9)
    has[:, 8] = True
    tags = np.zeros((40, 9), dtype=np.int32)
    for row, words in enumerate(has):
        named = 2 + np.flatnonzero(words)
        tags[row, : len(named)] = rng.permutation(named)
    table = tag_table(tags, words=12, dim=16, seed=0)
    assert table.shape == (12, 16) and table.dtype == np.float32
    assert not table[:2].any() and not table[11].any(), "padding, unknown, and a tag that no product has"
    found = np.stack([table[row[row > 0]].mean(axis=0) for row in tags])
    np.testing.assert_allclose(cosines(found), cosines(has * np.log1p(40 / has.sum(axis=0))), atol=1e-4)
    assert np.linalg.norm(found, axis=1).mean() == pytest.approx(0.3, rel=1e-5)


def cosines(rows: np.ndarray) -> np.ndarray:
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit @ unit.T


def test_a_fit_starts_its_tags_there_if_asked(tmp_path: Path) -> None:
    tags = np.array([[2 + product % 2, 4 + product // 4] for product in range(PRODUCTS)], dtype=np.int32)
    products = {"product": np.arange(2, WIDTH, dtype=np.int32), "product_tags": tags}
    shape = replace(SHAPE, product_tags=7)
    near = {}
    for on in (True, False):
        model = ModelConfig(dim=16, layers=0, dropout=0.0, tag_start=on)
        short = {"epochs": 1, "learning_rate": 1e-5}
        fitted = fit(tmp_path / str(on), model=model, training=short, shape=shape, products=products)
        found = fitted.model.product_tower.attributes.tags.weight.detach().numpy()
        near[on] = np.abs(found - tag_table(tags, 7, 16, seed=0))[2:].max()
    assert near[True] < 1e-3 < near[False]
