"""Nodes of an ONNX graph, added one by one."""

from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper
from torch import Tensor


class Nodes:
    """The nodes and constants of a graph in the order in which they are added, with names of its own making."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []

    def add(self, operator: str, *inputs: "str | np.ndarray | Tensor", **attributes: Any) -> str:
        """A node with one output, whose name is returned; an array among the inputs becomes a constant."""
        return self.split(operator, 1, *inputs, **attributes)[0]

    def split(self, operator: str, count: int, *inputs: "str | np.ndarray | Tensor", **attributes: Any) -> list[str]:
        """A node with so many outputs."""
        names = [one if isinstance(one, str) else self._constant(one) for one in inputs]
        outputs = [f"n{len(self.nodes)}" if count == 1 else f"n{len(self.nodes)}_{i}" for i in range(count)]
        self.nodes.append(helper.make_node(operator, names, outputs, name=f"n{len(self.nodes)}", **attributes))
        return outputs

    def name_output(self, found: str, name: str) -> None:
        """Give a value that a node makes the name of an output; an input of the graph is passed through."""
        if not any(found in node.output for node in self.nodes):
            self.nodes.append(helper.make_node("Identity", [found], [name], name=name))
            return
        for node in self.nodes:
            for names in (node.input, node.output):
                for i, one in enumerate(names):
                    if one == found:
                        names[i] = name

    def _constant(self, values: "np.ndarray | Tensor") -> str:
        """Real numbers as float32, whole ones as they are."""
        array = values.numpy() if isinstance(values, Tensor) else np.asarray(values)
        if array.dtype.kind == "f":
            array = array.astype(np.float32)
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name
