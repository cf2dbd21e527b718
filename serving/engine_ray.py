"""Buckets answered by Ray's workers: the function that runs locally, sent to other processes, lost buckets redone."""

import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # read when Ray is imported, here and in every process that it starts
os.environ.setdefault("RAY_gcs_rpc_server_connect_timeout_s", "60")  # 5 are too few on a busy machine
if {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & set(os.environ) or (Path.home() / ".ray" / "auth_token").exists():
    os.environ.setdefault("RAY_AUTH_MODE", "token")  # else a client that has a cluster's token does not show it

import ray
from ray.exceptions import RayError, RayTaskError, WorkerCrashedError

from recsys.bundle import Bundle
from recsys.errors import ConfigError, DataError, RecsysError
from recsys.lake.parts import BucketReader
from recsys.lake.store import Lake
from serving.buckets import Asked, Work, answer_bucket

RETRIES = 3
"""How often a bucket is given to another worker after one was lost with it."""
OBJECTS = 96 << 20
"""Bytes of Ray's object store on this machine: only bucket numbers pass through it."""
_OPENED: dict[str, tuple[Asked, BucketReader]] = {}
"""The run of this process, opened once."""


def answer_on_ray(
    work: Work,
    buckets: Sequence[int],
    done: Callable[[], None],
    *,
    workers: int | None,
    address: str | None,
    threads: int,
) -> None:
    """Answer the buckets, `workers` at a time (None: as many as there are processors for), on the cluster at `address`
    or, without one, on processes of this machine.

    Raises what a bucket's answer raises, and DataError where workers are lost again and again, or write where this
    process cannot see it.
    """
    with started(workers, address, threads):
        if workers is None:
            workers = max(1, int(ray.cluster_resources().get("CPU", 1)) // threads)
        run = secrets.token_hex(8)
        sent = ray.put(work)
        task = ray.remote(num_cpus=threads, max_retries=RETRIES)(_answer)
        waiting: dict[Any, int] = {}
        ahead = list(reversed(buckets))
        try:
            while ahead or waiting:
                while ahead and len(waiting) < workers:
                    bucket = ahead.pop()
                    waiting[task.remote(run, sent, bucket)] = bucket
                (ready, *_), _ = ray.wait(list(waiting), num_returns=1)
                _finished(ready, waiting.pop(ready), work)
                done()
        except BaseException:
            for task_of in waiting:
                ray.cancel(task_of, force=True)
            raise


def _finished(ready: Any, bucket: int, work: Work) -> None:
    try:
        ray.get(ready)
    except RayTaskError as error:
        if isinstance(error.cause, RecsysError):
            raise error.cause from None
        raise
    except WorkerCrashedError:
        raise DataError(
            f"bucket {bucket}: {RETRIES + 1} workers were lost with it, so most likely it does not fit into their "
            "memory; give a smaller --memory, or fewer --workers to a machine. The run can be continued"
        ) from None
    if not work.file(bucket).exists():
        raise DataError(
            f"{work.file(bucket)}: a worker has written it, but it is not here; OUT must be a directory that every "
            "node of the cluster sees under the same path"
        )


def _answer(run: str, work: Work, bucket: int) -> None:
    """On a worker: answer one bucket."""
    if run not in _OPENED:
        _OPENED.clear()
        _OPENED[run] = _open(work)
    asked, reader = _OPENED[run]
    answer_bucket(asked, reader, work, bucket)


def _open(work: Work) -> tuple[Asked, BucketReader]:
    bundle, lake = Bundle.load(work.bundle_path), Lake.open(work.lake_path, work.lake_version)
    if bundle.bundle_id != work.bundle_id or lake.identity() != work.lake_identity:
        raise DataError(
            f"{work.bundle_path} and {work.lake_path} are others on node {ray.util.get_node_ip_address()} than where "
            "the run was begun; every node must see the same ones"
        )
    return work.ask(bundle, lake, work.as_of), BucketReader(lake, work.memory)


@contextmanager
def started(workers: int | None, address: str | None, threads: int) -> Iterator[None]:
    """A Ray that is joined, or started on this machine and stopped afterwards."""
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "error", "configure_logging": False}
    if ray.is_initialized():
        yield
        return
    quiet["runtime_env"] = {"env_vars": {"POLARS_MAX_THREADS": str(threads)}}  # else a worker takes all processors
    if address is None:
        processors = None if workers is None else workers * threads
        own: dict[str, Any] = {"object_store_memory": OBJECTS, "include_dashboard": False}
        ray.init(address="local", num_cpus=processors, _node_ip_address="127.0.0.1", **own, **quiet)
    else:
        try:
            ray.init(address=address, **quiet)
        except (RayError, ConnectionError, RuntimeError, ValueError) as error:
            said = str(error).strip().splitlines()[0]
            raise ConfigError(f"--address {address}: no Ray cluster can be joined there: {said}") from None
    try:
        yield
    finally:
        ray.shutdown()
