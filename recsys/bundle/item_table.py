"""The product vectors and their order, as files that hold nothing but numbers and ids."""

import io
from collections.abc import Sequence

import numpy as np

from recsys.bundle.manifest import canonical_json, parse_json
from recsys.errors import BundleError

PRODUCT_IDS = "recommender/products.json"
PRODUCT_VECTORS = "recommender/products.npy"


def write_item_table(products: Sequence[str], vectors: np.ndarray) -> dict[str, bytes]:
    """Ids sorted, vectors float32 [P, D] in their order → the two files."""
    ids = list(products)
    if ids != sorted(set(ids)):
        raise BundleError(f"{PRODUCT_IDS}: the product ids must be distinct and sorted")
    if vectors.dtype != np.float32 or vectors.ndim != 2 or len(vectors) != len(ids) or not np.isfinite(vectors).all():
        raise BundleError(
            f"{PRODUCT_VECTORS}: finite float32 [{len(ids)}, D] is expected, got {vectors.dtype} {vectors.shape}"
        )
    return {PRODUCT_IDS: canonical_json(ids), PRODUCT_VECTORS: array_file(vectors)}


def array_file(values: np.ndarray) -> bytes:
    """The .npy file of an array."""
    stream = io.BytesIO()
    np.save(stream, np.ascontiguousarray(values), allow_pickle=False)
    return stream.getvalue()


def read_ids(content: bytes, where: str) -> list[str]:
    """The product ids, checked to be distinct and sorted, so that the lower row of a tie has the lower id."""
    ids = parse_json(content, where)
    if not isinstance(ids, list) or not ids or not all(isinstance(product, str) for product in ids):
        raise BundleError(f"{where}: a list of product ids is expected")
    if ids != sorted(set(ids)):
        raise BundleError(f"{where}: the product ids must be distinct and sorted")
    return ids


def read_vectors(content: bytes, where: str) -> np.ndarray:
    """The float32 [P, D] in a .npy file whose header promises just the bytes that follow; nothing is unpickled."""
    stream = io.BytesIO(content)
    try:
        if np.lib.format.read_magic(stream) != (1, 0):
            raise ValueError("not version 1.0 of the format")
        shape, by_column, dtype = np.lib.format.read_array_header_1_0(stream)
    except Exception as error:  # NumPy reads the header as Python text, and lets that reader's errors through
        raise BundleError(f"{where}: not an array file ({error})") from None
    start = stream.tell()
    wanted = dtype == np.dtype("<f4") and len(shape) == 2 and not by_column and min(shape) > 0
    if not wanted or len(content) - start != 4 * shape[0] * shape[1]:
        raise BundleError(f"{where}: float32 [products, dimensions] is expected, the header says {dtype} {shape}")
    vectors = np.frombuffer(content, dtype="<f4", offset=start).reshape(shape)
    if not np.isfinite(vectors).all():
        raise BundleError(f"{where}: holds values that are not finite")
    return vectors
