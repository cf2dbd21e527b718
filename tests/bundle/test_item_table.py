"""The item table is ids and numbers, and nothing that could be unpickled."""

import io
from typing import Any

import numpy as np
import pytest

from recsys.bundle.item_table import PRODUCT_IDS, PRODUCT_VECTORS, read_ids, read_vectors, write_item_table
from recsys.errors import BundleError


def npy(array: np.ndarray, **options: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, **options)
    return stream.getvalue()


def test_what_is_written_is_read() -> None:
    vectors = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    files = write_item_table(["a", "b", "ç"], vectors)
    assert read_ids(files[PRODUCT_IDS], "ids") == ["a", "b", "ç"]
    assert np.array_equal(read_vectors(files[PRODUCT_VECTORS], "vectors"), vectors)


@pytest.mark.parametrize("ids", [["b", "a"], ["a", "a"]])
def test_ids_out_of_order_are_not_written(ids: list[str]) -> None:
    with pytest.raises(BundleError, match="distinct and sorted"):
        write_item_table(ids, np.zeros((2, 3), np.float32))


@pytest.mark.parametrize(
    "vectors", [np.zeros((2, 3)), np.zeros((3, 3), np.float32), np.full((2, 3), np.nan, np.float32)]
)
def test_other_vectors_are_not_written(vectors: np.ndarray) -> None:
    with pytest.raises(BundleError, match=r"finite float32 \[2, D\] is expected"):
        write_item_table(["a", "b"], vectors)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an array file"),
        (npy(np.array([{"a": 1}], dtype=object), allow_pickle=True), "float32 .* is expected, the header says object"),
        (npy(np.zeros((2, 2))), "the header says float64"),
        (npy(np.zeros(4, np.float32)), "float32 .* is expected"),
        (npy(np.asfortranarray(np.zeros((2, 3), np.float32))), "float32 .* is expected"),
        (npy(np.zeros((2, 2), np.float32))[:-1], "float32 .* is expected"),
        (npy(np.zeros((2, 2), np.float32)) + b"x", "float32 .* is expected"),
        (npy(np.zeros((2, 2), np.float32)).replace(b"(2, 2), }    ", b"(2, 2000000)"), "not an array file|is expected"),
        (npy(np.full((2, 2), np.inf, np.float32)), "values that are not finite"),
    ],
)
def test_other_array_files_are_refused(content: bytes, message: str) -> None:
    with pytest.raises(BundleError, match=message):
        read_vectors(content, "vectors")


@pytest.mark.parametrize("content", [b"{}", b"[]", b"[1]", b'["b", "a"]', b'["a", "a"]', b"["])
def test_other_ids_are_refused(content: bytes) -> None:
    with pytest.raises(BundleError, match="ids: "):
        read_ids(content, "ids")
