"""What the trees of uplift read: a customer's table, looks at the product, the action; in numpy and in ONNX."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper

from recsys.features.encoder import AGE_BUCKETS, FIRST, Encoder
from recsys.uplift.actions import ActionColumns
from training.churn_graph import GraphParts
from training.churn_inputs import Columns

LOOKING = ("viewed", "clicked", "enquired")
"""Kinds of interaction in which a product is looked at."""
SINCE = (5, 7)
"""Age buckets of the history up to which a look counts: below 32 days, below 128 days."""


@dataclass(frozen=True)
class Inputs:
    """Columns in order: the customer's table, their embedding, looks at the action's product, the action."""

    columns: Columns
    actions: ActionColumns
    looking: tuple[int, ...]
    """Kinds of the history that are looks; without any, looks are no columns."""
    kinds: int
    """Number of kind indices in the history."""
    dated: bool
    embedding: int = 0
    """Dimensions of the embedding, 0 for none."""

    @classmethod
    def of(
        cls, encoder: Encoder, arrays: Mapping[str, np.ndarray], actions: ActionColumns, embedding: int = 0
    ) -> "Inputs":
        """What varies in the arrays of the units."""
        shape = encoder.shape
        kinds = [FIRST + i for i, kind in enumerate(encoder.kinds) if kind in LOOKING] if shape.history else []
        looking = tuple(kinds) if actions.products else ()
        return cls(Columns.of(shape, arrays), actions, looking, shape.kinds, bool(shape.ages), embedding)

    @property
    def arrays(self) -> tuple[str, ...]:
        """Names of the customer arrays that are read."""
        history = ("history", "history_kind", *(("history_age",) if self.dated else ())) if self.looking else ()
        return (*self.columns.arrays, *history)

    @property
    def looks(self) -> int:
        """How many columns say how often the product was looked at."""
        return (len(SINCE) if self.dated else 1) if self.looking else 0

    def of_customers(self, arrays: Mapping[str, np.ndarray], embedding: np.ndarray | None = None) -> np.ndarray:
        """float32 [N, ·] the columns that no action changes."""
        table = self.columns.table(arrays)
        return table if embedding is None else np.concatenate([table, embedding.astype(np.float32)], axis=1)

    def looked(self, arrays: Mapping[str, np.ndarray], product: np.ndarray) -> np.ndarray:
        """float32 [N, looks]: how often each customer looked at the product of this index, int [N]."""
        if not self.looking:
            return np.zeros((len(product), 0), dtype=np.float32)
        seen = (arrays["history"] == product[:, None]) & np.isin(arrays["history_kind"], self.looking)
        if not self.dated:
            return seen.sum(axis=1, keepdims=True).astype(np.float32)
        age = arrays["history_age"]
        return np.stack([(seen & (age <= since)).sum(axis=1) for since in SINCE], axis=1).astype(np.float32)

    def nodes(self, parts: GraphParts) -> tuple[str, str]:
        """Operators to the columns of those contacted, and of those who are not; the names of both, [N, width].

        Inputs beside the customer arrays: `action` [1, width of actions], `product` [1], and `embedding`.
        """
        found = [parts.table()]
        if self.embedding:
            found.append("embedding")
        if self.looking:
            found += self._looks(parts)
        rows = parts.node("Concat", found, "customer_columns", axis=1)
        size = parts.node("Shape", [rows], "customers", start=0, end=1)
        wide = parts.constant("action_width", np.array([self.actions.width], dtype=np.int64))
        shape = parts.node("Concat", [size, wide], "action_shape", axis=0)
        kept = parts.constant("of_product", self.actions.of_product[None, :])
        without = parts.node("Mul", ["action", kept], "no_contact")
        names = []
        for name, action in (("contacted", "action"), ("untouched", without)):
            spread = parts.node("Expand", [action, shape], f"{name}_action")
            names.append(parts.node("Concat", [rows, spread], f"{name}_columns", axis=1))
        return names[0], names[1]

    def _looks(self, parts: GraphParts) -> list[str]:
        same = parts.node("Equal", ["history", "product"], "history_same")
        hit = parts.node("Cast", [same], "history_hit", to=TensorProto.FLOAT)
        kinds = np.zeros(self.kinds, dtype=np.float32)
        kinds[list(self.looking)] = 1
        look = parts.node("Gather", [parts.constant("look_kinds", kinds), "history_kind"], "history_look")
        seen = parts.node("Mul", [hit, look], "history_seen")
        if not self.dated:
            return [self._summed(parts, seen, "looks")]
        found = []
        for since in SINCE:
            ages = (np.arange(AGE_BUCKETS) <= since).astype(np.float32)
            near = parts.node("Gather", [parts.constant(f"ages_{since}", ages), "history_age"], f"near_{since}")
            found.append(self._summed(parts, parts.node("Mul", [seen, near], f"seen_{since}"), f"looks_{since}"))
        return found

    @staticmethod
    def _summed(parts: GraphParts, values: str, name: str) -> str:
        """[N, L] → [N, 1]; whole numbers, so the sum is exact in any order."""
        axis = parts.constant(f"{name}_axis", np.array([1], dtype=np.int64))
        return parts.node("ReduceSum", [values, axis], name, keepdims=1)

    def beside(self) -> Sequence[onnx.ValueInfoProto]:
        """The inputs beside the customer arrays."""
        found = [helper.make_tensor_value_info("action", TensorProto.FLOAT, [1, self.actions.width])]
        if self.looking:
            found.append(helper.make_tensor_value_info("product", TensorProto.INT32, [1]))
        if self.embedding:
            found.append(helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", self.embedding]))
        return found
