"""Memory and rate of an import from PostgreSQL: transactions that stream in, one, five and ten million."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.measure import ROOT, arguments, peak_mib, write
from recsys.lake.catalog import import_catalog

CATALOG = """
name: streamed
title: Made by the database
source: generate_series
licence: none
good_for: measuring the import
until: 2024-12-31
buckets: 64
database: {{url_env: {env}}}
tables:
  customers: SELECT 'C' || i AS customer_id FROM generate_series(0, 99999) AS i
  products: SELECT 'account' AS product_id
  transactions: |
    SELECT 'T' || i AS event_id, 'C' || i % 100000 AS customer_id, CAST(i % 100000 - 50000 AS bigint) AS amount,
           timestamp '2024-01-01' + i % 500000 * interval '1 minute' AS at, 'category ' || i % 12 AS category
    FROM generate_series(0, {last}) AS i
"""


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--url-env", default="BANK_URL", help="environment variable with the URL of any database")
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 5_000_000, 10_000_000])
    parser.add_argument("--one", type=int, help="internal: one import of so many rows, as JSON")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(_import(options.one, options.url_env, options.work)))
        return
    runs = [_apart(rows, options) for rows in options.rows]
    lines = ["| rows | seconds | rows per second | peak memory of the import |", "|---|---|---|---|"]
    lines += [
        f"| {run['rows']:,} | {run['seconds']:.0f} | {run['rows'] / run['seconds']:,.0f} | {run['peak_mib']:,.0f} MiB |"
        for run in runs
    ]
    text = (
        "Transactions of 100,000 customers made by the database while it is read, into 64 buckets, with the check of "
        "the contract; the database runs on the same machine.\n\n" + "\n".join(lines)
    )
    write("postgres", "Import from PostgreSQL", text, {"runs": runs})


def _apart(rows: int, options: Any) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.postgres", "--one", str(rows), "--url-env", options.url_env]
    done = subprocess.run(
        [*command, "--work", str(options.work)], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _import(rows: int, env: str, work: Path) -> dict[str, Any]:
    if env not in os.environ:
        raise SystemExit(f"{env}: set it to the URL of a PostgreSQL database")
    work.mkdir(parents=True, exist_ok=True)
    catalog, out = work / "streamed.yaml", work / "streamed"
    catalog.write_text(CATALOG.format(env=env, last=rows - 1))
    shutil.rmtree(out, ignore_errors=True)
    began = time.perf_counter()
    lake = import_catalog(catalog, out, None)
    seconds = time.perf_counter() - began
    assert lake.tables["transactions"].rows == rows
    shutil.rmtree(out)
    return {"rows": rows, "seconds": seconds, "peak_mib": peak_mib()}


if __name__ == "__main__":
    main()
