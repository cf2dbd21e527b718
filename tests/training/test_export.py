"""Exported graphs: the torch model's answers, the same bits in any batch, and nothing of this machine in them."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from recsys.errors import BundleError
from recsys.features.encoder import ArrayShape
from recsys.two_tower import ModelConfig, TwoTower
from training.export import export_two_tower, product_vectors, rank_graph, torch_ranking, torch_vectors

PRODUCTS, ROWS = 40, 1100
EVERYTHING = ArrayShape((5, 9), 3, 7, True, 6, 4, 14, PRODUCTS + 2, (4,), 2, 6)
SETS = ArrayShape((), 1, 0, False, 0, 0, 0, PRODUCTS + 2, (), 0, 0, held=5)
SEQUENCES = ArrayShape((), 0, 0, False, 6, 3, 0, PRODUCTS + 2, (), 0, 0)
IDS = [f"P{i:02d}" for i in range(PRODUCTS)]


def customers(shape: ArrayShape) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    arrays = {
        "categories": np.stack([rng.integers(0, n, ROWS) for n in shape.categories or (1,)], axis=1),
        "numbers": rng.normal(size=(ROWS, shape.numbers)),
        "missing": rng.random((ROWS, shape.numbers)).round(),
        "tags": rng.integers(0, shape.tags or 1, (ROWS, 5)),
        "holdings": (rng.random((ROWS, shape.products)) < 0.2) * 1.0,
        "held": rng.integers(0, shape.products, (ROWS, shape.held)) * (rng.random((ROWS, 1)) < 0.9),
        "history": rng.integers(0, shape.products, (ROWS, shape.history)) * (rng.random((ROWS, 1)) < 0.9),
        "history_kind": rng.integers(0, shape.kinds, (ROWS, shape.history)),
        "history_age": rng.integers(0, shape.ages or 1, (ROWS, shape.history)),
    }
    wanted = {
        *(["categories"] if shape.categories else []),
        *(["numbers", "missing"] if shape.numbers else []),
        *(["tags"] if shape.tags else []),
        *(["holdings"] if shape.holdings else []),
        *(["held"] if shape.held else []),
        *(["history", "history_kind"] if shape.history else []),
        *(["history_age"] if shape.ages else []),
    }
    return {n: v.astype(np.float32 if v.dtype == np.float64 else np.int32) for n, v in arrays.items() if n in wanted}


def catalogue(shape: ArrayShape) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    arrays = {"product": np.arange(2, PRODUCTS + 2, dtype=np.int32)}
    if shape.product_tags:
        arrays["product_categories"] = rng.integers(0, 4, (PRODUCTS, 1)).astype(np.int32)
        arrays["product_numbers"] = rng.normal(size=(PRODUCTS, 2)).astype(np.float32)
        arrays["product_missing"] = np.zeros((PRODUCTS, 2), dtype=np.float32)
        arrays["product_tags"] = rng.integers(0, 6, (PRODUCTS, 1)).astype(np.int32)
    return arrays


def model(shape: ArrayShape) -> TwoTower:
    torch.manual_seed(0)
    held = {name: torch.from_numpy(values) for name, values in catalogue(shape).items()}
    made = TwoTower(ModelConfig(number_waves=4), shape, held)
    for weight in made.parameters():
        if weight.ndim:
            weight.data += 0.1 * torch.randn_like(weight)
    return made.eval()


@pytest.fixture(scope="module", params=[EVERYTHING, SEQUENCES, SETS], ids=["everything", "sequences", "sets"])
def exported(request: pytest.FixtureRequest) -> tuple[ArrayShape, TwoTower, dict[str, bytes]]:
    shape = request.param
    made = model(shape)
    return shape, made, export_two_tower(made, shape, catalogue(shape), IDS)


def session(graph: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(graph, options)


def in_batches(graph: bytes, arrays: dict[str, np.ndarray], size: int) -> np.ndarray:
    count = len(next(iter(arrays.values())))
    run = session(graph)
    parts = [run.run(["vector"], {n: v[i : i + size] for n, v in arrays.items()})[0] for i in range(0, count, size)]
    return np.concatenate(parts)


@pytest.mark.parametrize("size", [1, 7, 512])
def test_customer_vectors_are_torchs_and_the_same_bits_in_any_batch(exported: tuple, size: int) -> None:
    shape, made, files = exported
    arrays = customers(shape)
    got = in_batches(files["recommender/customer.onnx"], arrays, size)
    assert np.array_equal(got, in_batches(files["recommender/customer.onnx"], arrays, ROWS))
    np.testing.assert_allclose(got, torch_vectors(made, arrays), atol=1e-5)


@pytest.mark.parametrize("size", [1, 7, PRODUCTS])
def test_product_vectors_are_torchs_and_the_same_bits_in_any_batch(exported: tuple, size: int) -> None:
    shape, made, files = exported
    got = in_batches(files["recommender/product.onnx"], catalogue(shape), size)
    assert np.array_equal(got, in_batches(files["recommender/product.onnx"], catalogue(shape), PRODUCTS))
    np.testing.assert_allclose(got, product_vectors(made, catalogue(shape)), atol=1e-5)


def test_inputs_and_outputs_are_named(exported: tuple) -> None:
    shape, _, files = exported
    for name, arrays in (("customer", customers(shape)), ("product", catalogue(shape))):
        run = session(files[f"recommender/{name}.onnx"])
        assert {i.name for i in run.get_inputs()} == set(arrays)
        assert [o.name for o in run.get_outputs()] == ["vector"]
        kinds = {i.name: i.type for i in run.get_inputs()}
        assert all(
            kinds[n] == ("tensor(float)" if v.dtype == np.float32 else "tensor(int32)") for n, v in arrays.items()
        )


def test_graphs_name_no_path_and_the_same_model_gives_the_same_bytes(exported: tuple) -> None:
    shape, _, files = exported
    assert export_two_tower(model(shape), shape, catalogue(shape), IDS) == files
    for name in ("customer", "product", "rank"):
        content = files[f"recommender/{name}.onnx"]
        graph = onnx.load_from_string(content)
        onnx.checker.check_model(graph, full_check=True)
        assert [o.version for o in graph.opset_import if o.domain == ""] == [18]
        assert b".py" not in content and str(Path.cwd()).encode() not in content
        assert not any(node.metadata_props or node.doc_string for node in graph.graph.node)


def test_the_item_table_is_the_catalogue_in_order(exported: tuple) -> None:
    shape, made, files = exported
    assert json.loads(files["recommender/products.json"]) == IDS
    with pytest.raises(BundleError, match="sorted"):
        export_two_tower(made, shape, catalogue(shape), IDS[::-1])


def test_ranking_masks_before_it_ranks_and_breaks_ties_by_index() -> None:
    run = session(rank_graph(2))
    products = np.array([[1, 0], [2, 0], [2, 0], [0, 1]], dtype=np.float32)
    excluded = np.array([[1, 3], [1, 1]])
    feeds = {"customers": np.array([[1, 0], [1, 0]], np.float32), "products": products, "excluded": excluded}
    feeds["eligible"] = np.ones(4, dtype=bool)
    scores, index = run.run(["scores", "index"], feeds | {"k": np.array([3])})
    assert index[0].tolist() == [1, 2, 0] and scores[0].tolist() == [2, 2, 1]
    assert index[1][:2].tolist() == [2, 0] and scores[1].tolist() == [2, 1, -np.inf]
    everything, _ = run.run(["scores", "index"], feeds | {"excluded": excluded[:0], "k": np.array([4])})
    assert everything.tolist() == [[2, 2, 1, 0]] * 2
    closed = {"eligible": np.array([True, False, True, True])}
    scores, index = run.run(["scores", "index"], feeds | closed | {"k": np.array([3])})
    assert index[0].tolist() == [2, 0, 3] and scores[0].tolist() == [2, 1, 0]
    assert index[1][:2].tolist() == [2, 0] and scores[1].tolist() == [2, 1, -np.inf]


def test_a_bias_is_added_to_the_product_of_the_other_dimensions() -> None:
    rng = np.random.default_rng(0)
    customers, products = (rng.normal(size=(n, 65)).astype(np.float32) for n in (20, 100))
    customers[:, -1] = 1.0
    feeds = {"customers": customers, "products": products, "eligible": np.ones(100, dtype=bool)}
    feeds |= {"excluded": np.array([[0, 1]]), "k": np.array([100])}
    expected, order = session(rank_graph(65)).run(["scores", "index"], feeds)
    scores, index = session(rank_graph(65, bias=True)).run(["scores", "index"], feeds)
    assert np.array_equal(order, index)
    np.testing.assert_allclose(scores, expected, atol=1e-5)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("size", [2, 8, 512])
def test_what_is_eligible_changes_no_bit_of_the_other_scores(size: int, bias: bool) -> None:
    run = session(rank_graph(65, bias))
    rng = np.random.default_rng(0)
    products = rng.normal(size=(1000, 65)).astype(np.float32)
    customers, pairs = rng.normal(size=(512, 65)).astype(np.float32), np.empty((0, 2), dtype=np.int64)
    feeds = {"products": products, "excluded": pairs, "k": np.array([1000])}
    everyone = run.run(["scores", "index"], feeds | {"customers": customers, "eligible": np.ones(1000, dtype=bool)})
    expected = np.empty((512, 1000), dtype=np.float32)
    np.put_along_axis(expected, everyone[1], everyone[0], axis=1)
    for eligible in (np.ones(1000, dtype=bool), rng.random(1000) < 0.3, np.arange(1000) == 7):
        scores = np.empty((512, 1000), dtype=np.float32)
        for start in range(0, 512, size):
            part = {"customers": customers[start : start + size], "eligible": eligible}
            best, index = run.run(["scores", "index"], feeds | part)
            np.put_along_axis(scores[start : start + size], index, best, axis=1)
        assert np.array_equal(scores[:, eligible], expected[:, eligible])
        assert np.all(scores[:, ~eligible] == -np.inf)


def test_torchs_ranking_is_the_graphs(exported: tuple) -> None:
    shape, made, files = exported
    vectors, products = torch_vectors(made, customers(shape)), product_vectors(made, catalogue(shape))
    excluded = np.random.default_rng(2).integers(0, PRODUCTS + 2, (ROWS, 4)).astype(np.int32)
    ids, scores = torch_ranking(made, vectors, catalogue(shape), IDS, excluded, 5)
    allowed = np.ones((ROWS, PRODUCTS + 2), dtype=bool)
    np.put_along_axis(allowed, excluded, False, axis=1)
    pairs = np.argwhere(~allowed[:, 2:])
    eligible = np.ones(PRODUCTS, dtype=bool)
    feeds = {"customers": vectors, "products": products, "eligible": eligible, "excluded": pairs, "k": np.array([5])}
    expected, index = session(files["recommender/rank.onnx"]).run(["scores", "index"], feeds)
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    assert np.mean([[IDS[i] for i in row] == found for row, found in zip(index, ids, strict=True)]) > 0.99


def test_lists_are_shorter_where_fewer_products_are_left() -> None:
    made, arrays = model(SEQUENCES), {name: values[:2] for name, values in customers(SEQUENCES).items()}
    excluded = np.tile(np.arange(2, PRODUCTS, dtype=np.int32), (2, 1))
    ids, scores = torch_ranking(made, torch_vectors(made, arrays), catalogue(SEQUENCES), IDS, excluded, 5)
    assert sorted(ids[0]) == IDS[-2:] and len(scores[0]) == 2
