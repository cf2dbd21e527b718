"""The sequence encoder's part of an embedding's graph, node by node, and residual blocks."""

import math

import numpy as np
import torch
from torch import Tensor

from recsys.embedding import Embedding
from recsys.features.encoder import ArrayShape
from recsys.layers import HistoryPooling
from recsys.sequence_encoder import SequenceEncoder
from recsys.two_tower import ResidualBlock
from training.onnx_nodes import Nodes

NEVER = -1e9
"""The log weight of no event, and the logit of a value that a category does not have."""


def history_part(nodes: Nodes, model: Embedding, encoder: SequenceEncoder, shape: ArrayShape) -> str:
    """The sequence encoder's part of the embedding, centred and scaled: [N, dim]."""
    out, part = encoder.out, model.parts[1]
    both, weight, bias = after_block(nodes, _pooled(nodes, encoder, shape), encoder.block, out.weight, out.bias)
    centre, scale = model.get_buffer("centre")[part], model.get_buffer("scale")[part]
    vector = nodes.add("Gemm", both, (weight * scale[:, None]).T, bias * scale)
    squares = nodes.add("Gemm", nodes.add("Mul", vector, vector), (scale**-2)[:, None], np.array([1e-12]))
    return nodes.add("Sub", nodes.add("Div", vector, nodes.add("Sqrt", squares)), centre * scale)


def _pooled(nodes: Nodes, encoder: SequenceEncoder, shape: ArrayShape) -> str:
    """`HistoryPooling`: one look-up of products, of kinds with ages, and of pairs of kind and product; one sum.

    Padding has index 0 in all of them, which are rows of zeros.
    """
    pooling, products = encoder.pooling, encoder.products.weight.clone()
    products[0] = 0.0
    when, logit, rows = _when(nodes, pooling, shape)
    weights = nodes.add("Softmax", nodes.add("Add", nodes.add("Gather", logit, when, axis=0), pooling.position), axis=1)
    index, tables, each = ["history", when], [products, rows], [weights, weights]
    if pooling.pairs is not None and pooling.decay is not None:
        pairs = pooling.pairs.weight.clone()
        pairs[:: shape.products] = 0.0
        start = nodes.add("Mul", "history_kind", np.array(shape.products, dtype=np.int32))
        index.append(nodes.add("Add", start, "history"))
        tables.append(pairs)
        each.append(nodes.add("Gather", pooling.decay.exp().flatten(), when, axis=0))
    starts = np.cumsum([0, *(len(table) for table in tables[:-1])], dtype=np.int32).repeat(shape.history)
    events = nodes.add(
        "Gather", torch.cat(tables), nodes.add("Add", nodes.add("Concat", *index, axis=1), starts), axis=0
    )
    share = nodes.add("Unsqueeze", nodes.add("Concat", *each, axis=1), np.array([1]))
    return nodes.add("Squeeze", nodes.add("MatMul", share, events), np.array([1]))


def _when(nodes: Nodes, pooling: HistoryPooling, shape: ArrayShape) -> tuple[str, Tensor, Tensor]:
    """The index of kind and age, and by it the log weight of an event and what its kind and age add: [S], [S, dim]."""
    ages, when = 1, "history_kind"
    if pooling.age is not None:
        ages = shape.ages
        when = nodes.add("Add", nodes.add("Mul", when, np.array(ages, dtype=np.int32)), "history_age")
    size = shape.kinds * ages
    logit, rows = torch.zeros(size, 1), torch.zeros(size, pooling.dim)
    kind, age = torch.arange(size) // ages, torch.arange(size) % ages
    for index, table, weight in ((kind, pooling.kind, pooling.kind_weight), (age, pooling.age, pooling.age_weight)):
        if table is not None and weight is not None:
            logit, rows = logit + weight(index), rows + table(index)
    logit[0], rows[0] = NEVER, 0.0
    return when, logit[:, 0], rows


def after_block(
    nodes: Nodes, hidden: str, block: ResidualBlock, weight: Tensor, bias: Tensor, last: bool = True
) -> tuple[str, Tensor, Tensor]:
    """What a linear map [E, hidden] after a residual block reads, and the map.

    Behind the last block it reads what enters the block and what the block activates, side by side: the way out of the
    block is a part of it.
    """
    norm = nodes.add("LayerNormalization", hidden, block.norm.weight, block.norm.bias, axis=-1, epsilon=block.norm.eps)
    wide = nodes.add("Gemm", norm, block.widen.weight.T, block.widen.bias)
    error = nodes.add("Erf", nodes.add("Div", wide, np.array(math.sqrt(2.0))))
    shifted = nodes.add("Mul", wide, nodes.add("Add", error, np.array(1.0)))
    active = nodes.add("Mul", shifted, np.array(0.5))
    out = block.narrow
    if not last:
        return nodes.add("Add", hidden, nodes.add("Gemm", active, out.weight.T, out.bias)), weight, bias
    both = nodes.add("Concat", hidden, active, axis=1)
    return both, torch.cat([weight, weight @ out.weight], dim=1), bias + weight @ out.bias
