"""`recsys retained`: what lists have saved, by a later lake; a rate for the next plan; clear refusals."""

import json
import re
from datetime import date, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml

from recsys.__main__ import main
from recsys.lake.store import LakeWriter
from recsys.retention.plan import SaveRate
from tests.conftest import called

N = 3000
DAY, END = "2025-01-01", "2025-04-01"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake in which half of those are kept who were called and would have left, and the list of whom to call."""
    folder, rng = tmp_path_factory.mktemp("retained"), np.random.default_rng(0)
    ids = [f"C{i:05d}" for i in range(N)]
    call = rng.random(N) < 0.7
    left = rng.random(N) < np.where(call, 0.15, 0.3)
    closed = [date(2025, 2, 1 + i % 28) if gone else None for i, gone in enumerate(left)]
    accounts = {"account_id": [f"A{i}" for i in ids], "product_id": ["P"] * N, "opened": [date(2020, 1, 1)] * N}
    called_at = [(f"K{i}", who, "K", datetime(2025, 1, 10), "phone", True) for i, who in enumerate(ids) if call[i]]
    names = ["contact_id", "customer_id", "campaign_id", "at", "channel", "contacted"]
    strayed = ("KX", ids[int(np.flatnonzero(~call)[0])], "K", datetime(2025, 1, 11), "phone", True)
    with LakeWriter(folder / "lake", source="lake", buckets=4) as writer:
        writer.append("customers", pl.DataFrame({"customer_id": ids}))
        writer.append("products", pl.DataFrame({"product_id": ["P"]}))
        writer.append("campaigns", pl.DataFrame({"campaign_id": ["K"]}))
        writer.append("account_holders", pl.DataFrame({"account_id": accounts["account_id"], "customer_id": ids}))
        writer.append("accounts", pl.DataFrame(accounts).with_columns(pl.Series("closed", closed, dtype=pl.Date)))
        writer.append("contacts", pl.DataFrame([*called_at[1:], strayed], schema=names, orient="row"))
        last = {"event_id": ["E"], "customer_id": [ids[0]], "product_id": ["P"], "kind": ["viewed"]}
        writer.append("interactions", pl.DataFrame(last).with_columns(pl.lit(datetime(2025, 5, 1)).alias("at")))
    rows = pl.DataFrame(
        {
            "customer_id": [*ids, "gone"],
            "action": ["call"] * (N + 1),
            "channel": ["phone"] * (N + 1),
            "arm": [*np.where(call, "contact", "hold_out"), "contact"],
            "probability": [0.3] * (N + 1),
            "at_stake": [50_000.0] * (N + 1),
            "cost": [1000.0] * (N + 1),
            "randomised": [True] * (N + 1),
        }
    )
    listed(folder / "list", rows)
    return folder


def listed(folder: Path, rows: pl.DataFrame, **other: object) -> Path:
    folder.mkdir(parents=True)
    about = {"lake": {"source": "lake"}, "as_of": DAY, "horizon_months": 3, "rule": {"accounts_closed": True}, **other}
    (folder / "summary.json").write_text(json.dumps(about))
    rows.write_parquet(folder / "list.parquet")
    return folder


def test_a_rate_is_measured_and_told_as_the_next_plan_takes_it(made: Path, tmp_path: Path) -> None:
    said = called("retained", str(made / "lake"), str(made / "list"), "--out", str(tmp_path / "saved.json"))
    found = json.loads((tmp_path / "saved.json").read_text())
    call, every = found["saved"]
    assert (call["action"], every["action"], call["contacted"] + call["held_out"]) == ("call", None, N)
    assert call["save_rate"]["low"] < 0.5 < call["save_rate"]["high"] and call["save_rate"]["low"] > 0.2
    assert call["gain"]["value"] == pytest.approx(call["kept"]["value"] * 50_000 - 1000 * call["contacted"], rel=1e-3)
    (line,) = [line for line in said if "save_rate:" in line and line.startswith("  save_rate:")]
    rate = SaveRate.model_validate(yaml.safe_load(line)["save_rate"])
    assert rate.origin == "measured" and rate.low is not None and rate.low < rate.value == round(rate.value, 4)
    notes = "\n".join(line for line in said if line.startswith("note:"))
    assert "1 customers of the lists are not in the lake" in notes
    assert f"Of {call['contacted']:,} drawn to be contacted 1 were not" in notes
    assert f"Of {call['held_out']:,} drawn to be held out 1 were contacted all the same" in notes


def test_only_whose_arm_was_drawn_counts_and_lists_add_up(made: Path, tmp_path: Path) -> None:
    rows = pl.read_parquet(made / "list" / "list.parquet")
    first, second = rows.head(1500), rows.slice(1500)
    drawn = second.with_columns((pl.col("customer_id") < "C02000").alias("randomised"))
    folders = [listed(tmp_path / "one", first), listed(tmp_path / "two", drawn)]
    called("retained", str(made / "lake"), *map(str, folders), "--out", str(tmp_path / "saved.json"))
    found = json.loads((tmp_path / "saved.json").read_text())
    assert found["customers"] == 2000 and found["unknown"] == 0
    assert [one["customers"] for one in found["lists"]] == [1500, 500]


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"lake": {"source": "another"}}, "a list of 'another', and .* is 'lake'"),
        ({"rule": None}, "has no rule that says by a date who has left"),
        ({"horizon_months": 6}, "horizon ends on 2025-07-01, and .* does not reach it .*2025-05-02"),
        ({"rule": {"inactive_days": 30, "activity": ["transactions"]}}, "no table transactions"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    made: Path, tmp_path: Path, other: dict[str, object], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = listed(tmp_path / "list", pl.read_parquet(made / "list" / "list.parquet"), **other)
    assert re.search(said, refused(capsys, made / "lake", folder))


def test_no_list_and_a_list_named_twice_are_refused(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "no list of recsys retention" in refused(capsys, made / "lake", tmp_path)
    (tmp_path / "summary.json").write_text("{}")
    assert "no list of recsys retention (KeyError: 'lake')" in refused(capsys, made / "lake", tmp_path)
    assert "named twice" in refused(capsys, made / "lake", made / "list", made / "lake" / ".." / "list")


def refused(capsys: pytest.CaptureFixture[str], *words: Path) -> str:
    with pytest.raises(SystemExit) as stopped:
        main(["retained", *map(str, words)])
    assert stopped.value.code == 1
    return capsys.readouterr().err
