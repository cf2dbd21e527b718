"""The service at five times what it can do: who is told to come back, how soon the others are answered, and after."""

import argparse
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.http_load import Answer, request
from benchmarks.open_loop import arriving, asking
from benchmarks.serving_parts import bank_of_products, ours, questions


def overload(options: argparse.Namespace) -> dict[str, Any]:
    """What was sent and answered in each phase, and how long until the service was whole again."""
    lake, bundle = bank_of_products(options.work, options.customers)
    wires = [request("/recommend", body) for body in questions(options.asked)]
    with ours(str(bundle), "--lake", str(lake.path), workers=1) as own:
        asking(own.port, wires, 4, lambda number, _: number < 2 * len(wires))  # warms up
        half = options.seconds / 2
        answered = asking(own.port, wires, 8, lambda _, now: now < half)
        capacity = len(answered) / half
        told = {"normal": _told(answered, half)}
        phases = {}
        for name, rate in (("half", 0.5), ("overload", 5.0), ("after", 0.5)):
            phases[name] = arriving(own.port, wires, rate * capacity, options.seconds)
    told |= {name: _told(answers, options.seconds) for name, answers in phases.items()}
    return {"capacity": capacity, "recovered": _recovered(phases["after"], _p99(answered)), "phases": told}


def _accepted(answers: Sequence[Answer]) -> list[Answer]:
    return [answer for answer in answers if answer.status == 200]


def _p99(answers: Sequence[Answer]) -> float:
    return float(np.percentile([answer.seconds for answer in _accepted(answers)] or [np.nan], 99))


def _told(answers: Sequence[Answer], seconds: float) -> dict[str, Any]:
    statuses = Counter(answer.status for answer in answers)
    accepted = _accepted(answers) or [Answer(0, float("nan"), 0, b"")]
    p50, p99 = np.percentile([1000 * one.seconds for one in accepted], [50, 99])
    return {
        "sent_per_second": len(answers) / seconds,
        "accepted_per_second": statuses[200] / seconds,
        "statuses": {str(status): count for status, count in sorted(statuses.items())},
        "p50": float(p50),
        "p99": float(p99),
        "p99_written": float(np.percentile([1000 * (one.seconds - one.late) for one in accepted], 99)),
        "late_p99": float(np.percentile([answer.late * 1000 for answer in answers], 99)),
    }


def _recovered(answers: Sequence[Answer], normal: float) -> float:
    """Seconds after overload from which on every half second is whole: all accepted, p99 at most twice the normal."""
    last = 0.0
    for start in np.arange(0, max(answer.due for answer in answers), 0.5):
        window = [answer for answer in answers if start <= answer.due < start + 0.5]
        if window and (len(_accepted(window)) < len(window) or _p99(window) > 2 * normal):
            last = float(start) + 0.5
    return last


def say_overload(found: dict[str, Any]) -> str:
    """The page's part."""
    lines = [
        "| phase | sent/s | answered/s | p50 | p99 | p99 from when it was written | sent late, p99 | statuses |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, one in found["phases"].items():
        lines.append(
            f"| {name} | {one['sent_per_second']:,.0f} | {one['accepted_per_second']:,.0f} | {one['p50']:.1f} ms | "
            f"{one['p99']:.1f} ms | {one['p99_written']:.1f} ms | {one['late_p99']:.1f} ms | {one['statuses']} |"
        )
    ratio = found["phases"]["overload"]["p99"] / found["phases"]["normal"]["p99"]
    lines.append(
        f"\nOne worker. Normal is its capacity, {found['capacity']:,.0f}/s, as 8 callers who ask on and on see it; "
        f"half: half of that rate, arriving evenly; overload: five times it; after: half again, right after that.\n\n"
        f"p99 of what was accepted {ratio:.2f} × normal (at most 2); whole again "
        f"{found['recovered']:.1f} s after (at most 5). Times run from when a request was due; what the "
        "load generator was late is in them. Status 0 is a broken connection."
    )
    return "\n".join(lines)
