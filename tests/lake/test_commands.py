"""The data commands as a user meets them: what they print, and how they end."""

import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from recsys.shipped import names
from tests.lake.bank import tables, write

CATALOG = """
name: one
title: One customer
source: made up
licence: none
good_for: tests
files:
  f: {path: f.csv, format: csv}
tables:
  customers: SELECT id AS customer_id FROM f
  products: SELECT 'p' AS product_id
"""


def recsys(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "recsys", "data", *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2], timeout=120)


def last_line(text: str) -> str:
    """What a command said at its end; a slow machine may have been told of its progress before."""
    return text.strip().splitlines()[-1]


def test_import_then_check(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text(CATALOG)
    (tmp_path / "f.csv").write_text("id\nC1\n")
    words = ("import", str(tmp_path / "one.yaml"), str(tmp_path / "lake"), "--root", str(tmp_path), "--buckets", "1")
    done = recsys(*words)
    assert done.returncode == 0 and "error" not in done.stderr
    assert done.stdout.splitlines()[0].split() == ["customers", "1", "rows"]
    assert done.stdout.splitlines()[-1] == str(tmp_path / "lake")
    again = recsys(*words)
    assert again.returncode == 1
    assert last_line(again.stderr).startswith("error: ") and "is a lake already" in again.stderr
    assert recsys("check", str(tmp_path / "lake")).stdout == f"{tmp_path / 'lake'}: keeps its contract\n"


def test_a_catalog_that_is_not_there_lists_the_shipped_ones(tmp_path: Path) -> None:
    done = recsys("import", "zimnat", str(tmp_path / "lake"), "--root", str(tmp_path))
    assert done.returncode == 2
    assert (
        f"shipped are {', '.join(sorted(names('catalog')))}" in done.stderr and "zimnat_insurance_reco" in done.stderr
    )


def test_check_prints_each_violation_and_fails(tmp_path: Path) -> None:
    frames = tables()
    frames["products"] = frames["products"].head(1)
    frames["accounts"] = frames["accounts"].with_columns(product_id=pl.lit("P1"))
    write(tmp_path / "lake", frames)
    done = recsys("check", str(tmp_path / "lake"))
    assert done.returncode == 1
    assert done.stdout == (
        "accounts.product_id: 40 of 40 rows are without a row in products (first: account_id A000, product_id P1)\n"
    )
    assert last_line(done.stderr) == f"error: {tmp_path / 'lake'}: breaks 1 rule of the contract"


@pytest.mark.parametrize("lake", ["", "half"])
def test_check_of_no_lake(lake: str, tmp_path: Path) -> None:
    path = tmp_path / "lake"
    if lake:
        path.mkdir()
        (path / "lake.unfinished").touch()
    done = recsys("check", str(path))
    assert done.returncode == 1
    assert ("half written" if lake else "no such lake") in done.stderr
