"""Feature rows of every customer of a synthetic bank, from the lake to Parquet: ours, and the same in DuckDB's SQL."""

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.measure import ROOT, arguments, peak_mib, synthetic_bank, write
from recsys.features.definition import FeatureConfig, FeatureDefinition, define
from recsys.lake.store import Lake

THREADS = 2
SIDES = ("recsys", "duckdb")


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--customers", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--buckets", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--side", choices=SIDES, help="internal: one run of one side, as JSON")
    options = parser.parse_args()
    lake = synthetic_bank(options.customers, options.seed, options.work, options.buckets)
    out = options.work / "feature-rows"
    if options.side:
        print(json.dumps(_run(options.side, lake, out / options.side)))
        return
    runs: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
    for _ in range(options.repeats):
        for side in SIDES:
            runs[side].append(_apart(side, options))
    _refuse_differences(out)
    shutil.rmtree(out)
    events = sum(info.rows for name, info in lake.tables.items() if name not in ("products", "campaigns", "customers"))
    results = {"customers": options.customers, "buckets": lake.buckets, "rows_read": events, "runs": runs}
    write("features", "Feature rows beside DuckDB", _text(results), results)


def _apart(side: str, options: Any) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.features", "--side", side, "--work", str(options.work)]
    command += ["--customers", str(options.customers), "--seed", str(options.seed), "--buckets", str(options.buckets)]
    environment = {**os.environ, "POLARS_MAX_THREADS": str(THREADS)}
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    print(f"{side}: {found['seconds']:.1f} s, {found['peak_mib']:,.0f} MiB", file=sys.stderr)
    return found


def _run(side: str, lake: Lake, out: Path) -> dict[str, Any]:
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    definition = define(lake, FeatureConfig(history_length=32))
    began = time.perf_counter()
    (_ours if side == "recsys" else _theirs)(lake, definition, out)
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "peak_mib": peak_mib()}


def _ours(lake: Lake, definition: FeatureDefinition, out: Path) -> None:
    from recsys.features.examples import scoring_examples
    from recsys.features.features import features

    for bucket in range(lake.buckets):
        tables = lake.bucket(bucket)
        examples = scoring_examples(tables["customers"]["customer_id"].sort(), lake.as_of)
        rows = features(tables, examples, definition)
        rows.write_parquet(out / f"{bucket:05d}.parquet", compression="lz4")


def _theirs(lake: Lake, definition: FeatureDefinition, out: Path) -> None:
    from benchmarks.feature_sql import connect, query

    assert lake.as_of is not None
    sql = query(definition, lake.as_of)
    connect(lake, THREADS).execute(f"COPY ({sql}) TO '{out / 'rows.parquet'}' (COMPRESSION lz4_raw)")


def _refuse_differences(out: Path) -> None:
    """Both sides must have written the same rows, but for the order of two events of a customer at the same moment."""
    import polars as pl
    from polars.testing import assert_frame_equal

    ours, theirs = (pl.read_parquet(out / side / "*.parquet").sort("customer_id") for side in SIDES)
    tied = ours["history"].ne_missing(theirs["history"]) | ours["history_kind"].ne_missing(theirs["history_kind"])
    if tied.sum() > len(ours) / 10_000:
        raise RuntimeError(f"{tied.sum():,} of {len(ours):,} histories differ")
    assert_frame_equal(ours.filter(~tied), theirs.filter(~tied).select(ours.columns), rel_tol=1e-12)


def _text(results: dict[str, Any]) -> str:
    runs = results["runs"]
    ratios = [theirs["seconds"] / ours["seconds"] for ours, theirs in zip(runs["recsys"], runs["duckdb"], strict=True)]
    lines = ["| | seconds, median (each run) | rows read per second | peak memory |", "|---|---|---|---|"]
    for side, found in runs.items():
        seconds = [run["seconds"] for run in found]
        middle = statistics.median(seconds)
        each = ", ".join(f"{value:.1f}" for value in seconds)
        peak = max(run["peak_mib"] for run in found)
        lines.append(f"| {side} | {middle:.1f} ({each}) | {results['rows_read'] / middle:,.0f} | {peak:,.0f} MiB |")
    return (
        f"{results['customers']:,} customers in {results['buckets']} buckets, {results['rows_read']:,} rows of events, "
        f"accounts and balances; every feature of the demo for every customer, from the lake's files to Parquet, "
        f"{THREADS} threads, each run in a process of its own, the two in turn; the rows are compared and are equal. "
        f"recsys reads bucket by bucket; DuckDB runs one statement over the lake (`benchmarks/feature_sql.py`).\n\n"
        + "\n".join(lines)
        + f"\n\nDuckDB takes {statistics.median(ratios):.2f} times as long (median over pairs of runs; "
        f"{min(ratios):.2f} to {max(ratios):.2f})."
    )


if __name__ == "__main__":
    main()
