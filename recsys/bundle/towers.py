"""Towers as graphs: the arrays that an encoder gives, in; vectors, out."""

import numpy as np

from recsys.bundle.bundle import Bundle
from recsys.bundle.graph import Graph, Port
from recsys.errors import DataError
from recsys.features.encoded import EncodedRows, Rows
from recsys.features.encoder import Encoder


def tower_vectors(graph: Graph, encoder: Encoder, rows: Rows, dimensions: int) -> np.ndarray:
    """float32 [N, dimensions] of feature rows. Raises DataError if a row gives no finite vector."""
    encoded = EncodedRows.of(rows, encoder)
    vectors = np.empty((encoded.height, dimensions), dtype=np.float32)
    for some, arrays in encoded.batches():
        (vectors[some],) = graph.run(arrays)
    broken = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(broken):
        raise DataError(
            f"customers: {len(broken):,} of {encoded.height:,} have values that give no finite vector "
            f"(first: {encoded.rows['customer_id'][int(broken[0])]})"
        )
    return vectors


def customer_ports(encoder: Encoder) -> dict[str, Port]:
    """The customer arrays that `Encoder.encode` gives, and so the inputs of the customer tower."""
    shape = encoder.shape
    ports = _side_ports("", len(shape.categories), shape.numbers, encoder.customer.tag_width if shape.tags else 0)
    if shape.holdings:
        ports["holdings"] = Port("float32", (None, shape.products))
    if shape.held:
        ports["held"] = Port("int32", (None, shape.held))
    if shape.history:
        names = ("history", "history_kind", "history_age") if shape.ages else ("history", "history_kind")
        ports |= {name: Port("int32", (None, shape.history)) for name in names}
    return ports


def product_ports(encoder: Encoder) -> dict[str, Port]:
    """The product arrays that `Encoder.encode_products` gives, and so the inputs of the product tower."""
    shape = encoder.shape
    width = encoder.product.tag_width if shape.product_tags else 0
    side = _side_ports("product_", len(shape.product_categories), shape.product_numbers, width)
    return {"product": Port("int32", (None,)), **side}


def _side_ports(prefix: str, categories: int, numbers: int, tags: int) -> dict[str, Port]:
    sizes = {"categories": ("int32", categories), "numbers": ("float32", numbers), "missing": ("float32", numbers)}
    sizes["tags"] = ("int32", tags)
    return {f"{prefix}{name}": Port(dtype, (None, size)) for name, (dtype, size) in sizes.items() if size}


def tower(bundle: Bundle, path: str, inputs: dict[str, Port], dimensions: int, threads: int) -> Graph:
    """A tower at `path` in the bundle: these arrays → `vector` [N, dimensions]."""
    outputs = {"vector": Port("float32", (None, dimensions))}
    return Graph(bundle.read(path), str(bundle.path / path), inputs, outputs, threads)
