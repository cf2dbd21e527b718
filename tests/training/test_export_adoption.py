"""The graph of probabilities: the model's own answers with the calibration in it, in any batch and any company."""

import numpy as np
import onnxruntime
import pytest
import torch

from recsys.adoption import AdoptionModel
from recsys.calibration import Knots
from recsys.features.encoder import ArrayShape
from recsys.two_tower import ModelConfig
from training.export_adoption import probability_graph, torch_probabilities

PRODUCTS, ROWS, DIM = 40, 1100, 16
SHAPE = ArrayShape((), 4, 0, False, 0, 0, 0, PRODUCTS + 2, (), 0, 0)
CATALOGUE = {"product": np.arange(2, PRODUCTS + 2, dtype=np.int32)}
KNOTS = (
    Knots(x=(0.0, 0.02, 0.1, 0.4), y=(0.0, 0.01, 0.2, 0.3)),
    Knots(x=(0.0, 0.05, 0.06, 0.5), y=(0.0, 0.0, 0.1, 0.15)),
    Knots(x=(0.0, 0.9), y=(0.0, 1.0)),
)


@pytest.fixture(scope="module")
def model() -> AdoptionModel:
    torch.manual_seed(0)
    catalogue = {name: torch.from_numpy(values) for name, values in CATALOGUE.items()}
    made = AdoptionModel(ModelConfig(dim=DIM), SHAPE, catalogue, torch.full((PRODUCTS, 3), 0.05))
    for weight in made.parameters():
        weight.data += 0.1 * torch.randn_like(weight)
    return made.eval()


@pytest.fixture(scope="module")
def session(model: AdoptionModel) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(probability_graph(model, KNOTS), options)


def ask(
    session: onnxruntime.InferenceSession, model: AdoptionModel, vectors: np.ndarray, index: np.ndarray
) -> np.ndarray:
    with torch.no_grad():
        rows = model.product({name: torch.from_numpy(values) for name, values in CATALOGUE.items()}).numpy()
    return session.run(["probability"], {"customers": vectors, "products": rows, "index": index})[0]


def vectors() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(ROWS, DIM)).astype(np.float32)


def every() -> np.ndarray:
    return np.tile(np.arange(PRODUCTS), (ROWS, 1))


def test_probabilities_are_torchs_calibrated_by_the_knots(
    session: onnxruntime.InferenceSession, model: AdoptionModel
) -> None:
    found = ask(session, model, vectors(), every())
    expected = torch_probabilities(model, vectors(), CATALOGUE, KNOTS)
    assert found.shape == (ROWS, PRODUCTS, 3)
    np.testing.assert_allclose(found, expected, atol=2e-6)
    assert expected.std() > 0.05 and (expected[..., 2] > 0.5).any()


def test_a_longer_horizon_is_never_below_a_shorter_one(
    session: onnxruntime.InferenceSession, model: AdoptionModel
) -> None:
    """The second calibration is far below the first: without the running maximum this fails."""
    found = ask(session, model, vectors(), every())
    assert (np.diff(found, axis=2) >= 0).all() and (found[..., 1] == found[..., 0]).any()


@pytest.mark.parametrize("size", [2, 7, 512])
def test_the_same_bits_in_any_batch(session: onnxruntime.InferenceSession, model: AdoptionModel, size: int) -> None:
    whole = ask(session, model, vectors(), every())
    count = ROWS - ROWS % size
    parts = [ask(session, model, vectors()[i : i + size], every()[i : i + size]) for i in range(0, count, size)]
    assert np.array_equal(np.concatenate(parts), whole[:count])


@pytest.mark.parametrize("asked", [2, 3, 10, 17])
def test_the_same_bits_whichever_products_are_asked_for_beside(
    session: onnxruntime.InferenceSession, model: AdoptionModel, asked: int
) -> None:
    whole = ask(session, model, vectors(), every())
    index = np.random.default_rng(asked).integers(0, PRODUCTS, (ROWS, asked))
    found = ask(session, model, vectors(), index)
    assert np.array_equal(found, np.take_along_axis(whole, index[:, :, None], axis=1))


def test_the_same_model_gives_the_same_bytes(model: AdoptionModel) -> None:
    assert probability_graph(model, KNOTS) == probability_graph(model, KNOTS)


def test_a_single_horizon_works(model: AdoptionModel) -> None:
    torch.manual_seed(1)
    catalogue = {name: torch.from_numpy(values) for name, values in CATALOGUE.items()}
    one = AdoptionModel(ModelConfig(dim=DIM), SHAPE, catalogue, torch.full((PRODUCTS, 1), 0.05)).eval()
    found = ask(onnxruntime.InferenceSession(probability_graph(one, KNOTS[:1])), one, vectors(), every())
    np.testing.assert_allclose(found, torch_probabilities(one, vectors(), CATALOGUE, KNOTS[:1]), atol=2e-6)
