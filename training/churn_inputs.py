"""Customer arrays as one table of numbers, for models that read no arrays: in numpy, and as ONNX operators."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from recsys.errors import DataError
from recsys.features.encoder import FIRST, ArrayShape

ONE_HOT = 64
"""Categories of more values have a column of their place in the vocabulary, which is by frequency, not one for each."""


@dataclass(frozen=True)
class Columns:
    """Which columns the table has; those that never vary in training are left out.

    The history is read through its windows among the numbers, not here.
    """

    numbers: int
    missing: tuple[int, ...]
    """Numbers whose missing flag is a column."""
    values: tuple[tuple[int, int], ...]
    """(category, index): a column that is 1 where the category has this index."""
    ranks: tuple[int, ...]
    """Categories whose index is a column."""
    tags: tuple[int, ...]
    """Tags that are a column."""
    holdings: tuple[int, ...]
    """Columns of the holdings that are read."""

    @classmethod
    def of(cls, shape: ArrayShape, arrays: Mapping[str, np.ndarray]) -> "Columns":
        """The columns that vary in these arrays. Raises DataError if there are none."""
        values = [
            (place, index)
            for place, size in enumerate(shape.categories)
            if size <= ONE_HOT
            for index in _varying(arrays["categories"][:, place, None] == np.arange(size))
        ]
        tags = _varying(_hot(arrays["tags"], shape.tags)) if shape.tags else []
        held = _varying(arrays["holdings"] > 0) if shape.holdings else []
        found = cls(
            numbers=shape.numbers,
            missing=tuple(_varying(arrays["missing"] > 0)) if shape.numbers else (),
            values=tuple(values),
            ranks=tuple(i for i, size in enumerate(shape.categories) if size > ONE_HOT),
            tags=tuple(i for i in tags if i >= FIRST),
            holdings=tuple(held),
        )
        if not found.width:
            raise DataError("no number, category, tag or holding of a customer is left to learn from")
        return found

    @property
    def width(self) -> int:
        """Number of columns."""
        parts = (self.missing, self.values, self.ranks, self.tags, self.holdings)
        return self.numbers + sum(map(len, parts))

    @property
    def arrays(self) -> tuple[str, ...]:
        """Names of the arrays that are read."""
        read = {
            "categories": self.values or self.ranks,
            "numbers": self.numbers,
            "missing": self.missing,
            "tags": self.tags,
            "holdings": self.holdings,
        }
        return tuple(name for name, any_of in read.items() if any_of)

    def table(self, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
        """Customer arrays → float32 [N, width]."""
        parts: list[np.ndarray] = []
        if self.numbers:
            parts.append(arrays["numbers"])
        if self.missing:
            parts.append(arrays["missing"][:, self.missing])
        if self.values:
            place, index = np.array(self.values).T
            parts.append(arrays["categories"][:, place] == index)
        if self.ranks:
            parts.append(arrays["categories"][:, self.ranks])
        if self.tags:
            parts.append(_hot(arrays["tags"], max(self.tags) + 1)[:, self.tags])
        if self.holdings:
            parts.append(arrays["holdings"][:, self.holdings])
        return np.concatenate([part.astype(np.float32) for part in parts], axis=1)

    def nodes(self) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
        """Operators from the arrays, by their names, to `table`, with their constants."""
        nodes: list[onnx.NodeProto] = []
        constants: dict[str, np.ndarray] = {}
        parts: list[str] = []

        def gathered(array: str, places: tuple[int, ...], name: str) -> str:
            constants[f"{name}_places"] = np.array(places, dtype=np.int64)
            nodes.append(helper.make_node("Gather", [array, f"{name}_places"], [name], axis=1))
            return name

        def as_float(source: str) -> None:
            nodes.append(helper.make_node("Cast", [source], [f"{source}_float"], to=TensorProto.FLOAT))
            parts.append(f"{source}_float")

        if self.numbers:
            parts.append("numbers")
        if self.missing:
            parts.append(gathered("missing", self.missing, "table_missing"))
        if self.values:
            gathered("categories", tuple(place for place, _ in self.values), "value_categories")
            constants["value_indices"] = np.array([index for _, index in self.values], dtype=np.int32)
            nodes.append(helper.make_node("Equal", ["value_categories", "value_indices"], ["values"]))
            as_float("values")
        if self.ranks:
            as_float(gathered("categories", self.ranks, "ranks"))
        if self.tags:
            constants |= {"tag_words": np.array(self.tags, np.int32)[:, None], "tag_axis": np.array([1], np.int64)}
            nodes.append(helper.make_node("Unsqueeze", ["tags", "tag_axis"], ["tags_row"]))
            nodes.append(helper.make_node("Equal", ["tags_row", "tag_words"], ["tag_found"]))
            nodes.append(helper.make_node("Cast", ["tag_found"], ["tag_found_float"], to=TensorProto.FLOAT))
            constants["tag_last"] = np.array([2], np.int64)
            nodes.append(helper.make_node("ReduceMax", ["tag_found_float", "tag_last"], ["table_tags"], keepdims=0))
            parts.append("table_tags")
        if self.holdings:
            parts.append(gathered("holdings", self.holdings, "table_holdings"))
        nodes.append(helper.make_node("Concat", parts, ["table"], axis=1))
        return nodes, [numpy_helper.from_array(value, name) for name, value in constants.items()]


def _varying(found: np.ndarray) -> list[int]:
    """Columns of bool [N, C] that are neither always nor never true."""
    return [int(i) for i in np.flatnonzero(found.any(axis=0) & ~found.all(axis=0))]


def _hot(tags: np.ndarray, words: int) -> np.ndarray:
    """int32 [N, K], 0 for none → bool [N, words], true for each tag."""
    hot = np.zeros((len(tags), words), dtype=bool)
    row, place = np.nonzero(tags < words)
    hot[row, tags[row, place]] = True
    return hot
