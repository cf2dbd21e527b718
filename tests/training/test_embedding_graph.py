"""The graph of an embedding that is written by hand: it answers as the model does, whatever the model reads."""

from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from recsys.ahead import KNOTS, Ahead
from recsys.autoencoder import Autoencoder, AutoencoderConfig, Inputs
from recsys.embedding import OUTPUTS, Embedding
from recsys.features.encoder import ArrayShape
from recsys.sequence_encoder import SequenceConfig, SequenceEncoder
from training.embedding_graph import embedding_graph

TAG_WIDTH = 3
EVERYTHING: dict[str, Any] = {
    "categories": (5, 90, 3, 70),
    "numbers": 4,
    "tags": 7,
    "holdings": True,
    "history": 6,
    "kinds": 5,
    "ages": 14,
    "products": 9,
}
NOTHING: dict[str, Any] = {
    "categories": (),
    "numbers": 0,
    "tags": 0,
    "holdings": False,
    "history": 0,
    "kinds": 0,
    "ages": 0,
    "products": 2,
}
SHAPES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "everything": (EVERYTHING, {}),
    "some columns of it": (EVERYTHING, {"number_places": (0, 2), "category_places": (1, 2, 3)}),
    "no network": (EVERYTHING, {"layers": 0}),
    "three blocks": (EVERYTHING, {"layers": 3}),
    "numbers": (NOTHING | {"numbers": 3}, {}),
    "one small category": (NOTHING | {"categories": (6,)}, {}),
    "one large category": (NOTHING | {"categories": (80,)}, {}),
    "tags and one large category": (NOTHING | {"tags": 6, "categories": (80,)}, {}),
    "holdings": (NOTHING | {"holdings": True, "products": 8}, {}),
    "a history without dates": (EVERYTHING | {"ages": 0}, {"ahead": 0}),
    "what comes next without a history": (EVERYTHING | {"history": 0, "kinds": 0, "ages": 0}, {}),
    "what comes next without bends": (EVERYTHING, {"bends": 0}),
    "a history of one kind": (EVERYTHING | {"kinds": 3}, {}),
    "a history of one kind without dates": (EVERYTHING | {"kinds": 3, "ages": 0}, {}),
    "more pairs of kind and product than are counted": (EVERYTHING | {"products": 14_000}, {"holdings": False}),
}


def model_of(sizes: dict[str, Any], changes: dict[str, Any]) -> tuple[Embedding, ArrayShape]:
    """A model whose every weight is random, so that nothing that is left out goes unseen."""
    holdings = changes.get("holdings", sizes["holdings"])
    shape = ArrayShape(**sizes | {"holdings": holdings}, product_categories=(), product_numbers=0, product_tags=0)
    numbers = changes.get("number_places", tuple(range(shape.numbers)))
    categories = changes.get("category_places", tuple(range(len(shape.categories))))
    inputs = Inputs(
        numbers=tuple(f"n{i}" for i in numbers),
        categories=tuple(f"c{i}" for i in categories),
        number_places=numbers,
        category_places=categories,
        category_sizes=tuple(shape.categories[i] for i in categories),
        tags=shape.tags,
        products=shape.products if shape.holdings else 0,
    )
    torch.manual_seed(0)
    config = AutoencoderConfig(dim=5, hidden=12, layers=changes.get("layers", 1))
    gaps = torch.tensor([0.5 if i % 2 else 0.0 for i in range(len(numbers))])
    autoencoder = Autoencoder(config, inputs, torch.zeros(len(numbers), config.bins - 1), gaps)
    sequence = SequenceEncoder(SequenceConfig(dim=4, hidden=8), shape) if shape.history else None
    dim, width = changes.get("ahead", 5 if numbers else 0), autoencoder.scaled_width
    columns = width + len(KNOTS) * len(numbers)
    floors = torch.where(torch.arange(columns) < width, -1e30, 0.5 * torch.randn(columns))
    bends = changes.get("bends", 6)
    along = (0.5 * torch.randn(columns, bends), torch.randn(bends), torch.randn(bends, dim))
    ahead = Ahead(floors, 0.5 * torch.randn(columns, dim), *along) if dim else None
    model = Embedding(autoencoder, sequence, ahead).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(0.5 * torch.randn(weight.shape))
    return model, shape


def customers(shape: ArrayShape, names: tuple[str, ...], rows: int = 40) -> dict[str, np.ndarray]:
    """Arrays as an encoder makes them; every fourth customer is one about whom nothing is known."""
    rng = np.random.default_rng(0)
    events = rng.integers(0, shape.history + 1, rows)
    there = np.arange(shape.history)[None, :] >= shape.history - events[:, None]
    tags = rng.integers(1, max(shape.tags, 2), (rows, TAG_WIDTH))
    every = {
        "numbers": rng.normal(size=(rows, shape.numbers)),
        "missing": rng.integers(0, 2, (rows, shape.numbers)),
        "categories": np.floor(rng.random((rows, len(shape.categories))) * np.array(shape.categories)),
        "tags": np.where(np.arange(TAG_WIDTH) < rng.integers(0, TAG_WIDTH + 1, rows)[:, None], tags, 0),
        "holdings": rng.integers(0, 2, (rows, shape.products)),
        "history": np.where(there, rng.integers(1, shape.products, there.shape), 0),
        "history_kind": np.where(there, rng.integers(1, max(shape.kinds, 2), there.shape), 0),
        "history_age": np.where(there, rng.integers(1, max(shape.ages, 2), there.shape), 0),
    }
    real = ("numbers", "missing", "holdings")
    found = {name: every[name].astype(np.float32 if name in real else np.int32) for name in names}
    for values in found.values():
        values[::4] = 0
    return found


@pytest.mark.parametrize("case", SHAPES)
def test_the_graph_answers_as_the_model_does(case: str) -> None:
    model, shape = model_of(*SHAPES[case])
    arrays = customers(shape, model.arrays)
    tensors = {name: torch.from_numpy(values) for name, values in arrays.items()}
    with torch.no_grad():
        vectors, scaled, errors = model.raw(tensors)
        model.settle(vectors, errors)
        wanted = [values.numpy() for values in model(tensors)]
    session = onnxruntime.InferenceSession(embedding_graph(model, shape, TAG_WIDTH))
    found = session.run(list(OUTPUTS), arrays)
    for name, one, other in zip(OUTPUTS, found, wanted, strict=True):
        assert one.shape == other.shape, name
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=1e-5, err_msg=name)
    for size in (1, 7):
        parts = [
            session.run(list(OUTPUTS), {name: values[start : start + size] for name, values in arrays.items()})
            for start in range(0, 40, size)
        ]
        for name, one, other in zip(OUTPUTS, found, zip(*parts, strict=True), strict=True):
            assert np.array_equal(one, np.concatenate(other)), f"{name} of {size} customers at a time"


def test_the_model_is_left_as_it_was() -> None:
    model, shape = model_of(*SHAPES["everything"])
    before = {name: values.clone() for name, values in model.state_dict().items()}
    first = embedding_graph(model, shape, TAG_WIDTH)
    after = model.state_dict()
    assert all(
        after[name].dtype == values.dtype and torch.equal(after[name], values) for name, values in before.items()
    )
    assert embedding_graph(model, shape, TAG_WIDTH) == first
