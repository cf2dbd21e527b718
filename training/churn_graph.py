"""One ONNX graph from the parts of a churn model: table, candidates, blend, calibration as plain operators."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from recsys.calibration import Knots
from recsys.features.encoder import ArrayShape
from training.churn_inputs import Columns
from training.export import OPSET, customer_example, serialise

_TREES_OPSET = 3
_TYPES = {"float32": TensorProto.FLOAT, "int32": TensorProto.INT32}


class GraphParts:
    """What a graph is made of while candidates add to it."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._tabled = False
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def table(self) -> str:
        """Name of the table float32 [N, width], made when it is first asked for."""
        if not self._tabled:
            nodes, constants = self._columns.nodes()
            self.nodes += nodes
            self.constants += constants
            self._tabled = True
        return "table"

    def constant(self, name: str, values: np.ndarray) -> str:
        """Add a constant; its name."""
        self.constants.append(numpy_helper.from_array(values, name))
        return name

    def node(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """Add an operator of one output; its name."""
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output


def linear(parts: GraphParts, name: str, weights: np.ndarray, intercept: float) -> str:
    """log-odds [N, 1] of a linear model on the table."""
    weight = parts.constant(f"{name}_weights", weights.astype(np.float32)[:, None])
    bias = parts.constant(f"{name}_intercept", np.array([intercept], dtype=np.float32))
    return parts.node("Add", [parts.node("MatMul", [parts.table(), weight], f"{name}_sum"), bias], f"{name}_log_odds")


def finish(
    parts: GraphParts,
    shape: ArrayShape,
    arrays: Sequence[str],
    blend: Mapping[str, float],
    intercept: float,
    knots: Knots,
) -> bytes:
    """Customer arrays → `log_odds` [N], `probability` [N].

    blend: the weight of each [N, 1] among the parts. Log-odds are their weighted sum; a probability is the sum of
    ramps, slope · min(max(p - x, 0), width), at p = sigmoid(log-odds).
    """
    total = parts.constant("blend_intercept", np.array([intercept], dtype=np.float32))
    for name, weight in blend.items():
        scale = parts.constant(f"{name}_weight", np.array([weight], dtype=np.float32))
        total = parts.node("Add", [total, parts.node("Mul", [name, scale], f"{name}_weighted")], f"{name}_added")
    first = parts.constant("first", np.array([1], dtype=np.int64))
    parts.node("Squeeze", [total, first], "log_odds")
    _calibrated(parts, parts.node("Sigmoid", [total], "raw_probability"), knots)
    parts.node("Squeeze", ["calibrated", first], "probability")
    outputs: dict[str, tuple[str | int, ...]] = {"log_odds": ("batch",), "probability": ("batch",)}
    return as_model(parts, "churn", shape, arrays, outputs)


def as_model(
    parts: GraphParts,
    name: str,
    shape: ArrayShape,
    arrays: Sequence[str],
    outputs: Mapping[str, tuple[str | int, ...]],
    beside: Sequence[onnx.ValueInfoProto] = (),
) -> bytes:
    """The parts as a graph from these customer arrays, and inputs beside them, to float32 outputs of these sizes."""
    told = [helper.make_tensor_value_info(output, TensorProto.FLOAT, list(sizes)) for output, sizes in outputs.items()]
    inputs = [*_inputs(shape, arrays), *beside]
    graph = helper.make_graph(parts.nodes, name, inputs, told, parts.constants)
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", _TREES_OPSET)]
    return serialise(helper.make_model(graph, opset_imports=opsets))


def _calibrated(parts: GraphParts, raw: str, knots: Knots) -> None:
    x, y = np.array(knots.x, dtype=np.float32), np.array(knots.y, dtype=np.float64)
    width = np.diff(x)
    slope = (np.diff(y) / width.astype(np.float64)).astype(np.float32)[:, None]
    beyond = parts.node("Sub", [raw, parts.constant("knot_starts", x[:-1])], "beyond")
    above = parts.node("Max", [beyond, parts.constant("zero", np.zeros(1, dtype=np.float32))], "above")
    ramp = parts.node("Min", [above, parts.constant("knot_widths", width)], "ramps")
    summed = parts.node("MatMul", [ramp, parts.constant("knot_slopes", slope)], "ramps_summed")
    parts.node("Min", [summed, parts.constant("one", np.ones(1, dtype=np.float32))], "calibrated")


def _inputs(shape: ArrayShape, arrays: Sequence[str]) -> list[onnx.ValueInfoProto]:
    example = customer_example(shape)
    found = []
    for name in arrays:
        values = example[name].numpy()
        width = "width" if name == "tags" else values.shape[1]
        found.append(helper.make_tensor_value_info(name, _TYPES[str(values.dtype)], ["batch", width]))
    return found
