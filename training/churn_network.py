"""Fitting the tabular network of a churn model, and its operators."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from onnx import TensorProto
from torch import Tensor, nn

from recsys.churn.models_config import NetworkConfig
from recsys.churn.network import ChurnNetwork, SharedLinear, piece_edges
from recsys.features.encoder import ArrayShape
from recsys.progress import Progress
from training.churn_graph import GraphParts
from training.churn_inputs import Columns

OnEpoch = Callable[[int, float], None]
"""Called with an epoch, from 1, and the log-likelihood of a held-out row."""
_BATCH = 8192
_LONGEST_GRADIENT = 1.0


class Network:
    """Networks of the folds; the mean of their log-odds counts."""

    name = "network"

    def __init__(self, networks: Sequence[ChurnNetwork]) -> None:
        self.networks = [network.eval() for network in networks]

    @torch.no_grad()
    def log_odds(self, table: np.ndarray) -> np.ndarray:
        """float32 [N, width] → float64 [N]."""
        rows = torch.from_numpy(np.ascontiguousarray(table))
        each = [torch.cat([net(part)[:, 0] for part in rows.split(_BATCH)]).double() for net in self.networks]
        return (sum(each[1:], start=each[0]) / len(each)).numpy()

    def add_to(self, parts: GraphParts) -> str:
        """Its operators; the name of its log-odds [N, 1]."""
        each = [_operators(parts, network, f"{self.name}_{i}") for i, network in enumerate(self.networks)]
        share = parts.constant(f"{self.name}_share", np.array([1 / len(each)], dtype=np.float32))
        return parts.node("Mul", [parts.node("Sum", each, f"{self.name}_sum"), share], f"{self.name}_log_odds")


@torch.no_grad()
def _operators(parts: GraphParts, network: ChurnNetwork, name: str) -> str:
    """The network as it is outside training, written out: `torch.onnx` takes twenty seconds for five of them."""

    def constant(what: str, values: Tensor | np.ndarray) -> str:
        return parts.constant(f"{name}_{what}", np.asarray(values))

    def node(kind: str, inputs: Sequence[str], what: str, **attributes: Any) -> str:
        return parts.node(kind, inputs, f"{name}_{what}", **attributes)

    def columns(places: Sequence[int], what: str) -> str:
        return node("Gather", [parts.table(), constant(f"{what}_places", np.array(places))], what, axis=1)

    inputs = []
    if network.pieces is not None:
        pieces, buffers = network.pieces, dict(network.pieces.named_buffers())
        by_number = node("Transpose", [columns(range(network.numbers), "numbers")], "by_number", perm=[1, 0])
        x = node("Unsqueeze", [by_number, constant("last", np.array([2]))], "x")
        beyond = node("Sub", [x, constant("start", buffers["start"])], "beyond")
        share = node("Mul", [beyond, constant("scale", buffers["scale"])], "share")
        zero, one = (constant(f"clip_{i}", np.array(i, dtype=np.float32)) for i in (0, 1))
        done = node("MatMul", [node("Clip", [share, zero, one], "done"), constant("pieces", pieces.pieces)], "pieced")
        line = node("Mul", [x, constant("slope", pieces.slope)], "line")
        level = node("Add", [node("Add", [done, line], "risen"), constant("level", pieces.level)], "embedded")
        flat = constant("flat", np.array([0, network.numbers * pieces.slope.shape[2]]))
        inputs.append(node("Reshape", [node("Transpose", [level], "by_row", perm=[1, 0, 2]), flat], "flattened"))
    for place, embedding in zip(network.rank_places, network.ranks, strict=True):
        column = node(
            "Squeeze", [columns([place], f"rank_{place}"), constant(f"axis_{place}", np.array([1]))], f"r{place}"
        )
        index = node("Cast", [column], f"index_{place}", to=TensorProto.INT64)
        rows = constant(f"rows_{place}", cast(Tensor, embedding.weight))
        inputs.append(node("Gather", [rows, index], f"category_{place}", axis=0))
    if network.plain:
        inputs.append(columns(network.plain, "plain"))
    x, members = node("Concat", inputs, "inputs", axis=1), len(network.head)
    for i, layer in enumerate(network.layers):
        assert isinstance(layer, SharedLinear)
        each, bias = layer.each(), constant(f"bias_{i}", layer.bias)
        if i == 0:  # one product for all members
            all_members = node("MatMul", [x, constant("weight_0", each.permute(1, 0, 2).flatten(1))], "all_members")
            split = node("Reshape", [all_members, constant("split", np.array([0, members, -1]))], "split_members")
            mapped = node("Transpose", [split], "mapped_0", perm=[1, 0, 2])
        else:
            mapped = node("MatMul", [x, constant(f"weight_{i}", each)], f"mapped_{i}")
        x = node("Relu", [node("Add", [mapped, bias], f"biased_{i}")], f"layer_{i}")
    flat = constant("flat_members", np.array([0, network.head[:, :, 0].numel()]))
    by_row = node("Reshape", [node("Transpose", [x], "by_row_members", perm=[1, 0, 2]), flat], "rows_members")
    told = node("MatMul", [by_row, constant("head", network.head.flatten()[:, None] / members)], "told")
    return node("Add", [told, constant("bias", network.bias.mean().reshape(1))], "log_odds")


def fit_network(
    config: NetworkConfig,
    shape: ArrayShape,
    columns: Columns,
    table: np.ndarray,
    outcome: np.ndarray,
    splits: Sequence[tuple[np.ndarray, np.ndarray]],
    *,
    seed: int,
    threads: int,
    work: Path,
    progress: Progress,
    on_epoch: OnEpoch | None = None,
    refit: int = 0,
) -> tuple[Network, np.ndarray]:
    """The model, and the log-odds of the held-out rows of the splits, [N], NaN where no split holds a row out.

    With `refit` the model is so many fits on all rows, each ended after the epoch that was best on average. A
    network that is finished is kept in `work`, and read from there when the same fit is begun again.
    """
    work.mkdir(parents=True, exist_ok=True)
    held_out = np.full(len(table), np.nan)
    networks = []
    rows, outcomes = torch.from_numpy(table), torch.from_numpy(outcome.astype(np.float32))

    def fit(i: int, j: int, fitted_on: np.ndarray, held: np.ndarray | None, longest: int) -> tuple[ChurnNetwork, int]:
        torch.manual_seed(int(np.random.SeedSequence((seed, i, j)).generate_state(1)[0]))
        network = _new(config, shape, columns, table[fitted_on])
        path = work / f"network-{i}-{j}.pt"
        if not path.exists():
            epoch = _fit(config, network, rows, outcomes, fitted_on, held, longest, on_epoch)
            torch.save({"epoch": epoch, "weights": network.state_dict()}, path.with_suffix(".part"))
            path.with_suffix(".part").replace(path)
        kept = torch.load(path, weights_only=True)
        network.load_state_dict(kept["weights"])
        return network, kept["epoch"]

    epochs = []
    with _repeatable(threads):
        for i, (fitted_on, held) in enumerate(splits):
            progress(i, len(splits), "churn: network")
            bag = [fit(i, j, fitted_on, held, config.epochs) for j in range(config.bag)]
            held_out[held] = Network([network for network, _ in bag]).log_odds(table[held])
            networks += [network for network, _ in bag]
            epochs += [epoch for _, epoch in bag]
        if refit:
            longest, everyone = max(1, round(float(np.mean(epochs)))), np.arange(len(table))
            networks = [fit(len(splits), j, everyone, None, longest)[0] for j in range(refit)]
    return Network(networks), held_out


def _new(config: NetworkConfig, shape: ArrayShape, columns: Columns, table: np.ndarray) -> ChurnNetwork:
    """A network for these columns; its pieces are quantiles of these rows."""
    edges = [piece_edges(table[:, i], config.bins) for i in range(columns.numbers)]
    first = columns.numbers + len(columns.missing) + len(columns.values)
    ranks = [(first + i, shape.categories[place]) for i, place in enumerate(columns.ranks)]
    return ChurnNetwork(config, columns.width, edges, ranks)


def _fit(
    config: NetworkConfig,
    network: ChurnNetwork,
    table: Tensor,
    outcome: Tensor,
    fitted_on: np.ndarray,
    held: np.ndarray | None,
    longest: int,
    on_epoch: OnEpoch | None,
) -> int:
    """Fit in place; keep the weights of the epoch that the held-out rows like best, else of the last; which it was."""
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
    )
    x, y = table[fitted_on], outcome[fitted_on]
    loss_of = nn.functional.binary_cross_entropy_with_logits
    best, last, kept = float("inf"), longest, network.state_dict()
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        config.learning_rate,
        total_steps=config.epochs * _steps(len(x), config.batch_size) + 1,
        pct_start=0.2,
    )
    for epoch in range(1, longest + 1):
        network.train()
        for rows in _batches(len(x), config.batch_size):
            log_odds = network.members(x[rows])
            loss = loss_of(log_odds, y[rows, None].expand_as(log_odds))
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), _LONGEST_GRADIENT)
            optimizer.step()
            schedule.step()
        if held is None:
            continue
        network.eval()
        with torch.no_grad():
            said = torch.cat([network(part)[:, 0] for part in table[held].split(_BATCH)])
            judged = float(loss_of(said, outcome[held]))
        if on_epoch:
            on_epoch(epoch, -judged)
        if judged < best:
            best, last = judged, epoch
            kept = {name: values.clone() for name, values in network.state_dict().items()}
    if held is not None:
        network.load_state_dict(kept)
    return last


def _steps(rows: int, size: int) -> int:
    return max(1, round(rows / size))


def _batches(rows: int, size: int) -> Iterator[Tensor]:
    """Rows in another order each time, in equal batches of about this size."""
    yield from torch.randperm(rows).tensor_split(_steps(rows, size))


@contextmanager
def _repeatable(threads: int) -> Iterator[None]:
    """The same numbers each time: these threads, and operators that do not depend on their luck."""
    before, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(strict)
        torch.set_num_threads(before)
