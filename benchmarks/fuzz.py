"""Thousands of invented requests against a running service: no 5xx, no broken schema, nothing let in without a key."""

import argparse
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from benchmarks.fuzz_found import by_ends, summed, told_in
from benchmarks.fuzz_known import CHAINED, VARIABLE
from benchmarks.measure import ROOT, arguments, digest, synthetic_bank, write
from recsys.lake.store import Lake
from recsys.progress import progress_bar
from serving.openapi_links import LINKS
from serving.store.load import load
from serving.store.suppression import KEY

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
TAKES_ROWS = "post_events"
"""Judges each row alone and answers 200 with the rows refused: `negative_data_rejection` looks at the status only."""
CHAINS = "chains"
PHASES = "examples,coverage,fuzzing"
STEPS = 12
"""Requests in a chain, at most."""
CHAIN_SETTINGS = f"""
[phases.stateful]
max-steps = {STEPS}

[phases.stateful.generation]
mode = "positive"
"""
"""What only a file can say: longer chains, of requests that fit the schema, for no chain goes on from another."""
DOCUMENTED = {(" ".join(source), " ".join(link.operation)) for source, links in LINKS.items() for link in links}
"""Source and target of the document's links, of which a row of zeros tells if they were never followed."""
ROUNDS = 20
"""Schemathesis ends a round of chains early where the service answered a repeated request otherwise, as after an
erasure; so many rounds, each from another seed, are tried to come to the number of chains asked for."""


@dataclass(frozen=True)
class Target:
    """A running service to be asked."""

    url: str
    key: str | None
    work: Path
    known: Path
    """What of the bank's is put into requests; see `fuzz_known`."""


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--customers", type=int, default=1500)
    parser.add_argument("--examples", type=int, default=500, help="invented requests of each operation, and chains")
    parser.add_argument("--bundle", type=Path, help="a bundle trained before; else one is trained")
    parser.add_argument("--lake", type=Path, help="the lake of that bundle")
    parser.add_argument("--fresh", action="store_true", help="ask again what was found without a fault before")
    options = parser.parse_args()
    bundle, lake = _given(options)
    work = options.work / "fuzz"
    work.mkdir(parents=True, exist_ok=True)
    if options.fresh:
        (work / "found.json").unlink(missing_ok=True)
    found = {}
    for name in ("with a key", "without keys"):
        with service(bundle, lake, work, keyed=name == "with a key") as target:
            found[name] = everything(target, name, options.examples)
    write("fuzz", "Invented requests", _text(found, options.examples), {"runs": found, "examples": options.examples})
    if any(run["failures"] or run["status"] for runs in found.values() for run in runs.values()):
        sys.exit("there are failures; see benchmarks/fuzz.json")


def everything(target: Target, name: str, examples: int) -> dict[str, Any]:
    """Operation → what was found, chains last; what an earlier run found without a fault is not asked again."""
    kept = target.work / "found.json"
    found: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {}
    document = _document(target)
    asked = [*operations(document), CHAINS]
    place = f"{name}, {examples} examples of {digest(json.dumps(document, sort_keys=True))[:16]}"
    runs: dict[str, Any] = found.setdefault(place, {})
    for number, operation in enumerate(asked, 1):
        if operation not in runs or runs[operation]["failures"] or runs[operation]["status"]:
            print(f"{name}: {number}/{len(asked)} {operation}", file=sys.stderr, flush=True)
            runs[operation] = run = (
                chained(target, examples) if operation == CHAINS else fuzzed(target, examples, operation)
            )
            said = {key: value for key, value in run.items() if key != "said"}
            print(json.dumps(said), run.get("said", ""), file=sys.stderr, flush=True)
            kept.with_suffix(".partial").write_text(json.dumps(found))
            kept.with_suffix(".partial").replace(kept)
    return {operation: runs[operation] for operation in asked}


def chained(target: Target, chains: int) -> dict[str, Any]:
    """What at least so many chains of requests found, as `fuzzed` tells it, of all rounds."""
    runs: list[dict[str, Any]] = []
    first = 1 if target.key else 1 + ROUNDS  # so that the two kinds of service see different chains
    while sum(run["chains"] for run in runs) < chains and len(runs) < ROUNDS:
        left = chains - sum(run["chains"] for run in runs)
        runs.append(fuzzed(target, left, CHAINS, seed=first + len(runs)))
        said = {name: runs[-1][name] for name in ("chains", "linked", "requests", "seconds")}
        print(f"chains, round {len(runs)}: {said}", file=sys.stderr, flush=True)
        if runs[-1]["status"]:
            break
    last = {name: runs[-1][name] for name in ("status", "said") if name in runs[-1]}
    counts = {name: sum(run[name] for run in runs) for name in ("requests", "seconds", "chains", "linked")}
    tables = ("statuses", "failures", "links")
    return {**counts, **{name: summed([run[name] for run in runs]) for name in tables}, "rounds": len(runs), **last}


def operations(document: Mapping[str, Any]) -> list[str]:
    """The ids of the operations of an OpenAPI document."""
    return [operation["operationId"] for methods in document["paths"].values() for operation in methods.values()]


def _document(target: Target) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {target.key}"} if target.key else {}
    found: dict[str, Any] = httpx.get(f"{target.url}/openapi.json", headers=headers, timeout=60).json()
    return found


def fuzzed(target: Target, examples: int, operation: str | None = None, phases: str = PHASES,
           seed: int = 1, checks: Sequence[str] = CHECKS) -> dict[str, Any]:  # fmt: skip
    """What Schemathesis found: requests sent, failures by check, chains, links followed, its exit status, seconds.

    `operation` is an operation id, `CHAINS` for chains of all of them, or None for all, one by one.
    """
    report = target.work / "fuzz.ndjson"
    report.unlink(missing_ok=True)
    if operation in (None, CHAINS, TAKES_ROWS):  # with POST /events among them
        checks = [check for check in checks if check != "negative_data_rejection"]
    phases = "stateful" if operation == CHAINS else phases
    command = [sys.executable, "-m", "schemathesis.cli"]
    if operation == CHAINS:
        settings = target.work / "chains.toml"
        settings.write_text(CHAIN_SETTINGS)
        command += ["--config-file", str(settings)]
    command += ["run", f"{target.url}/openapi.json"]
    command += ["--max-examples", str(examples), "--phases", phases, "--checks", ",".join(checks)]
    command += ["--seed", str(seed), "--continue-on-failure", "--no-shrink", "--suppress-health-check", "all"]
    command += ["--request-timeout", "30", "--workers", "1", "--generation-database", "none"]
    command += ["--report", "ndjson", "--report-ndjson-path", str(report), "--warnings", "off", "--no-color"]
    if operation not in (None, CHAINS):
        command += ["--include-operation-id", str(operation)]
    if target.key:
        command += ["--header", f"Authorization: Bearer {target.key}"]
    started = time.monotonic()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), VARIABLE: str(target.known)}
    environment["SCHEMATHESIS_HOOKS"] = "benchmarks.fuzz_known"
    if operation == CHAINS:
        environment[CHAINED] = "1"
    done = subprocess.run(
        command, cwd=target.work, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    told = told_in(report)
    told |= {"status": done.returncode, "seconds": round(time.monotonic() - started)}
    if done.returncode:
        told["said"] = done.stdout[-6000:]
    return told


@contextmanager
def service(bundle: Path, lake: Path, work: Path, keyed: bool, *more: str) -> Iterator[Target]:
    """A running service on a new store, with a key of every scope, or none."""
    key, options = None, list(more)
    if keyed:
        from serving.keys import add_key

        file = work / f"keys-{time.time_ns()}.json"
        key = add_key(file, "fuzz", ["score", "write", "admin"], 1e6, 1_000_000, None)
        options += ["--keys", str(file)]
    store = work / f"state-{time.time_ns()}.db"
    os.environ.setdefault(KEY, "a secret that only this test uses")
    load(str(bundle), str(lake), str(store), threads=1)
    known = work / "known.json"
    known.write_text(json.dumps(_known(Lake.open(lake))))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-P", "-m", "recsys", "serve", str(bundle), "--store", str(store), "--port", str(port)]
    with (work / "server.log").open("wb") as log:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        process = subprocess.Popen([*command, *options], cwd=work, env=environment, stdout=log, stderr=log)
    try:
        _await_ready(f"http://127.0.0.1:{port}", process)
        yield Target(f"http://127.0.0.1:{port}", key, work, known)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        for path in work.glob(f"{store.name}*"):
            path.unlink()


def _known(lake: Lake) -> dict[str, list[str]]:
    """Column → values of the bank's own."""
    found = {
        column: lake.read(table)[column].unique().sort().to_list()
        for column, table in (
            ("customer_id", "customers"),
            ("product_id", "products"),
            ("account_id", "accounts"),
            ("campaign_id", "campaigns"),
        )
        if table in lake.tables
    }
    if lake.last_event is not None:
        found["at"] = [f"{lake.last_event}T{hour:02}:30:00" for hour in range(24)]
    return found


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
        return options.bundle.resolve(), options.lake.resolve()
    from training.config import load_config
    from training.fit import train

    lake = synthetic_bank(options.customers, 0, options.work)
    made = options.work / "fuzz-bundle.path"
    if made.exists() and Path(made.read_text()).exists():
        return Path(made.read_text()), Path(lake.path)
    quick = ["training.epochs=1", "adoption.epochs=1", "embedding.autoencoder.epochs=1"]
    quick += ["embedding.sequence={epochs: 1}", "segments={algorithms: [k_means], bootstraps: 2}", *options.set]
    with progress_bar("Training") as progress:
        bundle = train(load_config("demo", quick), lake, options.work / "bundles", progress)
    made.write_text(str(bundle))
    return bundle, Path(lake.path)


def _text(found: Mapping[str, Mapping[str, Any]], examples: int) -> str:
    lines = [
        f"Schemathesis reads `/openapi.json` and invents requests to a service with a store: examples, edge cases of "
        f"every field, up to {examples} at random of every operation, and chains along the document's "
        "links. In most of them an invented id or time is replaced by one of the bank's own. Checked of every answer: "
        f"{', '.join(name.replace('_', ' ') for name in CHECKS)}; of `POST /events`, which judges each row alone and "
        "says so with 200, and of chains, which hold it, not that invalid rows are answered by 4xx.",
    ]
    for name, runs in found.items():
        lines += ["", f"## {name.capitalize()}", "", "| operation | requests | 2xx | 401 | 5xx | failed checks | s |"]
        lines += ["|---|---|---|---|---|---|---|"]
        for operation, run in runs.items():
            lines.append(_row(f"`{operation}`" if operation != CHAINS else operation, [run]))
        lines.append(_row("**all**", list(runs.values())))
        lines += ["", _chains(runs[CHAINS])]
    return "\n".join([*lines, "", *_links({name: runs[CHAINS]["links"] for name, runs in found.items()})]) + "\n"


def _chains(run: Mapping[str, Any]) -> str:
    return (
        f"{run['chains']:,} chains of at most {STEPS} requests (rounds: {run['rounds']}). In {run['linked']:,} of them "
        f"links were followed: {sum(run['links'].values()):,} requests are about what an answer before them told."
    )


def _links(followed: Mapping[str, Mapping[str, int]]) -> list[str]:
    """How often each link was followed."""
    lines = [
        "## Links followed",
        "",
        "| from | to | " + " | ".join(followed) + " |",
        "|---" * (2 + len(followed)) + "|",
    ]
    by_pair = {name: by_ends(links) for name, links in followed.items()}
    for source, target in sorted({pair for pairs in by_pair.values() for pair in pairs} | DOCUMENTED):
        counts = " | ".join(f"{pairs.get((source, target), 0):,}" for pairs in by_pair.values())
        lines.append(f"| `{source}` | `{target}` | {counts} |")
    return lines


def _row(name: str, runs: Sequence[Mapping[str, Any]]) -> str:
    def count(pattern: str) -> str:
        kinds = [many for run in runs for status, many in run["statuses"].items() if re.fullmatch(pattern, status)]
        return f"{sum(kinds):,}"

    requests, seconds = (sum(run[what] for run in runs) for what in ("requests", "seconds"))
    failed = sum(sum(run["failures"].values()) for run in runs)
    return f"| {name} | {requests:,} | {count('2..')} | {count('401')} | {count('5..')} | {failed} | {seconds:,} |"


if __name__ == "__main__":
    main()
