"""The end report as a person reads it, and what it says when something is missing."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from recsys.errors import DataError
from serving.report import print_report
from serving.score import score


def metric(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.01, "high": value + 0.01}


def metrics(value: float) -> dict[str, dict[str, float]]:
    return {"ndcg@5": metric(value), "hr@1": metric(value / 2), "mrr": metric(value / 3), "recall@10": metric(value)}


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("evaluation") / "evaluation.json"
    content = {
        "protocol": "temporal",
        "customers": 1234,
        "models": {"two_tower": metrics(0.6), "popularity": metrics(0.3)},
        "differences": {"popularity": {**metrics(0.3), "mrr": metric(0.005)}},
        "seconds": {},
        "refused": {"ease": "would need 40 GiB"},
        "adoption": {
            "customers": 4321,
            "horizons": {
                "3m": {
                    "acquired": 0.0215,
                    "model": {"ece": metric(0.0123), "auc": metric(0.9)},
                    "base_rate": {"ece": metric(0.02), "auc": metric(0.7)},
                    "brier_skill": metric(0.15),
                }
            },
        },
    }
    path.write_text(json.dumps(content))
    return path


@pytest.fixture(scope="module")
def scores(small_bundle: Path, small_lake: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("report") / "scores"
    score(small_bundle, small_lake, out)
    return out


def printed(
    bundle: Path, lake: Path | None, evaluation: Path | None, scores: Path | None, terminal: bool = False
) -> str:
    text = io.StringIO()
    console = Console(file=text, force_terminal=terminal, width=120, highlight=False, markup=False)
    print_report(bundle, str(lake) if lake else None, evaluation, scores, console)
    return text.getvalue()


def test_the_whole_report(small_bundle: Path, small_lake: Path, evaluation: Path, scores: Path) -> None:
    text = printed(small_bundle, small_lake, evaluation, scores)
    assert "temporal, 1,234 test customers" in text
    assert "0.600 (0.590 to 0.610)" in text
    assert "+0.300 (+0.290 to +0.310)*" in text
    assert "+0.005 (-0.005 to +0.015) " in text
    assert "ease: would need 40 GiB" in text
    (when,) = [line for line in text.splitlines() if "3 months" in line]
    for figure in ("2.15%", "0.0123 (0.0023 to 0.0223)", "0.0200", "0.150 (0.140 to 0.160)", "0.900"):
        assert figure in when
    assert "600 customers" in text
    assert "1. Product number" in text
    for command in ("recsys verify", "recsys serve", "curl -s http://127.0.0.1:3000/recommend"):
        assert command in text
    assert "\x1b" not in text
    assert str(small_bundle) in text and str(scores) in text


def test_on_a_terminal_it_is_drawn(small_bundle: Path, small_lake: Path, evaluation: Path, scores: Path) -> None:
    assert "\x1b[" in printed(small_bundle, small_lake, evaluation, scores, terminal=True)


def test_with_a_bundle_alone_it_says_how_to_get_the_rest(small_bundle: Path) -> None:
    text = printed(small_bundle, None, None, None)
    assert "recsys evaluate" in text
    assert "recsys score" in text


def test_a_file_that_is_no_evaluation_is_refused(small_bundle: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "evaluation.json"
    with pytest.raises(DataError, match="cannot be read"):
        printed(small_bundle, None, wrong, None)
    wrong.write_text("{")
    with pytest.raises(DataError, match="not JSON"):
        printed(small_bundle, None, wrong, None)
    wrong.write_text("{}")
    with pytest.raises(DataError, match="no 'protocol'"):
        printed(small_bundle, None, wrong, None)


def test_scores_of_another_bundle_are_refused(
    small_bundle: Path, small_lake: Path, scores: Path, tmp_path: Path
) -> None:
    manifest = json.loads((scores / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps({**manifest, "bundle_id": "0" * 16}))
    with pytest.raises(DataError, match="0000000000000000"):
        printed(small_bundle, small_lake, None, tmp_path)
