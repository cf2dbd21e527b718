"""The graph of an embedding, written node by node: for one customer ONNX Runtime's time is the number of nodes.

What torch's exporter writes has nodes for each category and each step. Here linear maps that follow each other are
multiplied out beforehand, tables that are added are added beforehand, and one look-up serves all columns.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from onnx import TensorProto, ValueInfoProto, helper
from torch import Tensor, nn

from recsys.ahead import KNOTS, Ahead
from recsys.autoencoder import ONE_HOT, Autoencoder, Inputs
from recsys.embedding import OUTPUTS, Embedding
from recsys.features.encoder import ArrayShape
from recsys.two_tower import ResidualBlock
from training.export import OPSET, serialise
from training.history_graph import NEVER, after_block, history_part
from training.onnx_nodes import Nodes


@torch.no_grad()
def embedding_graph(model: Embedding, shape: ArrayShape, tag_width: int) -> bytes:
    """Customer arrays, those that the model reads → its outputs, each within rounding of what the model answers.

    `tag_width` is how many tags a customer can have.
    """
    nodes, exact = Nodes(), model.cpu().eval().double()
    try:
        known = _read(nodes, exact.autoencoder.inputs, shape)
        vector, scaled = _vector(nodes, exact, known, tag_width), _scaled(nodes, exact.autoencoder, known)
        errors = _errors(nodes, exact, known, vector)
        parts = [vector]
        if exact.sequence is not None:
            parts.append(history_part(nodes, exact, exact.sequence, shape))
        if exact.ahead is not None:
            parts.append(_ahead(nodes, exact, exact.ahead, known, scaled))
        if len(parts) > 1:
            vector = nodes.add("Concat", *parts, axis=1)
    finally:
        model.float()
    for found, name in zip((vector, scaled, errors), OUTPUTS, strict=True):
        nodes.name_output(found, name)
    return _written(nodes, model, shape, tag_width)


def _written(nodes: Nodes, model: Embedding, shape: ArrayShape, tag_width: int) -> bytes:
    inputs = model.autoencoder.inputs
    whole, real = TensorProto.INT32, TensorProto.FLOAT
    ports = {
        "numbers": (real, shape.numbers),
        "missing": (real, shape.numbers),
        "categories": (whole, len(shape.categories)),
        "tags": (whole, tag_width),
        "holdings": (real, shape.products),
        "history": (whole, shape.history),
        "history_kind": (whole, shape.history),
        "history_age": (whole, shape.history),
    }
    widths = (len(model.get_buffer("centre")), model.autoencoder.scaled_width, len(inputs.features))

    def value(name: str, kind: int, width: int) -> ValueInfoProto:
        return helper.make_tensor_value_info(name, kind, ["batch", width])

    given = [value(name, *ports[name]) for name in model.arrays]
    told = [value(name, real, width) for name, width in zip(OUTPUTS, widths, strict=True)]
    graph = helper.make_graph(nodes.nodes, "embedding", given, told, nodes.constants)
    return serialise(helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)]))


@dataclass(frozen=True)
class _Known:
    """What the autoencoder reads, as values of the graph; "" for what there is not."""

    numbers: str
    missing: str
    categories: str
    """int32 [N, C]."""
    small: list[int]
    """The categories of up to `ONE_HOT` values, which are read as a column for each value."""
    large: list[int]
    """The others, which are looked up."""
    row: str
    """Numbers, missing flags, the small categories' columns, holdings side by side; "" if there are none of them."""


def _read(nodes: Nodes, inputs: Inputs, shape: ArrayShape) -> _Known:
    sizes = inputs.category_sizes
    numbers = missing = categories = values = ""
    if inputs.numbers:
        numbers, missing = (_columns(nodes, n, inputs.number_places, shape.numbers) for n in ("numbers", "missing"))
    if inputs.categories:
        categories = _columns(nodes, "categories", inputs.category_places, len(shape.categories))
    small = [i for i, size in enumerate(sizes) if size <= ONE_HOT]
    if small:
        column = np.concatenate([np.full(sizes[i], i) for i in small])
        value = np.concatenate([np.arange(sizes[i], dtype=np.int32) for i in small])
        spread = nodes.add("Gather", categories, column, axis=1)
        values = nodes.add("Cast", nodes.add("Equal", spread, value), to=TensorProto.FLOAT)
    parts = [part for part in (numbers, missing, values, "holdings" if inputs.products else "") if part]
    row = nodes.add("Concat", *parts, axis=1) if len(parts) > 1 else "".join(parts)
    large = [i for i in range(len(sizes)) if i not in small]
    return _Known(numbers, missing, categories, small, large, row)


def _columns(nodes: Nodes, name: str, places: Sequence[int], width: int) -> str:
    """Some columns of a value; the value itself if they are all of it."""
    whole = tuple(places) == tuple(range(width))
    return name if whole else nodes.add("Gather", name, np.array(places), axis=1)


def _scaled(nodes: Nodes, autoencoder: Autoencoder, known: _Known) -> str:
    """`Autoencoder.scaled`: the row without the flags that do not vary."""
    if not known.row:
        first = nodes.add("Gather", known.categories, np.array([0]), axis=1)
        return nodes.add("Mul", nodes.add("Cast", first, to=TensorProto.FLOAT), np.zeros(1))
    count = len(autoencoder.inputs.numbers)
    rest = autoencoder.scaled_width - count - len(autoencoder.varying)
    flags = [count + i for i in autoencoder.varying]
    return _columns(nodes, known.row, [*range(count), *flags, *range(2 * count, 2 * count + rest)], 2 * count + rest)


def _vector(nodes: Nodes, model: Embedding, known: _Known, tag_width: int) -> str:
    """The autoencoder's part of the embedding, centred and scaled: [N, dim]."""
    autoencoder, parts = model.autoencoder, []
    tables, rows, bias = _joined(autoencoder)
    if known.row:
        rows += [tables[i] for i in known.small]
        rows += [autoencoder.holdings.weight.T] if autoencoder.holdings is not None else []
        parts.append(nodes.add("Gemm", known.row, torch.cat(rows), bias))
    if known.large:
        some = _columns(nodes, known.categories, known.large, len(tables))
        parts.append(_looked_up(nodes, some, [tables[i] for i in known.large]))
        if not known.row:
            parts[-1] = nodes.add("Add", parts[-1], bias)
    if autoencoder.attributes.tags is not None:
        parts.append(_mean_tag(nodes, autoencoder.attributes.tags.weight, tag_width))
    hidden = parts[0]
    for part in parts[1:]:
        hidden = nodes.add("Add", hidden, part)
    weight: Tensor = autoencoder.narrow.weight
    offset: Tensor = autoencoder.narrow.bias
    blocks = [block for block in autoencoder.blocks if isinstance(block, ResidualBlock)]
    for left, block in zip(reversed(range(len(blocks))), blocks, strict=True):
        hidden, weight, offset = after_block(nodes, hidden, block, weight, offset, last=not left)
    centre, scale = (model.get_buffer(name)[model.parts[0]] for name in ("centre", "scale"))
    return nodes.add("Gemm", hidden, (weight * scale[:, None]).T, (offset - centre) * scale)


def _ahead(nodes: Nodes, model: Embedding, ahead: Ahead, known: _Known, scaled: str) -> str:
    """What comes next as a part of the embedding, centred and scaled: [N, D]."""
    row = nodes.add("Concat", scaled, *[known.numbers] * len(KNOTS), axis=1)
    centre, scale = (model.get_buffer(name)[model.parts[2]] for name in ("centre", "scale"))
    lifted = nodes.add("Max", row, ahead.get_buffer("floors")[None])
    found = nodes.add("Gemm", lifted, ahead.get_buffer("weight") * scale, -centre * scale)
    if not len(ahead.get_buffer("turns")):
        return found
    along = nodes.add("Max", nodes.add("MatMul", lifted, ahead.get_buffer("lines")), ahead.get_buffer("turns")[None])
    return nodes.add("Gemm", along, ahead.get_buffer("beyond") * scale, found)


def _joined(autoencoder: Autoencoder) -> tuple[list[Tensor], list[Tensor], Tensor]:
    """Each category's table [values, hidden] and the rows of numbers and flags, the joining map multiplied out."""
    attributes = autoencoder.attributes
    if attributes.join is None:
        return [], [], torch.zeros(autoencoder.config.hidden)
    sizes = [table.embedding_dim for table in attributes.categories]
    *maps, of_numbers = attributes.join.weight.T.split([*sizes, 2 * attributes.numbers])
    tables = [table.weight @ part for table, part in zip(attributes.categories, maps, strict=True)]
    return tables, [of_numbers], attributes.join.bias


def _looked_up(nodes: Nodes, index: str, tables: list[Tensor]) -> str:
    """A row of each table, one for each column of the index, added: [N, hidden]."""
    if len(tables) > 1:
        starts = np.cumsum([0, *(len(table) for table in tables[:-1])], dtype=np.int32)
        index = nodes.add("Add", index, starts)
    rows = nodes.add("Gather", torch.cat(tables), index, axis=0)
    return nodes.add("Squeeze", nodes.add("MatMul", np.ones((1, len(tables))), rows), np.array([1]))


def _mean_tag(nodes: Nodes, table: Tensor, width: int) -> str:
    """The mean row of the tags, zeros for none: [N, hidden]; a last column of ones counts them."""
    known = torch.cat([table, torch.ones_like(table[:, :1])], dim=1)
    known[0] = 0.0
    rows = nodes.add("Gather", known, "tags", axis=0)
    total = nodes.add("Squeeze", nodes.add("MatMul", np.ones((1, width)), rows), np.array([1]))
    added, count = nodes.split("Split", 2, total, np.array([table.shape[1], 1]), axis=1)
    return nodes.add("Div", added, nodes.add("Max", count, np.ones(1)))


def _errors(nodes: Nodes, model: Embedding, known: _Known, vector: str) -> str:
    """`Autoencoder.errors` of the part of the embedding, each relative to what is usual: [N, F]."""
    inputs = model.autoencoder.inputs
    groups = [*([known.small] if known.small else []), *([i] for i in known.large)]
    maps = _way_back(model, groups)
    back = nodes.add("Gemm", vector, torch.cat([weight for weight, _ in maps]).T, torch.cat([bias for _, bias in maps]))
    sizes = np.array([len(bias) for _, bias in maps])
    told = nodes.split("Split", len(maps), back, sizes, axis=1) if len(maps) > 1 else [back]
    parts, order = [], list(range(len(inputs.numbers)))
    if inputs.numbers:
        away = nodes.add("Sub", told.pop(0), known.numbers)
        there = nodes.add("Sub", np.array(1.0), known.missing)
        parts.append(nodes.add("Mul", nodes.add("Mul", away, away), there))
    for group in groups:
        own = _columns(nodes, known.categories, group, len(inputs.categories))
        widest = max(inputs.category_sizes[i] for i in group)
        parts.append(_log_likelihood(nodes, told.pop(0), own, len(group), widest))
        order += [len(inputs.numbers) + i for i in group]
    if inputs.products:  # categories of two values: ONNX Runtime's Softplus gives other bits in another batch
        held = nodes.add("Cast", "holdings", to=TensorProto.INT32)
        each = _log_likelihood(nodes, told.pop(0), held, inputs.products, 2)
        parts.append(nodes.add("MatMul", each, np.full((inputs.products, 1), 1 / inputs.products)))
        order.append(len(order))
    found = nodes.add("Concat", *parts, axis=1) if len(parts) > 1 else parts[0]
    sign = torch.ones(len(order))
    sign[len(inputs.numbers) :] = -1
    return nodes.add(
        "Div", _columns(nodes, found, np.argsort(order).tolist(), len(order)), model.get_buffer("usual") * sign
    )


def _way_back(model: Embedding, groups: list[list[int]]) -> list[tuple[Tensor, Tensor]]:
    """Linear maps of the centred and scaled vector to the numbers, each group of categories, and the holdings.

    The logits of a group's categories are as wide as those of the one with most values; what a category does not have
    is never likely. A product has two logits, the first of them 0.
    """
    inputs, weight, bias = model.autoencoder.inputs, *model.autoencoder.told_weights()
    bias = bias + weight @ model.get_buffer("centre")[model.parts[0]]
    weight = weight / model.get_buffer("scale")[model.parts[0]]
    sizes = (len(inputs.numbers), *inputs.category_sizes, inputs.products)
    own = list(zip(weight.split(sizes), bias.split(sizes), strict=True))
    found = [own[0]]
    for group in groups:
        widest = max(inputs.category_sizes[i] for i in group)
        missing = [widest - inputs.category_sizes[i] for i in group]
        weights = [nn.functional.pad(own[1 + i][0], (0, 0, 0, n)) for i, n in zip(group, missing, strict=True)]
        biases = [nn.functional.pad(own[1 + i][1], (0, n), value=NEVER) for i, n in zip(group, missing, strict=True)]
        found.append((torch.cat(weights), torch.cat(biases)))
    held = [torch.stack([torch.zeros_like(values), values], dim=1).flatten(0, 1) for values in own[-1]]
    return [both for both in (*found, (held[0], held[1])) if len(both[1])]


def _log_likelihood(nodes: Nodes, logits: str, own: str, count: int, width: int) -> str:
    """Of the values [N, count] that the customers have in so many categories, by logits [N, count · width]."""
    each = nodes.add("LogSoftmax", nodes.add("Reshape", logits, np.array([0, count, width])), axis=2)
    last = np.array([2])
    return nodes.add("Squeeze", nodes.add("GatherElements", each, nodes.add("Unsqueeze", own, last), axis=2), last)
