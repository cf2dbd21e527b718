"""An ONNX graph with declared inputs and outputs, run so that a row's answer never depends on the rows beside it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnxruntime

from recsys.errors import BundleError

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(bool)": "bool",
}


_TWICE = np.zeros(2, dtype=np.int64)


@dataclass(frozen=True)
class Port:
    """What an input or output must be: dtype, and the size of each axis (None = decided when the graph is run)."""

    dtype: str
    shape: tuple[int | None, ...]
    rows: bool = True
    """Whether the first axis is the batch."""


class Graph:
    """A loaded graph.

    Threads are explicit and never follow the host. A batch of one row is run as two equal rows: ONNX Runtime's
    product of two inputs takes another path for a single row, which differs in the last bits. A graph without such a
    product is `repeatable` and run as it is asked.
    """

    def __init__(
        self,
        content: bytes,
        where: str,
        inputs: Mapping[str, Port],
        outputs: Mapping[str, Port],
        threads: int = 1,
        repeatable: bool = False,
    ) -> None:
        """`where` names the file in errors; BundleError if the graph's names, dtypes or shapes are not the declared."""
        if threads < 1:
            raise ValueError(f"threads: {threads} is less than 1")
        self.where = where
        self.inputs = dict(inputs)
        self.outputs = dict(outputs)
        self._wanted = [
            (name, np.dtype(port.dtype), len(port.shape), port.rows, _fixed(port)) for name, port in self.inputs.items()
        ]
        self._names = list(self.outputs)
        self._repeatable = repeatable
        try:
            self._session = onnxruntime.InferenceSession(content, _options(threads), providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own classes share no public base
            raise BundleError(f"{where}: not a graph that ONNX Runtime can run ({_first_line(error)})") from None
        _check_ports(where, "input", self._session.get_inputs(), self.inputs)
        _check_ports(where, "output", self._session.get_outputs(), self.outputs)

    def run(self, arrays: Mapping[str, np.ndarray]) -> tuple[np.ndarray, ...]:
        """The outputs in declared order; BundleError if the arrays are not the declared inputs, one batch long."""
        if arrays.keys() != self.inputs.keys():
            raise BundleError(f"{self.where}: needs the inputs {sorted(self.inputs)}, got {sorted(arrays)}")
        batch: int | None = None
        for name, dtype, axes, rows, fixed in self._wanted:
            array = arrays[name]
            fits = array.dtype == dtype and array.ndim == axes and all(array.shape[i] == size for i, size in fixed)
            if fits and rows:
                batch = array.shape[0] if batch is None else batch
                fits = array.shape[0] == batch
            if not fits:
                wanted = _describe(self.inputs[name])
                raise BundleError(
                    f"{self.where}: input {name!r} must be {wanted}, got {array.dtype.name} {array.shape}"
                )
        single = batch == 1 and not self._repeatable
        feeds: Mapping[str, np.ndarray] = dict(arrays)
        if single:
            feeds = {name: arrays[name][_TWICE] if port.rows else arrays[name] for name, port in self.inputs.items()}
        try:
            results = self._session.run(self._names, feeds)
        except Exception as error:  # as above
            raise BundleError(f"{self.where}: ONNX Runtime failed ({_first_line(error)})") from None
        if not single:
            return tuple(results)
        return tuple(r[:1] if p.rows else r for r, p in zip(results, self.outputs.values(), strict=True))


def _fixed(port: Port) -> tuple[tuple[int, int], ...]:
    """Axis and size of each axis whose size is declared."""
    return tuple((axis, size) for axis, size in enumerate(port.shape) if size is not None)


def _options(threads: int) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.enable_mem_pattern = False  # batches differ in size; a plan per size would only pile up
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Weights outside the graph's own bytes are looked for where there can be none: a graph reads no other file.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
    return options


def _check_ports(where: str, what: str, found: list[onnxruntime.NodeArg], declared: Mapping[str, Port]) -> None:
    nodes = {node.name: node for node in found}
    if missing := sorted(set(declared) - set(nodes)):
        raise BundleError(
            f"{where}: {what} {missing[0]!r} is missing; the graph has {', '.join(sorted(nodes)) or 'none'}"
        )
    if extra := sorted(set(nodes) - set(declared)):
        raise BundleError(f"{where}: {what} {extra[0]!r} is unknown; known are {', '.join(sorted(declared))}")
    for name, port in declared.items():
        node = nodes[name]
        dtype = _DTYPES.get(node.type, node.type)
        sizes = [size if isinstance(size, int) else None for size in node.shape]
        fits = len(sizes) == len(port.shape) and all(
            size is None or size == wanted for size, wanted in zip(sizes, port.shape, strict=True)
        )
        if dtype != port.dtype or not fits:
            raise BundleError(f"{where}: {what} {name!r} must be {_describe(port)}, the graph has {dtype} {node.shape}")


def _describe(port: Port) -> str:
    sizes = ["any" if size is None else str(size) for size in port.shape]
    return f"{port.dtype} [{', '.join(['batch', *sizes[1:]] if port.rows else sizes)}]"


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
