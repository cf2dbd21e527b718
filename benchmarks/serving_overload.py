"""The service at five times what it can do: who is told to come back, how soon the others are answered, and after."""

import argparse
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.http_load import Answer, request
from benchmarks.open_loop import arriving, asking
from benchmarks.serving_parts import bank_of_products, ours, questions

WHOLE = 2.0
"""Seconds of whole answers by which the service has recovered."""


def overload(options: argparse.Namespace) -> dict[str, Any]:
    """Rounds of all phases: what was sent and answered in each, and how long until the service was whole again."""
    lake, bundle = bank_of_products(options.work, options.customers)
    wires = [request("/recommend", body) for body in questions(options.asked)]
    with ours(str(bundle), "--lake", str(lake.path), workers=1) as own:
        asking(own.port, wires, 4, lambda number, _: number < 2 * len(wires))  # warms up
        rounds = [_round(own.port, wires, options.seconds) for _ in range(options.rounds)]
    return {"rounds": rounds, "middle": int(np.argsort([one["ratio"] for one in rounds])[len(rounds) // 2])}


def _round(port: int, wires: Sequence[bytes], seconds: float) -> dict[str, Any]:
    began, half = _stolen(), seconds / 2
    answered = asking(port, wires, 8, lambda _, now: now < half)
    capacity = len(answered) / half
    told, after = {"normal": _told(answered, half, began)}, []
    for name, rate in (("half", 0.5), ("overload", 5.0), ("after", 0.5)):
        began = _stolen()
        after = arriving(port, wires, rate * capacity, seconds)
        told[name] = _told(after, seconds, began)
    ratio = told["overload"]["p99"] / told["normal"]["p99"]
    return {"capacity": capacity, "ratio": ratio, "recovered": _recovered(after, _p99(answered)), "phases": told}


def _stolen() -> float:
    """Seconds that the hypervisor has kept all processors from running, NaN where the system does not tell."""
    try:
        return int(Path("/proc/stat").read_text().split("\n", 1)[0].split()[8]) / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError, ValueError):
        return float("nan")


def _accepted(answers: Sequence[Answer]) -> list[Answer]:
    return [answer for answer in answers if answer.status == 200]


def _p99(answers: Sequence[Answer]) -> float:
    return float(np.percentile([answer.seconds for answer in _accepted(answers)] or [np.nan], 99))


def _told(answers: Sequence[Answer], seconds: float, stolen: float) -> dict[str, Any]:
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
        "stolen_share": (_stolen() - stolen) / seconds,
        "late_p99": float(np.percentile([answer.late * 1000 for answer in answers], 99)),
    }


def _recovered(answers: Sequence[Answer], normal: float) -> float:
    """Seconds after overload until `WHOLE` seconds begin whose every half is whole: all accepted, p99 at most twice the
    normal."""
    since = 0.0
    for start in np.arange(0, max(answer.due for answer in answers), 0.5):
        if start - since >= WHOLE:
            break
        window = [answer for answer in answers if start <= answer.due < start + 0.5]
        if window and (len(_accepted(window)) < len(window) or _p99(window) > 2 * normal):
            since = float(start) + 0.5
    return since


def say_overload(found: dict[str, Any]) -> str:
    """The page's part."""
    middle = found["rounds"][found["middle"]]
    lines = [
        "| phase | sent/s | answered/s | p50 | p99 | p99 once written | sent late, p99 | stolen | statuses |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, one in middle["phases"].items():
        lines.append(
            f"| {name} | {one['sent_per_second']:,.0f} | {one['accepted_per_second']:,.0f} | {one['p50']:.1f} ms | "
            f"{one['p99']:.1f} ms | {one['p99_written']:.1f} ms | {one['late_p99']:.1f} ms | "
            f"{one['stolen_share']:.1%} | {one['statuses']} |"
        )
    rounds = "; ".join(
        f"{one['ratio']:.2f} ×, whole after {one['recovered']:.1f} s, "
        f"{_refused(one['phases']['half']) + _refused(one['phases']['after']):,} refused at half load, "
        f"{one['phases']['overload']['stolen_share']:.1%} of overload stolen"
        for one in found["rounds"]
    )
    lines.append(
        f"\nOne worker. Normal is its capacity, {middle['capacity']:,.0f}/s, as 8 callers who ask on and on see it; "
        f"half: half of that rate, arriving evenly; overload: five times it; after: half again, right after that.\n\n"
        f"p99 of what was accepted {middle['ratio']:.2f} × normal (at most 2); whole again "
        f"{middle['recovered']:.1f} s after (at most 5): then {WHOLE:g} s began in which every half second had all "
        "accepted and a p99 of at most twice the normal one. Times run from when a request was due; what the load "
        "generator was late is in them. Stolen is what the hypervisor took of a processor's time: a stall of a tenth "
        "of a second is more than one in a hundred of the accepted feels. Status 0 is a broken connection.\n\n"
        f"The round in the middle is shown; all of them: {rounds}."
    )
    return "\n".join(lines)


def _refused(phase: dict[str, Any]) -> int:
    return sum(count for status, count in phase["statuses"].items() if status != "200")
