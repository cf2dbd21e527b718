"""What Prometheus reads of the service: counts and durations by endpoint and by stage, nothing about any customer.

BentoML gives every worker a directory of shared counters, so that `/metrics` answers for all workers together.
"""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from time import perf_counter
from typing import Any, Literal, get_args

import numpy as np
import psutil
from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.multiprocess import mark_process_dead

from recsys.drift import stability_index

Stage = Literal["turn", "store", "features", "network", "rank", "reasons"]
"""`turn`: the wait for it; the others come after it."""
SECONDS = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.015, 0.03, 0.06, 0.12, 0.25, 0.5, 1, 2, 5, 10, 30)
"""Upper bounds of the cells of durations."""
SCORES = (-20, -10, -5, -2, -1, 0, 1, 2, 5, 10, 20)
CHANCES = tuple(step / 10 for step in range(1, 10))
ENOUGH = 500
"""Customers with a segment after whom a worker compares their shares with those in training anew."""

REQUESTS = Counter("recsys_requests", "Answers sent.", ["endpoint", "status"])
DURATION = Histogram("recsys_request_seconds", "From the head of a request to the end of its answer.", ["endpoint"],
                     buckets=SECONDS)  # fmt: skip
STAGES = Histogram("recsys_stage_seconds", "Inside a question, by stage.", ["stage"], buckets=SECONDS)
_STAGES: Mapping[Stage, Histogram] = {name: STAGES.labels(name) for name in get_args(Stage)}
WAITING = Gauge("recsys_waiting", "Questions accepted and not yet answered.", multiprocess_mode="livesum")
SHED = Counter("recsys_shed", "Requests told to come back.", ["reason"])
_SHED = {reason: SHED.labels(reason) for reason in ("queue", "rate")}
REFUSED = Counter("recsys_refused", "Requests not let in: unknown path or method, no key, wrong key.", ["status"])
FAILURES = Counter("recsys_failures", "Unforeseen errors, by their type.", ["error"])
BUNDLE = Gauge("recsys_bundle_workers", "Workers that answer with a bundle.", ["bundle_id"],
               multiprocess_mode="livesum")  # fmt: skip
SEGMENTS = Counter("recsys_segment_customers", "Customers told to be in a segment.", ["segment"])
TRAINED = Gauge("recsys_segment_share_trained", "Share of a segment where the bundle was made.", ["segment"],
                multiprocess_mode="livemax")  # fmt: skip
DRIFT = Gauge("recsys_segment_drift_psi", "Population stability index of the segments of the last customers asked "
              "about beside training, the worker farthest off.", multiprocess_mode="livemax")  # fmt: skip
FEATURE_DRIFT = Gauge("recsys_feature_drift_psi", "Population stability index of a feature of customers asked about "
                      "lately beside training, the worker farthest off.", ["feature"],
                      multiprocess_mode="livemax")  # fmt: skip
DRIFTED = Gauge("recsys_features_drifted", "Features whose index reaches a threshold and exceeds chance.", ["flag"],
                multiprocess_mode="livemax")  # fmt: skip
SCORE = Histogram("recsys_best_score", "Score of the best product of an answer.", buckets=SCORES)
CHURN = Histogram("recsys_churn_probability", "Chance to leave that was answered.", buckets=CHANCES)
SPANS = Counter(
    "recsys_spans", "Spans of traces: sent, refused by the collector, or dropped for want of room.", ["fate"]
)

Staged = tuple[Stage, float, float]
"""A stage, its begin and its end, by `perf_counter`."""
STAGED: ContextVar[list[Staged] | None] = ContextVar("staged", default=None)
"""Where the stages of the request being answered are noted, if it is traced."""


class Population:
    """The segments of the customers asked about lately, beside the shares that training saw."""

    def __init__(self) -> None:
        self.bundle_id = ""
        self._shares: dict[str, float] = {}
        self._counts: dict[str, int] = {}

    def starts(self, bundle_id: str, shares: Mapping[str, float]) -> None:
        """Another bundle is in force; `shares` of its segments, none if it has no segments."""
        if self.bundle_id:
            BUNDLE.labels(self.bundle_id).set(0)
        BUNDLE.labels(bundle_id).set(1)
        self.bundle_id = bundle_id
        self._shares, self._counts = dict(shares), dict.fromkeys(shares, 0)
        for segment, share in shares.items():
            TRAINED.labels(segment).set(share)

    def told(self, answer: Mapping[str, Any]) -> None:
        """Count what was answered about one customer."""
        if (segment := answer.get("segment")) is not None:
            SEGMENTS.labels(segment["id"]).inc()
            self._counts[segment["id"]] = self._counts.get(segment["id"], 0) + 1
            if sum(self._counts.values()) >= ENOUGH:
                self._compare()
        if (items := answer.get("items")) and "score" in items[0]:
            SCORE.observe(items[0]["score"])
        if (chance := answer.get("churn", answer).get("probability")) is not None:
            CHURN.observe(chance)

    def _compare(self) -> None:
        names = [segment for segment in self._shares if segment in self._counts]
        before = np.array([self._shares[name] * ENOUGH for name in names])
        now = np.array([self._counts[name] for name in names], dtype=np.float64)
        DRIFT.set(stability_index(before, now)[0])
        self._counts = dict.fromkeys(self._shares, 0)


POPULATION = Population()


def forget_the_dead() -> None:
    """Take out what workers that are no more left of the present: a killed one cannot do it itself."""
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    for file in Path(folder).glob("gauge_live*_*.db") if folder else ():
        found = re.search(r"_(\d+)\.db$", file.name)
        if found and not psutil.pid_exists(int(found[1])):
            mark_process_dead(int(found[1]))


def shed(reason: Literal["queue", "rate"]) -> None:
    """Count a request that is told to come back: too many wait, or its key asks too often."""
    _SHED[reason].inc()


def refused(status: int) -> None:
    """Count a request that was not let in."""
    REFUSED.labels(str(status)).inc()


def failed(error: Exception) -> None:
    """Count an unforeseen error."""
    FAILURES.labels(type(error).__name__).inc()


def spans(fate: Literal["sent", "refused", "no_room"], count: int) -> None:
    """Count spans of traces that were sent, or dropped."""
    SPANS.labels(fate).inc(count)


def answered(endpoint: str, status: int, seconds: float) -> None:
    """Count an answer; `endpoint` is a path of the table, with its braces."""
    REQUESTS.labels(endpoint, str(status)).inc()
    DURATION.labels(endpoint).observe(seconds)


@contextmanager
def stage(name: Stage) -> Iterator[None]:
    """Time a stage of a question, and note it where the question is traced."""
    started = perf_counter()
    try:
        yield
    finally:
        staged(name, started, perf_counter())


def staged(name: Stage, started: float, ended: float) -> None:
    """Count a stage that has been timed by `perf_counter`, and note it where the question is traced."""
    _STAGES[name].observe(ended - started)
    if (noted := STAGED.get()) is not None:
        noted.append((name, started, ended))
