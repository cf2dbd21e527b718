"""A graph is what it is declared to be, and a row's answer does not depend on the rows beside it."""

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from recsys.bundle.graph import Graph, Port
from recsys.errors import BundleError

INPUTS = {"x": Port("float32", (None, 64)), "table": Port("float32", (None, 64), rows=False)}
OUTPUTS = {"y": Port("float32", (None, None))}


def similarity(
    columns: int | str = 64, dtype: int = TensorProto.FLOAT, name: str = "x", batch: int | str = "N"
) -> bytes:
    """y = x @ tableᵀ, a product of two inputs."""
    nodes = [
        helper.make_node("Transpose", ["table"], ["t"], perm=[1, 0]),
        helper.make_node("MatMul", [name, "t"], ["y"]),
    ]
    inputs = [
        helper.make_tensor_value_info(name, dtype, [batch, columns]),
        helper.make_tensor_value_info("table", dtype, ["P", columns]),
    ]
    graph = helper.make_graph(nodes, "g", inputs, [helper.make_tensor_value_info("y", dtype, [batch, "P"])])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("products", [1, 3, 25, 1001])
def test_a_row_has_the_same_bits_in_any_batch_on_any_number_of_threads(threads: int, products: int) -> None:
    rng = np.random.default_rng(products)
    x, table = (rng.normal(size=(n, 64)).astype(np.float32) for n in (512, products))
    graph = Graph(similarity(), "g.onnx", INPUTS, OUTPUTS, threads)
    (whole,) = Graph(similarity(), "g.onnx", INPUTS, OUTPUTS).run({"x": x, "table": table})
    assert np.allclose(whole, x @ table.T, atol=1e-4)
    for batch in (1, 2, 7, 511):
        parts = [graph.run({"x": x[i : i + batch], "table": table})[0] for i in range(0, 512, batch)]
        assert np.array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (similarity(name="z"), "input 'x' is missing; the graph has table, z"),
        (similarity(dtype=TensorProto.DOUBLE), "input 'x' must be float32 .*the graph has float64"),
        (similarity(columns=32), r"input 'x' must be float32 \[batch, 64\]"),
        (similarity(batch=8), None),
        (b"not a graph", "not a graph that ONNX Runtime can run"),
    ],
)
def test_another_graph_is_refused_by_name(content: bytes, message: str | None) -> None:
    with pytest.raises(BundleError, match=rf"^g\.onnx: {message or 'input .x. must be'}"):
        Graph(content, "g.onnx", INPUTS, OUTPUTS)


def test_unknown_inputs_and_missing_outputs_are_refused() -> None:
    with pytest.raises(BundleError, match="input 'table' is unknown; known are x"):
        Graph(similarity(), "g.onnx", {"x": INPUTS["x"]}, OUTPUTS)
    with pytest.raises(BundleError, match="output 'vector' is missing; the graph has y"):
        Graph(similarity(), "g.onnx", INPUTS, {"vector": OUTPUTS["y"]})


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.ones((2, 64), np.float32)}, r"needs the inputs \['table', 'x'\], got \['x'\]"),
        ({"x": np.ones((2, 64)), "table": np.ones((3, 64), np.float32)}, "input 'x' must be float32 .*got float64"),
        ({"x": np.ones((2, 63), np.float32), "table": np.ones((3, 63), np.float32)}, r"got float32 \(2, 63\)"),
    ],
)
def test_arrays_are_never_cast_or_guessed(arrays: dict[str, np.ndarray], message: str) -> None:
    graph = Graph(similarity(), "g.onnx", INPUTS, OUTPUTS)
    with pytest.raises(BundleError, match=message):
        graph.run(arrays)


def test_threads_are_explicit() -> None:
    with pytest.raises(ValueError, match="threads: 0"):
        Graph(similarity(), "g.onnx", INPUTS, OUTPUTS, threads=0)


@pytest.mark.parametrize("location", ["secret.bin", "../secret.bin", "absolute"])
def test_weights_in_another_file_are_never_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, location: str) -> None:
    (tmp_path / "inner").mkdir()
    for folder in (tmp_path, tmp_path / "inner"):
        (folder / "secret.bin").write_bytes(np.ones(64, np.float32).tobytes())
    monkeypatch.chdir(tmp_path / "inner")
    weight = numpy_helper.from_array(np.ones(64, np.float32), "w")
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    place = str(tmp_path / "secret.bin") if location == "absolute" else location
    for key, text in (("location", place), ("offset", "0"), ("length", "256")):
        weight.external_data.add(key=key, value=text)
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["y"])],
        "g",
        [value("x", TensorProto.FLOAT, ["N", 64])],
        [value("y", TensorProto.FLOAT, ["N", 64])],
        [weight],
    )
    content = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()
    with pytest.raises(BundleError, match=r"g\.onnx: not a graph"):
        Graph(content, "g.onnx", {"x": INPUTS["x"]}, {"y": Port("float32", (None, 64))})
