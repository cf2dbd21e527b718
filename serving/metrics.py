"""What Prometheus reads of the service: counts and durations by endpoint and by stage, nothing about any customer.

BentoML gives every worker a directory of shared counters, so that `/metrics` answers for all workers together.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Literal

from prometheus_client import Counter, Histogram

Stage = Literal["store", "features", "encode", "network", "rank"]
SECONDS = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.015, 0.03, 0.06, 0.12, 0.25, 0.5, 1, 2, 5, 10, 30)
"""Upper bounds of the cells of durations."""

REQUESTS = Counter("recsys_requests", "Answers sent.", ["endpoint", "status"])
DURATION = Histogram("recsys_request_seconds", "From the first byte of the request to the last of the answer.",
                     ["endpoint"], buckets=SECONDS)  # fmt: skip
STAGES = Histogram("recsys_stage_seconds", "Inside a question, by stage.", ["stage"], buckets=SECONDS)

SHED = Counter("recsys_shed", "Requests told to come back.", ["reason"])
REFUSED = Counter("recsys_refused", "Requests not let in: unknown path or method, no key, wrong key.", ["status"])


def shed(reason: Literal["queue", "rate"]) -> None:
    """Count a request that is told to come back: too many wait, or its key asks too often."""
    SHED.labels(reason).inc()


def refused(status: int) -> None:
    """Count a request that was not let in."""
    REFUSED.labels(str(status)).inc()


def answered(endpoint: str, status: int, seconds: float) -> None:
    """Count an answer; `endpoint` is a path of the table, with its braces."""
    REQUESTS.labels(endpoint, str(status)).inc()
    DURATION.labels(endpoint).observe(seconds)


@contextmanager
def stage(name: Stage) -> Iterator[None]:
    """Time a stage of a question."""
    started = perf_counter()
    try:
        yield
    finally:
        STAGES.labels(name).observe(perf_counter() - started)
