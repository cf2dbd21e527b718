"""`verify` passes a sound bundle and names what is wrong with any other."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, numpy_helper

from recsys.bundle import Bundle, Check, parity_record, recommender_answers, verify, write_item_table
from recsys.errors import DataError
from recsys.features.features import features
from recsys.features.invent import invent

Parts = dict[str, dict[str, bytes]]


def failed(checks: list[Check]) -> dict[str, str]:
    return {check.name: check.detail for check in checks if not check.ok}


def test_a_sound_bundle_passes_every_check(bundle: Bundle) -> None:
    checks = verify(bundle.path)
    assert failed(checks) == {}
    assert [check.name for check in checks] == [
        "files",
        "features and encoder",
        "item table",
        "customer.onnx",
        "product.onnx",
        "rank.onnx",
        "parity at batch 1",
        "parity at batch 7",
        "parity at batch 512",
        "equal bits",
    ]


def test_an_altered_file_fails_first_and_alone(bundle: Bundle) -> None:
    path = bundle.path / "recommender" / "products.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"\x00")
    (check,) = verify(bundle.path)
    assert not check.ok
    assert "products.npy: changed since it was written" in check.detail


def test_a_place_without_a_bundle_is_one_failed_check(bundle: Bundle) -> None:
    (check,) = verify(bundle.path / "nowhere")
    assert not check.ok


@pytest.mark.parametrize(("amount", "sound"), [(1e-7, True), (1e-4, False)])
def test_weights_that_moved_fail_parity(
    write: Callable[..., Bundle], with_file: Any, parts: Parts, amount: float, sound: bool
) -> None:
    model = ModelProto.FromString(parts["recommender"]["recommender/customer.onnx"])
    (weight,) = (tensor for tensor in model.graph.initializer if tensor.name == "numbers_weight")
    moved = numpy_helper.to_array(weight) + np.float32(amount)
    weight.CopyFrom(numpy_helper.from_array(moved, "numbers_weight"))
    checks = verify(write(with_file("recommender/customer.onnx", model.SerializeToString())).path)
    assert ("parity at batch 1" not in failed(checks)) == sound
    assert "equal bits" not in failed(checks)


def test_another_order_of_products_fails(write: Callable[..., Bundle], with_file: Any, parts: Parts) -> None:
    expected = json.loads(parts["parity"]["parity/expected.json"])
    expected["ids"][0][:2] = reversed(expected["ids"][0][:2])
    swapped = json.dumps(expected).encode()
    checks = failed(verify(write(with_file("parity/expected.json", swapped)).path))
    assert "2 of" in checks["parity at batch 512"]


def test_another_order_within_a_tie_passes(
    write: Callable[..., Bundle], with_file: Any, parts: Parts, bank: Any
) -> None:
    model = ModelProto.FromString(parts["recommender"]["recommender/customer.onnx"])
    for tensor in model.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(np.zeros_like(numpy_helper.to_array(tensor)), tensor.name))
    tables, examples = invent(bank.definition, bank.encoder, 4, seed=1)
    rows = features(tables, examples, bank.definition)
    backwards = [sorted(set(bank.encoder.products) - set(held), reverse=True) for held in rows["holdings"].to_list()]
    zeros = [[0.0] * len(row) for row in backwards]
    record = parity_record(tables, examples, recommender_answers(np.zeros((4, 5), np.float32), backwards, zeros))
    tied = {**with_file("recommender/customer.onnx", model.SerializeToString()), "parity": record}
    checks = verify(write(tied).path)
    assert failed(checks) == {}
    assert any("0 of" in check.detail and "in another order within a tie" in check.detail for check in checks)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda e: e["vectors"].pop(), "11 vectors for 12 examples"),
        (lambda e: e["ids"][0].__setitem__(0, "yacht"), "yacht"),
        (lambda e: (e["ids"][0].pop(), e["scores"][0].pop()), "other numbers of ranked products"),
        (lambda e: e["scores"][0].__setitem__(0, 99.0), "scores by"),
        (lambda e: e.pop("scores"), "scores"),
    ],
)
def test_another_record_fails(
    write: Callable[..., Bundle], with_file: Any, parts: Parts, change: Callable[[Any], Any], message: str
) -> None:
    expected = json.loads(parts["parity"]["parity/expected.json"])
    change(expected)
    checks = failed(verify(write(with_file("parity/expected.json", json.dumps(expected).encode())).path))
    assert message in " ".join(checks.values())


def test_parts_that_do_not_fit_are_reported_together(
    write: Callable[..., Bundle], with_file: Any, bank: Any, parts: Parts
) -> None:
    definition = bank.definition.model_copy(update={"history_length": 9, "windows": (7,)})
    other = with_file("features.json", definition.model_dump_json().encode())
    other["recommender"] = {**parts["recommender"], "recommender/rank.onnx": b"no graph"}
    checks = failed(verify(write(other, feature_hash=definition.hash()).path))
    assert "does not agree with the feature definition on numbers, history" in checks["features and encoder"]
    assert "rank.onnx: not a graph" in checks["rank.onnx"]
    assert "not replayed" in checks["parity"]


def test_the_item_table_must_be_the_catalogue(write: Callable[..., Bundle], with_file: Any, bank: Any) -> None:
    other = write_item_table(["aaa", *bank.encoder.products[1:]], bank.items)
    checks = failed(verify(write(with_file("recommender/products.json", other["recommender/products.json"])).path))
    assert "not the products of the encoder" in checks["item table"]


def test_the_record_is_of_invented_customers_and_complete(parts: Parts, bank: Any) -> None:
    tables = json.loads(parts["parity"]["parity/tables.json"])
    ids = tables["customers"]["columns"][0]["values"]
    assert not set(ids) & set(bank.tables["customers"]["customer_id"].to_list())
    expected = json.loads(parts["parity"]["parity/expected.json"])
    assert len(expected["vectors"]) == len(expected["ids"]) == len(expected["scores"]) == 12
    assert all(len(row) <= 10 for row in expected["ids"])


def test_a_record_that_does_not_belong_together_is_not_written(bank: Any) -> None:
    tables, examples = invent(bank.definition, bank.encoder, 2, seed=0)
    with pytest.raises(DataError, match="2 vectors, 1 lists of ids"):
        recommender_answers(np.zeros((2, 5)), [[]], [[], []])
    with pytest.raises(DataError, match="not finite"):
        recommender_answers(np.full((2, 5), np.nan), [[], []], [[], []])
    with pytest.raises(DataError, match="no example"):
        parity_record(tables, examples.clear())
