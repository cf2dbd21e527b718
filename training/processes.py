"""One fit on several processes by Lightning's DDP (gloo): each takes its part of a batch, gradients are averaged."""

import logging
import mmap
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.multiprocessing
from pytorch_lightning.strategies import DDPStrategy
from torch import Tensor

from recsys.progress import Progress

_LOG_LEVEL = "TORCH_CPP_LOG_LEVEL"


def strategy() -> DDPStrategy:
    """New processes, so that no thread of this one is copied half-way through its work."""
    return DDPStrategy(start_method="spawn", process_group_backend="gloo", find_unused_parameters=True)


def part_of(rows: np.ndarray, rank: int, processes: int) -> np.ndarray:
    """A process's part of a batch's rows; of fewer rows than processes each takes all, which averages to the same."""
    return rows if len(rows) < processes else rows[rank::processes]


def as_in_one(loss: Tensor, weight: float) -> Tensor:
    """A part's mean loss, scaled so that the mean over processes, of loss and gradients, is the whole batch's.

    Σ wᵣ lᵣ / Σ wᵣ = mean over R processes of R wᵣ lᵣ / Σ wᵣ, with wᵣ the weight of part r in the batch's mean.
    """
    total = torch.tensor(weight, dtype=torch.float64)
    torch.distributed.all_reduce(total)
    share = weight * torch.distributed.get_world_size() / max(float(total), torch.finfo(torch.float64).tiny)
    return loss * share


def mean_over_processes(value: Tensor) -> Tensor:
    """The same on every process."""
    found = value.detach().clone()
    torch.distributed.all_reduce(found)
    return found / torch.distributed.get_world_size()


def hush() -> None:
    """Keep Lightning quiet in a new process, as `training.loop.quiet_and_deterministic` does in this one."""
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"(pytorch_lightning|lightning_fabric|lightning_utilities)\b")


def settle(threads: int) -> None:
    """Make a new process compute as `training.loop.quiet_and_deterministic` made the one that started it."""
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


@contextmanager
def relayed(progress: Progress | None) -> Iterator[Progress | None]:
    """A progress that the processes started within may be sent, and that calls `progress` here."""
    before = os.environ.get(_LOG_LEVEL)
    os.environ[_LOG_LEVEL] = "ERROR"  # else each warns that it looked for unused parameters and found none
    try:
        with _listening(progress) as sender:
            yield sender
    finally:
        del os.environ[_LOG_LEVEL]
        if before is not None:
            os.environ[_LOG_LEVEL] = before


@contextmanager
def _listening(progress: Progress | None) -> Iterator[Progress | None]:
    if progress is None:
        yield None
        return
    queue = torch.multiprocessing.get_context("spawn").SimpleQueue()

    def listen() -> None:
        while (said := queue.get()) is not None:
            progress(*said)

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    try:
        yield _Sender(queue.put)
    finally:
        queue.put(None)
        listener.join()


class _Sender:
    """Puts what is said of progress into a queue."""

    def __init__(self, put: Callable[[Any], None]) -> None:
        self.put = put

    def __call__(self, done: int, total: int, what: str) -> None:
        self.put((done, total, what))


class Sent:
    """An array on its way to another process: of a memory-mapped one only the place in its file is sent."""

    def __init__(self, values: np.ndarray) -> None:
        self.values: np.ndarray | None = values
        self.place: tuple[Any, ...] | None = None
        if isinstance(values, np.memmap) and values.flags.c_contiguous and values.filename is not None:
            source: Any = values._mmap  # type: ignore[attr-defined]
            begin = np.frombuffer(source, dtype=np.uint8).__array_interface__["data"][0]
            # a view's own `offset` is that of the array it was cut from
            offset = values.offset - values.offset % mmap.ALLOCATIONGRANULARITY
            offset += values.__array_interface__["data"][0] - begin
            self.values, self.place = None, (str(values.filename), values.dtype, values.shape, offset)

    def received(self) -> np.ndarray:
        """The array, mapped again where it was."""
        if self.values is not None:
            return self.values
        assert self.place is not None
        name, dtype, shape, offset = self.place
        return np.memmap(name, dtype=dtype, mode="r", shape=shape, offset=offset)
