"""What tracing costs: the worker's processor time of an answer without traces and with them, asked in alternation."""

import argparse
import statistics
from contextlib import ExitStack
from typing import Any

from benchmarks.http_load import request
from benchmarks.open_loop import asking
from benchmarks.serving_parts import Running, bank_of_products, ours, questions
from tests.serving.collector import collecting

CALLERS = 4
SHARES = {"without": None, "every hundredth": "0.01", "all": "1"}
"""Server → share of requests that it traces."""


def tracing(options: argparse.Namespace) -> dict[str, Any]:
    """Processor milliseconds of an answer, by server, of each round; of all threads, that which sends, too."""
    lake, bundle = bank_of_products(options.work, options.customers)
    wires = [request("/recommend", body) for body in questions(options.asked)]
    spent: dict[str, list[float]] = {name: [] for name in SHARES}
    with ExitStack() as stack:
        collector = stack.enter_context(collecting())
        servers = {}
        for name, share in SHARES.items():
            more = () if share is None else ("--traces", collector.url, "--trace-share", share)
            server = stack.enter_context(ours(str(bundle), "--lake", str(lake.path), *more, workers=1))
            servers[name] = server
            asking(server.port, wires, CALLERS, lambda number, _: number < 2 * len(wires))  # warms up
        for _ in range(options.rounds):
            for name, server in servers.items():
                spent[name].append(_milliseconds(server, wires, options.seconds))
        stack.pop_all().close()  # the servers stop and send what they have
        spans = len(collector.spans())
    return {"answer_ms": spent, "spans": spans}


def _milliseconds(server: Running, wires: list[bytes], seconds: float) -> float:
    (worker,) = server.workers
    before = worker.cpu_times()
    answered = asking(server.port, wires, CALLERS, lambda _, now: now < seconds)
    after = worker.cpu_times()
    return 1000 * (after.user + after.system - before.user - before.system) / len(answered)


def say_tracing(found: dict[str, Any]) -> str:
    """The page's part."""
    times = found["answer_ms"]
    lines = ["| traced | processor ms of an answer | more than without |", "|---|---|---|"]
    for name, rounds in times.items():
        more = [1000 * (one - base) for one, base in zip(rounds, times["without"], strict=True)]
        beside = (
            "" if name == "without" else f"{statistics.median(more):+.0f} µs ({min(more):+.0f} to {max(more):+.0f})"
        )
        lines.append(f"| {name} | {statistics.median(rounds):.3f} | {beside} |")
    rounds = len(times["without"])
    return "\n".join(
        [
            *lines,
            f"\n`/recommend`, 1,000 products, one worker, {CALLERS} callers, {rounds} alternating rounds; medians, and "
            "in brackets the least and the most of the rounds. A traced request has two spans; "
            f"{found['spans']:,} came to the collector, which runs in the load generator.",
        ]
    )
