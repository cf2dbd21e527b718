"""A small bank, an encoder fitted on it, and a linear recommender written by hand as ONNX graphs."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import polars as pl
import pytest
from onnx import TensorProto, helper, numpy_helper

from recsys.bundle import (
    Bundle,
    Port,
    customer_ports,
    parity_record,
    product_ports,
    recommender_answers,
    write_bundle,
    write_item_table,
)
from recsys.features.definition import Column, FeatureDefinition
from recsys.features.encoder import Encoder
from recsys.features.encoder_state import EncoderState
from recsys.features.examples import scoring_examples
from recsys.features.features import features
from recsys.features.invent import invent

DAY = date(2024, 1, 1)
PRODUCTS = ["bond", "card", "cash", "fund", "gold", "home", "loan", "save"]
DIMENSIONS = 5
ONNX_TYPES = {"float32": TensorProto.FLOAT, "int32": TensorProto.INT32}
Parts = dict[str, dict[str, bytes]]


@dataclass(frozen=True)
class Bank:
    """Tables of 40 customers, what was fitted on them, and the weights of a linear model over the arrays."""

    tables: dict[str, pl.DataFrame]
    examples: pl.DataFrame
    definition: FeatureDefinition
    encoder: Encoder
    weights: dict[str, np.ndarray]
    items: np.ndarray

    def expected_vectors(self, rows: pl.DataFrame) -> np.ndarray:
        """The model in float64, with no ONNX in it."""
        arrays = self.encoder.encode(rows)
        return sum(arrays[name].astype(np.float64) @ weight for name, weight in self.weights.items())


@pytest.fixture(scope="session")
def bank() -> Bank:
    rng = np.random.default_rng(0)
    ids = [f"c{i:02d}" for i in range(40)]
    owner = rng.integers(0, 39, 150)
    events = pl.DataFrame(
        {
            "customer_id": [ids[i] for i in owner],
            "product_id": [PRODUCTS[i] for i in rng.integers(0, 8, 150)],
            "kind": [("acquired", "viewed", "closed")[i] for i in rng.choice(3, 150, p=[0.5, 0.4, 0.1])],
            "at": [datetime(2023, 1, 1) + timedelta(hours=int(h)) for h in rng.integers(0, 8760, 150)],
            "event_id": [f"e{i:03d}" for i in range(150)],
        },
        schema_overrides={"at": pl.Datetime("us")},
    )
    income = [None if i % 7 == 0 else float(v) for i, v in enumerate(rng.lognormal(10, 1, 40))]
    customers = pl.DataFrame({"customer_id": ids, "income": income, "region": [f"r{i % 4}" for i in range(40)]})
    products = pl.DataFrame({"product_id": PRODUCTS, "family": ["a", "b"] * 4})
    definition = FeatureDefinition(
        dated=True,
        windows=(30, 365),
        history_length=6,
        profile=(Column(name="income", kind="number"), Column(name="region", kind="category")),
        product_attributes=(Column(name="family", kind="category"),),
        holdings=True,
        holdings_length=128,
        interaction_kinds=("acquired", "closed", "viewed"),
        history_kinds=("acquired", "closed", "viewed"),
        transactions=False,
        transaction_categories=(),
        transaction_channels=(),
        contacts=False,
        contact_channels=(),
        balances=False,
        accounts=False,
    )
    tables = {"customers": customers, "products": products, "interactions": events}
    examples = scoring_examples(ids, DAY)
    state = EncoderState(definition, products)
    state.update(features(tables, examples, definition))
    encoder = state.finish()
    ports = customer_ports(encoder)
    weights = {
        name: rng.normal(size=(port.shape[1] or 1, DIMENSIONS)).astype(np.float32) / 10 for name, port in ports.items()
    }
    items = rng.normal(size=(len(PRODUCTS), DIMENSIONS)).astype(np.float32)
    return Bank(tables, examples, definition, encoder, weights, items)


@pytest.fixture(scope="session")
def parts(bank: Bank) -> Parts:
    tables, examples = invent(bank.definition, bank.encoder, 12, seed=3)
    rows = features(tables, examples, bank.definition)
    vectors = bank.expected_vectors(rows)
    scores = np.where(held(rows), -np.inf, vectors @ bank.items.astype(np.float64).T)
    order = np.argsort(-scores, axis=1, kind="stable")
    ids = [[PRODUCTS[i] for i in row] for row in order]
    return {
        "features": {
            "config.yaml": f"name: linear\nmodel:\n  dim: {DIMENSIONS}\nserving:\n  exclude_held: true\n".encode(),
            "features.json": bank.definition.model_dump_json(indent=1).encode(),
            "encoder.json": bank.encoder.model_dump_json(indent=1).encode(),
        },
        "recommender": {
            "recommender/customer.onnx": customer_onnx(customer_ports(bank.encoder), bank.weights),
            "recommender/product.onnx": product_onnx(bank.encoder, bank.items),
            "recommender/rank.onnx": rank_onnx(),
            **write_item_table(PRODUCTS, bank.items),
        },
        "parity": parity_record(
            tables, examples, recommender_answers(vectors, ids, np.take_along_axis(scores, order, axis=1))
        ),
        "report": {"report/metrics.json": b'{"ndcg@10": 0.5}\n'},
    }


@pytest.fixture
def write(bank: Bank, tmp_path: Path) -> Callable[..., Bundle]:
    """Write parts as a bundle under the test's own folder."""

    def write_parts(parts: Parts, **changed: Any) -> Bundle:
        about = {"identity": "ab" * 32, "version": 3, "source": "by hand", "as_of": DAY}
        arguments = {"lake": about, "feature_hash": bank.definition.hash(), "seconds": {"fit": 1.5}, **changed}
        return write_bundle(tmp_path / "bundles", "linear", parts, **arguments)

    return write_parts


@pytest.fixture
def bundle(write: Callable[..., Bundle], parts: Parts) -> Bundle:
    return write(parts)


@pytest.fixture
def with_file(parts: Parts) -> Callable[..., Parts]:
    """The parts with one file replaced."""

    def replace(path: str, content: bytes) -> Parts:
        return {
            part: {name: content if name == path else old for name, old in files.items()}
            for part, files in parts.items()
        }

    return replace


@pytest.fixture
def forge() -> Callable[..., None]:
    """Rewrite a bundle's manifest by a function, with every hash in it made right again."""

    def forge_manifest(bundle: Bundle, change: Callable[[dict[str, Any]], None]) -> None:
        manifest = json.loads((bundle.path / "manifest.json").read_bytes())
        change(manifest)
        manifest.pop("manifest_sha256", None)
        for part in manifest["parts"].values():
            part["hash"] = sha256(sorted([path, entry["sha256"]] for path, entry in part["files"].items()))
        manifest["bundle_id"] = sha256({name: part["hash"] for name, part in manifest["parts"].items()})[:16]
        manifest["manifest_sha256"] = sha256(manifest)
        text = json.dumps(manifest, sort_keys=True, ensure_ascii=False, indent=2, separators=(",", ": "))
        (bundle.path / "manifest.json").write_text(text + "\n", encoding="utf-8")

    return forge_manifest


def sha256(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(f"{text}\n".encode()).hexdigest()


def held(rows: pl.DataFrame) -> np.ndarray:
    return np.array([[product in holdings for product in PRODUCTS] for holdings in rows["holdings"].to_list()])


def customer_onnx(ports: dict[str, Port], weights: dict[str, np.ndarray]) -> bytes:
    """vector = Σ array @ weight."""
    nodes, terms = [], []
    for name in ports:
        nodes.append(helper.make_node("Cast", [name], [f"{name}_float"], to=TensorProto.FLOAT))
        nodes.append(helper.make_node("MatMul", [f"{name}_float", f"{name}_weight"], [f"{name}_term"]))
        terms.append(f"{name}_term")
    nodes.append(helper.make_node("Sum", terms, ["vector"]))
    initial = [numpy_helper.from_array(weights[name], f"{name}_weight") for name in ports]
    return model(nodes, [value(name, port) for name, port in ports.items()], [vector_value()], initial)


def product_onnx(encoder: Encoder, items: np.ndarray) -> bytes:
    """vector = table[product] + 0 · (the attributes)."""
    ports = product_ports(encoder)
    table = np.concatenate([np.zeros((2, DIMENSIONS), dtype=np.float32), items])
    nodes = [
        helper.make_node("Gather", ["table", "product"], ["found"]),
        helper.make_node("Cast", ["product_categories"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["float", "nothing"], ["zeros"]),
        helper.make_node("Add", ["found", "zeros"], ["vector"]),
    ]
    nothing = np.zeros((ports["product_categories"].shape[1] or 1, DIMENSIONS), dtype=np.float32)
    initial = [numpy_helper.from_array(table, "table"), numpy_helper.from_array(nothing, "nothing")]
    return model(nodes, [value(name, port) for name, port in ports.items()], [vector_value()], initial)


def rank_onnx() -> bytes:
    nodes = [
        helper.make_node("Transpose", ["products"], ["columns"], perm=[1, 0]),
        helper.make_node("MatMul", ["customers", "columns"], ["every"]),
        helper.make_node("Where", ["eligible", "every", "never"], ["product"]),
        helper.make_node("Shape", ["excluded"], ["pairs"], start=0, end=1),
        helper.make_node("Expand", ["never", "pairs"], ["nevers"]),
        helper.make_node("ScatterND", ["product", "excluded", "nevers"], ["masked"]),
        helper.make_node("TopK", ["masked", "k"], ["scores", "index"], largest=1, sorted=1),
    ]
    inputs = [
        helper.make_tensor_value_info("customers", TensorProto.FLOAT, ["N", "D"]),
        helper.make_tensor_value_info("products", TensorProto.FLOAT, ["P", "D"]),
        helper.make_tensor_value_info("eligible", TensorProto.BOOL, ["P"]),
        helper.make_tensor_value_info("excluded", TensorProto.INT64, ["M", 2]),
        helper.make_tensor_value_info("k", TensorProto.INT64, [1]),
    ]
    outputs = [
        helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", "K"]),
        helper.make_tensor_value_info("index", TensorProto.INT64, ["N", "K"]),
    ]
    return model(nodes, inputs, outputs, [helper.make_tensor("never", TensorProto.FLOAT, [1], [-np.inf])])


def value(name: str, port: Port) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, ONNX_TYPES[port.dtype], ["N", *port.shape[1:]])


def vector_value() -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info("vector", TensorProto.FLOAT, ["N", DIMENSIONS])


def model(nodes: list[Any], inputs: list[Any], outputs: list[Any], initial: list[Any]) -> bytes:
    graph = helper.make_graph(nodes, "graph", inputs, outputs, initial)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()
