"""What answering several callers as one batch could save: the ranking by batch size, beside a whole answer."""

import argparse
import statistics
import time
from typing import Any

import numpy as np

from benchmarks.http_load import request
from benchmarks.open_loop import asking
from benchmarks.serving_parts import TOP, bank_of_products, ours, questions
from serving.answers import Answers

SIZES = (1, 2, 4, 8, 16, 32)
ROUNDS = 7
CALLERS = 8


def batching(options: argparse.Namespace) -> dict[str, Any]:
    """Processor milliseconds a customer of the ranking graph by batch size, and of a whole answer over HTTP."""
    lake, bundle = bank_of_products(options.work, options.customers)
    answers = Answers.open(bundle, lake.path, None)
    recommender, known = answers.recommender, answers.known
    assert recommender is not None and known is not None
    ids = lake.bucket(0)["customers"]["customer_id"].unique().sort().to_list()[: options.asked]
    seen = [found for one in ids if (found := known.seen(one, answers.as_of)) is not None]
    vectors = np.concatenate([one.vectors for one in seen if one.vectors is not None])
    allowed = np.concatenate([recommender.allowed(one.held) for one in seen])
    took: dict[int, list[float]] = {size: [] for size in SIZES}
    for _ in range(ROUNDS + 1):
        for size, times in took.items():
            began = time.process_time()
            for start in range(0, len(seen), size):
                recommender.rank(vectors[start : start + size], allowed[start : start + size], TOP)
            times.append(1000 * (time.process_time() - began) / len(seen))
    wires = [request("/recommend", body) for body in questions(options.asked)]
    with ours(str(bundle), "--lake", str(lake.path), workers=1) as own:
        asking(own.port, wires, CALLERS, lambda number, _: number < 2 * len(wires))  # warms up
        (worker,) = own.workers
        before = worker.cpu_times()
        answered = asking(own.port, wires, CALLERS, lambda _, now: now < options.seconds)
        after = worker.cpu_times()
    spent = after.user + after.system - before.user - before.system
    return {
        "customers": len(seen),
        "rank_ms": {str(size): statistics.median(times[1:]) for size, times in took.items()},
        "answer_ms": 1000 * spent / len(answered),
        "answers_per_second": len(answered) / options.seconds,
    }


def say_batching(found: dict[str, Any]) -> str:
    """The page's part."""
    rank, whole = found["rank_ms"], found["answer_ms"]
    lines = ["| customers in one call | processor ms a customer |", "|---|---|"]
    lines += [f"| {size} | {took:.3f} |" for size, took in rank.items()]
    saved = rank["1"] - min(rank.values())
    return "\n".join(
        [
            *lines,
            f"\nThe ranking of `/recommend` alone, 1,000 products, in process, {found['customers']:,} customers. A "
            f"whole answer over HTTP takes {whole:.2f} ms of a worker's processor "
            f"({found['answers_per_second']:,.0f} answers a second to {CALLERS} callers). So if every batch were full "
            f"at once, and gathering it cost nothing, a worker would answer {whole / (whole - saved):.2f} times as "
            "many; each caller would wait for the batch to fill and for all of it to be ranked. Questions are answered "
            "one by one.",
        ]
    )
