"""A million customers from nothing to scores: wall time, rows per second and peak memory of every step."""

import argparse
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks.measure import ROOT, arguments, write
from recsys.lake.store import Lake

GIB = 1 << 30
DONE = "steps.json"
"""What has been measured, so that a run that was stopped goes on."""


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--customers", type=int, default=1_000_000)
    parser.add_argument("--buckets", type=int, default=128)
    parser.add_argument("--sample", type=int, default=100_000, help="customers that training reads")
    parser.add_argument("--memory", default="4GiB", help="the budget given to train and score")
    parser.add_argument("--features", type=int, nargs="*", help="internal: feature rows of a lake to nowhere")
    parser.add_argument("--keep", action="store_true", help="leave the lake, the bundle and the scores where they are")
    options = parser.parse_args()
    folder = options.work / f"scale-{options.customers}"
    lake, small = folder / "lake", folder / "small"
    if options.features is not None:
        _features(Lake.open(small if options.features else lake))
        return
    folder.mkdir(parents=True, exist_ok=True)
    steps = _steps(options, lake, small, folder)
    text, results = _text(options, Lake.open(lake), steps), {"options": _plain(options), "steps": steps}
    write("scale", f"{options.customers:,} customers on one small machine", text, results)
    if not options.keep:
        shutil.rmtree(folder)


def _steps(options: argparse.Namespace, lake: Path, small: Path, folder: Path) -> list[dict[str, Any]]:
    memory = ["--memory", options.memory]
    settings = ["--set", f"training.customers={options.sample}", *[w for s in options.set for w in ("--set", s)]]
    synth = ["data", "synth", str(lake), "--customers", str(options.customers), "--buckets", str(options.buckets)]
    done = folder / DONE
    steps = [_step("data synth", "events", _events, lake, ["-m", "recsys", *synth], done)]
    tenth = [str(small), "--customers", str(options.customers // 10), "--buckets", str(options.buckets // 8)]
    _step("a tenth of the bank", "events", _events, small, ["-m", "recsys", "data", "synth", *tenth], done)
    mine = ["-m", "benchmarks.scale", "--work", str(options.work), "--customers", str(options.customers)]
    steps.append(
        _step("features of all, a tenth of the bank", "events", _events, small, [*mine, "--features", "1"], done)
    )
    steps.append(_step("features of all", "events", _events, lake, [*mine, "--features"], done))
    steps.append(_step("data check", "events", _events, lake, ["-m", "recsys", "data", "check", str(lake)], done))
    train = ["-m", "recsys", "train", "demo", "--lake", str(lake), "--out", str(folder), *memory, *settings]
    steps.append(_step("train", "examples", lambda _: _seen(folder), lake, train, done))
    (bundle,) = folder.glob("demo-*")
    within = json.loads((bundle / "manifest.json").read_text())["seconds"]
    steps[-1]["within"] = within
    evaluation = ["-m", "recsys", "evaluate", str(bundle), "--lake", str(lake), "--json"]
    steps.append(_step("evaluate", "events", _events, lake, evaluation, done, folder / "evaluation.json"))
    score = ["-m", "recsys", "score", str(bundle), str(lake), str(folder / "scores"), "--top", "10", *memory]
    steps.append(_step("score, top 10", "customers", _customers, lake, score, done))
    return steps


def _step(
    name: str, unit: str, count: Any, lake: Path, arguments_: list[str], done: Path, answer: Path | None = None
) -> dict[str, Any]:
    """One command in a process of its own: seconds, rows, and the peaks of its memory; kept, and not done twice."""
    steps: dict[str, dict[str, Any]] = json.loads(done.read_text()) if done.exists() else {}
    if name in steps:
        return steps[name]
    print(f"$ python {' '.join(arguments_)}", file=sys.stderr)
    began = time.perf_counter()
    with answer.open("w") if answer else open(os.devnull, "w") as out:
        process = subprocess.Popen([sys.executable, *arguments_], cwd=ROOT, stdout=out)
        peak = _Peak(process.pid)
        _, status, usage = os.wait4(process.pid, 0)
        peak.stop()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{name}: exit code {process.returncode}")
    seconds = time.perf_counter() - began
    found = {"step": name, "seconds": seconds, "unit": unit, "rows": count(Lake.open(lake))}
    found |= {"resident_gib": usage.ru_maxrss * 1024 / GIB, "own_gib": peak.own * _page_gib()}
    print(found, file=sys.stderr)
    done.write_text(json.dumps({**steps, name: found}, indent=1))
    return found


class _Peak:
    """The largest number of pages that are a process's own, looked at ten times a second."""

    def __init__(self, pid: int) -> None:
        self.own = 0
        self._pid = pid
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.1):
            try:
                _, resident, shared, *_ = map(int, Path(f"/proc/{self._pid}/statm").read_text().split())
            except (OSError, ValueError):
                return
            self.own = max(self.own, resident - shared)


def _page_gib() -> float:
    return os.sysconf("SC_PAGESIZE") / GIB


def _features(lake: Lake) -> None:
    """Every feature of every customer, bucket by bucket, kept nowhere."""
    from recsys.features.definition import FeatureConfig, define
    from recsys.features.examples import scoring_examples
    from recsys.features.features import features

    definition = define(lake, FeatureConfig(history_length=32))
    for bucket in range(lake.buckets):
        tables = lake.bucket(bucket)
        features(tables, scoring_examples(tables["customers"]["customer_id"].sort(), lake.as_of), definition)


def _events(lake: Lake) -> int:
    return sum(info.rows for name, info in lake.tables.items() if name not in ("products", "campaigns", "customers"))


def _customers(lake: Lake) -> int:
    return lake.tables["customers"].rows


def _seen(folder: Path) -> int:
    (bundle,) = folder.glob("demo-*")
    return int(json.loads((bundle / "report" / "metrics.json").read_text())["train_examples"])


def _plain(options: argparse.Namespace) -> dict[str, Any]:
    return {name: value for name, value in vars(options).items() if name not in ("datasets", "work", "features")}


def _text(options: argparse.Namespace, lake: Lake, steps: list[dict[str, Any]]) -> str:
    lines = [
        "| step | wall time | rows per second | peak resident memory | without mapped files |",
        "|---|---|---|---|---|",
    ]
    for step in steps:
        lines.append(
            f"| {step['step']} | {step['seconds']:,.0f} s | {step['rows'] / step['seconds']:,.0f} {step['unit']} "
            f"| {step['resident_gib']:.2f} GiB | {step['own_gib']:.2f} GiB |"
        )
    within = next(step["within"] for step in steps if "within" in step)
    parts = ", ".join(f"{name} {seconds:,.0f} s" for name, seconds in within.items())
    rows = ", ".join(f"{name} {info.rows:,}" for name, info in lake.tables.items())
    return (
        f"A synthetic bank in {lake.buckets} buckets ({rows}), made, learnt from on a declared sample "
        f"(`training.customers={options.sample}`, `--memory {options.memory}`), evaluated and scored on one machine; "
        "each step is one command in a process of its own. The last column leaves out pages of mapped files, which the "
        "kernel may drop at any time; it is looked at ten times a second.\n\n"
        + "\n".join(lines)
        + f"\n\nWithin train: {parts}."
    )


if __name__ == "__main__":
    main()
