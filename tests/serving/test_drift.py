"""Drift of a whole lake against a bundle, as the command tells it."""

import json
from datetime import timedelta
from pathlib import Path

import polars as pl

from recsys.lake.store import Lake, LakeWriter
from tests.conftest import SmallBank, called


def changed(lake: Lake, out: Path) -> Path:
    """The lake with all spending ten times as high."""
    attributes = {name: list(lake.attributes(name)) for name in lake.tables if lake.attributes(name)}
    with LakeWriter(
        out, buckets=2, currency=lake.currency, source=lake.source, until=lake.until, attributes=attributes
    ) as w:
        for name in lake.tables:
            rows = lake.read(name)
            w.append(name, rows.with_columns(pl.col("amount") * 10) if name == "transactions" else rows)
    return out


def test_the_lake_of_training_has_not_drifted(segmented_bank: SmallBank, tmp_path: Path) -> None:
    out = tmp_path / "new" / "drift.json"
    words = ["segments", "drift", str(segmented_bank.bundle), "--lake", str(segmented_bank.lake)]
    lines = called(*words, "--out", str(out))
    assert lines[0].startswith("800 customers, seen from ") and lines[0].endswith(
        "beside 800 when the segments were found"
    )
    assert lines[-2] == "no flag: no share, distance or feature has drifted" and lines[-1] == str(out)
    told = json.loads(out.read_text())
    assert told["segments"]["psi"] == 0 and all(c["psi"] < 1e-9 for c in told["features"]["columns"])
    assert set(told["distances"]) == {line.split()[0] for line in lines[1:-2]}


def test_what_has_changed_is_flagged_by_name(segmented_bank: SmallBank, tmp_path: Path) -> None:
    lake = Lake.open(segmented_bank.lake)
    other = changed(lake, tmp_path / "richer")
    lines = called("segments", "drift", str(segmented_bank.bundle), "--lake", str(other))
    flagged = {line.split(":")[0].split()[1] for line in lines if line.startswith("ACT")}
    assert "transactions.out.30d" in flagged and not any(name.startswith("interactions.") for name in flagged)
    told = next(line for line in lines if " transactions.out.30d:" in line)
    assert "above" in told and "mean" in told


def test_an_earlier_day_shows_what_has_grown_since(segmented_bank: SmallBank) -> None:
    lake = Lake.open(segmented_bank.lake)
    assert lake.as_of is not None
    day = str(lake.as_of - timedelta(days=400))
    lines = called("segments", "drift", str(segmented_bank.bundle), "--lake", str(lake.path), "--as-of", day)
    assert f"seen from {day}" in lines[0] and any(line.startswith(("WATCH", "ACT")) for line in lines)
