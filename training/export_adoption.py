"""A fitted adoption model to the adoption files of a bundle: towers, hazards, calibration as plain ONNX operators."""

from collections.abc import Sequence

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from recsys.adoption import AdoptionModel, by_horizon
from recsys.bundle import adoption_part
from recsys.calibration import Knots, calibrate
from recsys.features.encoder import ArrayShape
from training.export import OPSET, export_customer, export_product, product_vectors, serialise, torch_vectors

PARITY_PRODUCTS = 32
"""Products, spread over the catalogue, whose probabilities are stored for the invented customers."""


def export_adoption(
    model: AdoptionModel,
    shape: ArrayShape,
    products: dict[str, np.ndarray],
    horizons_months: Sequence[int],
    knots: Sequence[Knots],
    parity: dict[str, np.ndarray],
) -> dict[str, bytes]:
    """The files of the bundle's part `adoption`.

    products: the encoder's product arrays of the catalogue in its order; parity: the encoder's customer arrays of the
    invented customers, for whom the model's own answers are stored.
    """
    model = model.cpu().eval()
    vectors = torch_vectors(model, parity)
    count = len(next(iter(products.values())))
    asked = np.linspace(0, count - 1, min(count, PARITY_PRODUCTS)).round().astype(np.int64)
    return adoption_part(
        customer=export_customer(model, shape),
        product=export_product(model, products),
        probability=probability_graph(model, knots),
        products=product_vectors(model, products),
        horizons_months=horizons_months,
        knots=[one.model_dump(mode="json") for one in knots],
        vectors=vectors,
        index=asked,
        probabilities=torch_probabilities(model, vectors, products, knots)[:, asked],
    )


@torch.no_grad()
def torch_probabilities(
    model: AdoptionModel, vectors: np.ndarray, products: dict[str, np.ndarray], knots: Sequence[Knots]
) -> np.ndarray:
    """float64 [N, P, H] calibrated probabilities, without ONNX."""
    rows = torch.from_numpy(product_vectors(model, products))
    return calibrate(knots, by_horizon(model.log_odds(torch.from_numpy(vectors), rows).numpy()))


def probability_graph(model: AdoptionModel, knots: Sequence[Knots]) -> bytes:
    """customers [N, D], products [P, D + I], index [N, K] → probability [N, K, I], of the asked products alone.

    Log-odds are one matrix product per customer; a horizon's probability is 1 - Π (1 - hazard); its calibration is a
    sum of ramps, slope · min(max(p - x, 0), width), by a matrix product; a longer horizon is never below a shorter.
    """
    dim, intervals = model.dim, model.intervals
    head = model.head.weight.detach().numpy().T, model.head.bias.detach().numpy()
    constants = {
        "head_weight": np.ascontiguousarray(head[0]),
        "head_bias": head[1],
        "head_shape": np.array([0, intervals, dim + 1], dtype=np.int64),
        "head_split": np.array([dim, 1], dtype=np.int64),
        "product_split": np.array([dim, intervals], dtype=np.int64),
        "one": np.ones(1, dtype=np.float32),
        "zero": np.zeros(1, dtype=np.float32),
    }
    stays = [f"stays_{i}" for i in range(intervals)]
    nodes = [
        helper.make_node("MatMul", ["customers", "head_weight"], ["head"]),
        helper.make_node("Add", ["head", "head_bias"], ["head_biased"]),
        helper.make_node("Reshape", ["head_biased", "head_shape"], ["by_interval"]),
        helper.make_node("Split", ["by_interval", "head_split"], ["customer", "customer_bias"], axis=2),
        helper.make_node("Gather", ["products", "index"], ["asked"], axis=0),
        helper.make_node("Split", ["asked", "product_split"], ["product", "product_bias"], axis=2),
        helper.make_node("Transpose", ["customer"], ["customer_columns"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["product", "customer_columns"], ["match"]),
        helper.make_node("Transpose", ["customer_bias"], ["customer_row"], perm=[0, 2, 1]),
        helper.make_node("Add", ["match", "customer_row"], ["match_customer"]),
        helper.make_node("Add", ["match_customer", "product_bias"], ["log_odds"]),
        helper.make_node("Sigmoid", ["log_odds"], ["hazard"]),
        helper.make_node("Sub", ["one", "hazard"], ["stays"]),
        helper.make_node("Split", ["stays"], stays, axis=2, num_outputs=intervals),
    ]
    survived = stays[0]
    for i, one in enumerate(knots):
        if i:
            nodes.append(helper.make_node("Mul", [survived, stays[i]], [f"survived_{i}"]))
            survived = f"survived_{i}"
        nodes.append(helper.make_node("Sub", ["one", survived], [f"raw_{i}"]))
        nodes += _calibration(i, one, constants)
    last = [f"rising_{i}" for i in range(intervals)]
    nodes.append(helper.make_node("Concat", last, ["probability"], axis=2))
    inputs = [
        helper.make_tensor_value_info("customers", TensorProto.FLOAT, ["batch", dim]),
        helper.make_tensor_value_info("products", TensorProto.FLOAT, ["catalogue", dim + intervals]),
        helper.make_tensor_value_info("index", TensorProto.INT64, ["batch", "asked"]),
    ]
    outputs = [helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["batch", "asked", intervals])]
    initial = [numpy_helper.from_array(values, name) for name, values in constants.items()]
    graph = helper.make_graph(nodes, "probability", inputs, outputs, initial)
    return serialise(helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)]))


def _calibration(i: int, knots: Knots, constants: dict[str, np.ndarray]) -> list[onnx.NodeProto]:
    """raw_i [N, K, 1] → rising_i: its ramps summed, and not below the horizon before."""
    x, y = np.array(knots.x, dtype=np.float32), np.array(knots.y, dtype=np.float64)
    width = np.diff(x) if len(x) > 1 else np.ones(1, dtype=np.float32)
    rise = np.diff(y) if len(x) > 1 else np.zeros(1)
    constants[f"start_{i}"] = x[: len(width)]
    constants[f"width_{i}"] = width
    constants[f"slope_{i}"] = (rise / width.astype(np.float64)).astype(np.float32)[:, None]
    calibrated = f"calibrated_{i}" if i else "rising_0"
    nodes = [
        helper.make_node("Sub", [f"raw_{i}", f"start_{i}"], [f"beyond_{i}"]),
        helper.make_node("Max", [f"beyond_{i}", "zero"], [f"above_{i}"]),
        helper.make_node("Min", [f"above_{i}", f"width_{i}"], [f"ramp_{i}"]),
        helper.make_node("MatMul", [f"ramp_{i}", f"slope_{i}"], [f"sum_{i}"]),
        helper.make_node("Min", [f"sum_{i}", "one"], [calibrated]),
    ]
    if i:
        nodes.append(helper.make_node("Max", [calibrated, f"rising_{i - 1}"], [f"rising_{i}"]))
    return nodes
