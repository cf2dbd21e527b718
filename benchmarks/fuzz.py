"""Thousands of invented requests against a running service: no 5xx, no broken schema, nothing let in without a key."""

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from benchmarks.measure import ROOT, arguments, synthetic_bank, write

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "unsupported_method",
    "use_after_free",
    "ignored_auth",
)
"""Of Schemathesis. `positive_data_acceptance` is left out: the contract's rules across rows (an account is held by this
customer, no event after the day) cannot be said in JSON Schema, so what fits the schema may still be refused."""


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--customers", type=int, default=300)
    parser.add_argument("--examples", type=int, default=500, help="invented requests of each operation and phase")
    parser.add_argument("--bundle", type=Path, help="a bundle trained before; else one is trained")
    parser.add_argument("--lake", type=Path, help="the lake of that bundle")
    options = parser.parse_args()
    bundle, lake = _given(options)
    work = options.work / "fuzz"
    work.mkdir(parents=True, exist_ok=True)
    found = {}
    for name in ("with a key", "without keys"):
        print(f"{name}: {options.examples} examples of every operation", file=sys.stderr, flush=True)
        with service(bundle, lake, work, keyed=name == "with a key") as (url, key):
            found[name] = fuzzed(url, key, options.examples, work)
        print(json.dumps(found[name], indent=1), file=sys.stderr, flush=True)
    write("fuzz", "Invented requests", _text(found, options.examples), {"runs": found, "examples": options.examples})
    if any(run["failures"] or run["status"] for run in found.values()):
        sys.exit("there are failures; see benchmarks/fuzz.json")


def fuzzed(url: str, key: str | None, examples: int, work: Path, phases: str = "examples,coverage,fuzzing,stateful",
           seed: int = 1, checks: Sequence[str] = CHECKS) -> dict[str, Any]:  # fmt: skip
    """What Schemathesis found: requests sent, failures by check, its exit status, seconds."""
    report = work / "fuzz.ndjson"
    report.unlink(missing_ok=True)
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json", "--max-examples", str(examples)]
    command += ["--phases", phases, "--checks", ",".join(checks), "--seed", str(seed), "--continue-on-failure"]
    command += ["--no-shrink", "--suppress-health-check", "all", "--request-timeout", "30", "--workers", "1"]
    command += ["--report", "ndjson", "--report-ndjson-path", str(report), "--warnings", "off", "--no-color"]
    if key:
        command += ["--header", f"Authorization: Bearer {key}"]
    started = time.monotonic()
    done = subprocess.run(command, cwd=work, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    told = _told(report)
    told |= {"status": done.returncode, "seconds": round(time.monotonic() - started)}
    if done.returncode:
        told["said"] = done.stdout[-6000:]
    return told


def _told(report: Path) -> dict[str, Any]:
    requests, statuses, failures = 0, dict[str, int](), dict[str, int]()
    for line in report.read_text().splitlines() if report.exists() else ():
        event = json.loads(line)
        for recorder in _recorders(event):
            for interaction in recorder.get("interactions", {}).values():
                response = interaction.get("response")
                if response:
                    requests += 1
                    code = str(response.get("status_code"))
                    statuses[code] = statuses.get(code, 0) + 1
            for checks in recorder.get("checks", {}).values():
                for check in checks:
                    if check.get("status") == "failure":
                        failures[check["name"]] = failures.get(check["name"], 0) + 1
    return {"requests": requests, "statuses": dict(sorted(statuses.items())), "failures": failures}


def _recorders(event: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for part in event.values():
        if isinstance(part, dict) and isinstance(part.get("recorder"), dict):
            yield part["recorder"]


@contextmanager
def service(bundle: Path, lake: Path, work: Path, keyed: bool, *more: str) -> Iterator[tuple[str, str | None]]:
    """A running service and a key of every scope, or none."""
    key, options = None, list(more)
    if keyed:
        from serving.keys import add_key

        file = work / f"keys-{time.time_ns()}.json"
        key = add_key(file, "fuzz", ["score", "write", "admin"], 1e6, 1_000_000, None)
        options += ["--keys", str(file)]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-P", "-m", "recsys", "serve", str(bundle), "--lake", str(lake), "--port", str(port)]
    with (work / "server.log").open("wb") as log:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        process = subprocess.Popen([*command, *options], cwd=work, env=environment, stdout=log, stderr=log)
    try:
        _await_ready(f"http://127.0.0.1:{port}", process)
        yield f"http://127.0.0.1:{port}", key
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def _await_ready(url: str, process: "subprocess.Popen[bytes]") -> None:
    for _ in range(1200):
        if process.poll() is not None:
            raise RuntimeError("the service ended; see server.log")
        try:
            if httpx.get(f"{url}/readyz", timeout=60).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise RuntimeError("the service is not ready after two minutes; see server.log")


def _given(options: argparse.Namespace) -> tuple[Path, Path]:
    if options.bundle and options.lake:
        return options.bundle, options.lake
    from recsys.progress import progress_bar
    from training.config import load_config
    from training.fit import train

    lake = synthetic_bank(options.customers, 0, options.work)
    quick = ["training.epochs=1", "adoption.epochs=1", "embedding.autoencoder.epochs=1"]
    quick += ["embedding.sequence={epochs: 1}", "segments={algorithms: [k_means], bootstraps: 2}"]
    with progress_bar("Training") as progress:
        return train(load_config("demo", quick), lake, options.work / "bundles", progress), Path(lake.path)


def _text(found: Mapping[str, Any], examples: int) -> str:
    lines = [
        f"Schemathesis reads `/openapi.json` and invents requests: examples, edge cases of every field, at least "
        f"{examples} at random of every operation, and chains of them. Checked of every answer: "
        f"{', '.join(name.replace('_', ' ') for name in CHECKS)}.",
        "",
        "| | requests | 5xx | failed checks | seconds |",
        "|---|---|---|---|---|",
    ]
    for name, run in found.items():
        errors = sum(count for status, count in run["statuses"].items() if status.startswith("5"))
        failed = sum(run["failures"].values())
        lines.append(f"| {name} | {run['requests']:,} | {errors} | {failed} | {run['seconds']} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
