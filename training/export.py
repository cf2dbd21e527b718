"""A fitted two-tower model to the recommender files of a bundle, and torch's own answers to compare them with."""

import io
import logging
import warnings
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import Protocol

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from recsys.adoption import AdoptionModel
from recsys.bundle import write_item_table
from recsys.features.encoder import FIRST, ArrayShape
from recsys.two_tower import TwoTower

OPSET = 18
_IR_VERSION = 10
_BATCH = 4096
_EXAMPLE_ROWS = 3


def export_two_tower(
    model: TwoTower, shape: ArrayShape, products: dict[str, np.ndarray], product_ids: Sequence[str]
) -> dict[str, bytes]:
    """The files of the bundle's part `recommender`: both towers, the ranking graph, the item table.

    products: the encoder's product arrays of the catalogue, in the order of `product_ids`, which is sorted. The same
    model gives the same bytes; nothing in them names a path of this machine.
    """
    model = model.cpu().eval()
    vectors = product_vectors(model, products)
    table = write_item_table(product_ids, vectors)
    return {
        "recommender/customer.onnx": export_customer(model, shape),
        "recommender/product.onnx": export_product(model, products),
        "recommender/rank.onnx": rank_graph(vectors.shape[1], model.config.item_bias),
        **table,
    }


@torch.no_grad()
def torch_vectors(model: TwoTower | AdoptionModel, arrays: dict[str, np.ndarray]) -> np.ndarray:
    """Customer arrays → float32 [N, D], as the trained model answers."""
    model.eval()
    table = model.held_table()
    count = len(next(iter(arrays.values())))
    parts = []
    for start in range(0, count, _BATCH):
        part = {name: torch.from_numpy(np.array(v[start : start + _BATCH])) for name, v in arrays.items()}
        parts.append(model.customer(part, table).numpy())
    return np.concatenate(parts) if parts else np.empty((0, table.shape[1]), dtype=np.float32)


@torch.no_grad()
def product_vectors(model: TwoTower | AdoptionModel, products: dict[str, np.ndarray]) -> np.ndarray:
    """Product arrays → float32 [P, D], as the trained model answers."""
    model.eval()
    return model.product({name: torch.from_numpy(np.array(values)) for name, values in products.items()}).numpy()


def torch_ranking(
    model: TwoTower,
    vectors: np.ndarray,
    products: dict[str, np.ndarray],
    product_ids: Sequence[str],
    excluded: np.ndarray,
    k: int,
) -> tuple[list[list[str]], list[list[float]]]:
    """The k best products of each customer and their scores, best first, ties by place in `product_ids`.

    excluded: int32 [N, H] product indices that are not ranked, 0 for none; a list is shorter where fewer are left.
    """
    scores = vectors @ product_vectors(model, products).T
    rows, places = (excluded >= FIRST).nonzero()
    scores[rows, excluded[rows, places] - FIRST] = -np.inf
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    best = np.take_along_axis(scores, order, axis=1)
    left = [row > -np.inf for row in best]
    ids = [[product_ids[i] for i in row[keep]] for row, keep in zip(order, left, strict=True)]
    return ids, [row[keep].tolist() for row, keep in zip(best, left, strict=True)]


def rank_graph(dimensions: int, bias: bool = False) -> bytes:
    """customers [N, D], products [P, D], eligible [P], excluded [M, 2], k [1] → scores, index [N, k], best first.

    Ties go to the lower index. What may not be recommended scores minus infinity before anything is ranked: a product
    that is not eligible for anyone has that as its bias in the matrix product, an excluded (customer, product) comes as
    a pair, because pairs are few and a mask [N, P] took as long as the product and the top k together. Writing pairs
    copies the scores, so it is left out where there are none.

    With `bias` the products' last dimension is their bias, and the customers' last dimension, which is one, is not
    read: a product of more than 64 dimensions takes ONNX Runtime almost twice as long.
    """
    inputs = [
        helper.make_tensor_value_info("customers", TensorProto.FLOAT, ["batch", dimensions]),
        helper.make_tensor_value_info("products", TensorProto.FLOAT, ["catalogue", dimensions]),
        helper.make_tensor_value_info("eligible", TensorProto.BOOL, ["catalogue"]),
        helper.make_tensor_value_info("excluded", TensorProto.INT64, ["pairs", 2]),
        helper.make_tensor_value_info("k", TensorProto.INT64, [1]),
    ]
    constants = [
        helper.make_tensor("zero", TensorProto.FLOAT, [1], [0.0]),
        helper.make_tensor("lowest", TensorProto.FLOAT, [1], [-np.inf]),
    ]
    nodes = [helper.make_node("Where", ["eligible", "zero", "lowest"], ["closed"])]
    terms = ["customers", "products", "closed"]
    if bias:
        places = {"first": 0, "last": dimensions - 1, "end": dimensions, "axis": 1}
        constants += [helper.make_tensor(name, TensorProto.INT64, [1], [at]) for name, at in places.items()]
        nodes += [
            helper.make_node("Slice", ["customers", "first", "last", "axis"], ["customers_inner"]),
            helper.make_node("Slice", ["products", "first", "last", "axis"], ["products_inner"]),
            helper.make_node("Slice", ["products", "last", "end", "axis"], ["bias_column"]),
            helper.make_node("Squeeze", ["bias_column", "axis"], ["bias"]),
            helper.make_node("Add", ["bias", "closed"], ["open_bias"]),
        ]
        terms = ["customers_inner", "products_inner", "open_bias"]
    nodes += [
        helper.make_node("Gemm", terms, ["every_score"], transB=1),
        helper.make_node("Size", ["excluded"], ["listed"]),
        helper.make_node("Cast", ["listed"], ["any_excluded"], to=TensorProto.BOOL),
        helper.make_node(
            "If",
            ["any_excluded"],
            ["scores", "index"],
            then_branch=_without_excluded(),
            else_branch=helper.make_graph([_top("every_score")], "everything", [], _best("top_scores", "top_index")),
        ),
    ]
    graph = helper.make_graph(nodes, "rank", inputs, _best("scores", "index"), constants)
    return serialise(helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)]))


def _without_excluded() -> onnx.GraphProto:
    nodes = [
        helper.make_node("Shape", ["excluded"], ["pairs"], start=0, end=1),
        helper.make_node("Expand", ["lowest", "pairs"], ["lowest_each"]),
        helper.make_node("ScatterND", ["every_score", "excluded", "lowest_each"], ["allowed_scores"]),
        _top("allowed_scores"),
    ]
    return helper.make_graph(nodes, "without_excluded", [], _best("top_scores", "top_index"))


def _top(scores: str) -> onnx.NodeProto:
    return helper.make_node("TopK", [scores, "k"], ["top_scores", "top_index"], axis=1, largest=1, sorted=1)


def _best(scores: str, index: str) -> list[onnx.ValueInfoProto]:
    return [
        helper.make_tensor_value_info(scores, TensorProto.FLOAT, ["batch", "best"]),
        helper.make_tensor_value_info(index, TensorProto.INT64, ["batch", "best"]),
    ]


class Towers(Protocol):
    """What has a customer tower and a product tower: the recommender, and the adoption model on such towers."""

    def held_table(self) -> Tensor: ...

    def customer(self, arrays: dict[str, Tensor], table: Tensor) -> Tensor: ...

    def product(self, arrays: dict[str, Tensor]) -> Tensor: ...


def export_customer(model: Towers, shape: ArrayShape) -> bytes:
    """Graph of the customer tower: customer arrays → `vector` [N, D]."""
    return export_graph(_CustomerGraph(model), customer_example(shape))


def export_product(model: Towers, products: dict[str, np.ndarray]) -> bytes:
    """Graph of the product tower: product arrays, such as these, → `vector` [P, D]."""
    return export_graph(_ProductGraph(model), _first_rows(products))


class _CustomerGraph(nn.Module):
    """The customer tower with the table of held products worked out."""

    def __init__(self, model: Towers) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("held_products", model.held_table().detach())

    def forward(self, arrays: dict[str, Tensor]) -> Tensor:
        return self.model.customer(arrays, self.get_buffer("held_products"))


class _ProductGraph(nn.Module):
    def __init__(self, model: Towers) -> None:
        super().__init__()
        self.model = model

    def forward(self, arrays: dict[str, Tensor]) -> Tensor:
        return self.model.product(arrays)


def export_graph(graph: nn.Module, example: dict[str, Tensor], outputs: Sequence[str] = ("vector",)) -> bytes:
    """Graph with one named input per array and these outputs; free are the batch and the number of `tags`."""
    names = list(example)
    batch = torch.export.Dim("batch")
    free = {name: {0: batch} for name in names}
    if "tags" in free:
        free["tags"][1] = torch.export.Dim("width")
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                graph.eval(),
                kwargs={"arrays": {name: example[name] for name in names}},
                dynamo=True,
                input_names=names,
                output_names=list(outputs),
                dynamic_shapes={"arrays": free},
                opset_version=OPSET,
                verbose=False,
            )
    finally:
        logger.setLevel(level)
    assert program is not None
    return serialise(program.model_proto)


def serialise(model: onnx.ModelProto) -> bytes:
    """Checked, without what names files, versions or passing values, in one order of bytes."""
    model.ir_version = _IR_VERSION
    model.producer_name, model.producer_version, model.doc_string = "recsys", "", ""
    del model.metadata_props[:], model.graph.metadata_props[:], model.graph.value_info[:]
    model.graph.doc_string = ""
    for part in (*model.graph.node, *model.graph.input, *model.graph.output, *model.graph.initializer):
        part.doc_string = ""
        del part.metadata_props[:]
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


def customer_example(shape: ArrayShape) -> dict[str, Tensor]:
    """Arrays of a few customers about whom nothing is known."""
    rows = _EXAMPLE_ROWS
    arrays: dict[str, Tensor] = {}
    if shape.categories:
        arrays["categories"] = torch.ones(rows, len(shape.categories), dtype=torch.int32)
    if shape.numbers:
        arrays["numbers"] = torch.zeros(rows, shape.numbers)
        arrays["missing"] = torch.ones(rows, shape.numbers)
    if shape.tags:
        arrays["tags"] = torch.zeros(rows, 2, dtype=torch.int32)
    if shape.holdings:
        arrays["holdings"] = torch.zeros(rows, shape.products)
    if shape.held:
        arrays["held"] = torch.zeros(rows, shape.held, dtype=torch.int32)
    if shape.history:
        names = ["history", *(["history_kind"] if shape.kinds else []), *(["history_age"] if shape.ages else [])]
        arrays |= {name: torch.zeros(rows, shape.history, dtype=torch.int32) for name in names}
    return arrays


def _first_rows(products: dict[str, np.ndarray]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(np.resize(v, (_EXAMPLE_ROWS, *v.shape[1:]))) for name, v in products.items()}
