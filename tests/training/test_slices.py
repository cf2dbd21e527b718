"""Slices, gaps and lists of a report: by hand, and in what the command prints of a small bank."""

import json

import numpy as np
import polars as pl
import pytest
import scipy.sparse as sp
from typer.testing import CliRunner

from recsys.__main__ import application
from recsys.bootstrap import gap
from recsys.errors import DataError
from recsys.lake.store import Lake
from tests.conftest import SmallBank
from training.slices import LEAST, event_slice, list_report, slice_report


def test_customers_are_told_apart_by_what_is_known_of_them() -> None:
    history = [[], ["A"], ["A", "B"], ["A"] * 5, ["A"] * 6, []]
    holdings = [[], [], ["A"], [], [], ["A", "B", "C"]]
    rows = pl.DataFrame({"history": history, "holdings": holdings}, schema_overrides={"history": pl.List(pl.String)})
    assert event_slice(rows).tolist() == ["0", "1", "2 to 5", "2 to 5", "6 and more", "2 to 5"]


def test_a_slice_has_its_means_its_gap_and_the_best_of_the_others() -> None:
    rng = np.random.default_rng(0)
    labels = np.array(["north"] * 60 + ["south"] * 100 + ["few"] * (LEAST - 1) + [None], dtype=object)
    customers = np.array([f"C{i}" for i in range(len(labels))])
    ours = np.where(labels == "north", 0.2, 0.6) + rng.normal(0, 0.01, len(labels))
    values = {"two_tower": ours, "ease": ours - 0.1, "popularity": ours - 0.3}
    found = slice_report(values, "two_tower", labels, customers, 300, 0)
    assert list(found) == ["north", "south"]
    north = found["north"]
    assert north["rows"] == 60 and north["best_baseline"] == "ease"
    assert north["difference"]["low"] == pytest.approx(0.1) and north["difference"]["high"] == pytest.approx(0.1)
    assert north["gap"]["value"] == pytest.approx(ours[:60].mean() - ours[60:].mean())
    assert -0.42 < north["gap"]["low"] < north["gap"]["value"] < north["gap"]["high"] < -0.38


def test_the_interval_of_a_gap_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    hits = 0
    for trial in range(120):
        member = rng.random(400) < 0.3
        found = gap(rng.normal(0, 1, 400) + 0.5 * member, member, samples=300, seed=trial)
        hits += found.low <= 0.5 <= found.high
    assert 105 <= hits <= 119
    with pytest.raises(DataError, match="rows on both sides"):
        gap(np.ones(3), np.ones(3, dtype=bool))


def test_lists_of_all_models_are_looked_at_in_one_way() -> None:
    held = sp.csr_matrix(np.eye(4, dtype=np.float32))
    top = {"same": np.tile([0, 1], (30, 1)), "varied": np.stack([np.arange(30) % 4, (np.arange(30) + 1) % 4], 1)}
    found = list_report(top, held, np.arange(30).astype(str), 100, 0)
    assert found["same"]["gini"] > found["varied"]["gini"]
    assert found["same"]["novelty"]["value"] == pytest.approx(2) and found["same"]["diversity"]["value"] == 1


def test_the_report_shows_slices_lists_and_what_variety_costs(small_bank: SmallBank) -> None:
    words = ["evaluate", str(small_bank.bundle), "--lake", str(small_bank.lake), "--diversity", "0.5"]
    said = json.loads(CliRunner().invoke(application(words), [*words, "--json"], catch_exceptions=False).stdout)
    assert said["metric"] == "ndcg@5" and set(said["slices"]) == {"events", "region"}
    many = said["slices"]["events"]["6 and more"]
    assert many["models"]["two_tower"]["low"] <= many["models"]["two_tower"]["value"]
    assert many["best_baseline"] in said["differences"] and many["best_baseline"] != "two_tower_diverse"
    plain, varied = (said["lists"][name] for name in ("two_tower", "two_tower_diverse"))
    assert varied["diversity"]["value"] != plain["diversity"]["value"]
    first = [said["models"][name]["hr@1"]["value"] for name in ("two_tower", "two_tower_diverse")]
    assert first[0] == first[1], "the best product stays first"
    shown = CliRunner().invoke(application(words), words, catch_exceptions=False).stdout
    assert "ndcg@5 by events" in shown and "lists of 10, beyond accuracy" in shown and "two_tower_diverse" in shown
    assert Lake.open(small_bank.lake).tables["customers"].rows == 300
