"""Metrics of the service: what is counted, and that the shipped dashboard asks for what there is."""

import json
import re
from pathlib import Path

import pytest
from prometheus_client import REGISTRY, Metric

from serving import metrics
from serving.metrics import ENOUGH, POPULATION, Population, stage

DASHBOARD = Path(__file__).resolve().parents[2] / "docs" / "operations" / "grafana.json"


def ours() -> dict[str, Metric]:
    return {metric.name: metric for metric in REGISTRY.collect() if metric.name.startswith("recsys_")}


def value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def test_the_dashboard_asks_only_for_metrics_and_labels_that_exist() -> None:
    names = set()
    for metric in ours().values():
        names |= {metric.name + end for end in ("", "_total", "_bucket", "_sum", "_count")}
    labels = {label for c in REGISTRY._collector_to_names for label in getattr(c, "_labelnames", ())} | {"le"}
    dashboard = json.loads(DASHBOARD.read_text())
    asked = [target for panel in dashboard["panels"] for target in panel["targets"]]
    assert len(asked) >= 12
    seen = set()
    for target in asked:
        found = set(re.findall(r"recsys_\w+", target["expr"]))
        assert found and found <= names, target["expr"]
        seen |= found
        used = set(re.findall(r"(\w+)=~?\"", target["expr"])) | set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
        used |= {word for inside in re.findall(r"by \(([^)]*)\)", target["expr"]) for word in inside.split(", ")}
        assert used <= labels, target["expr"]
    shown = {name for name in ours() if any(word.startswith(name) for word in seen)}
    assert shown == set(ours()), "every metric of ours stands on the dashboard"


def test_a_stage_is_timed_even_where_it_fails() -> None:
    before = value("recsys_stage_seconds_count", stage="rank")
    with pytest.raises(ValueError), stage("rank"):
        raise ValueError
    assert value("recsys_stage_seconds_count", stage="rank") == before + 1


def test_segments_scores_and_chances_are_counted_and_drift_is_told_after_enough() -> None:
    population = Population()
    population.starts("bundle-a", {"S1": 0.5, "S2": 0.5})
    assert value("recsys_bundle_workers", bundle_id="bundle-a") == 1
    assert value("recsys_segment_share_trained", segment="S1") == 0.5
    before, scores = value("recsys_segment_customers_total", segment="S1"), value("recsys_best_score_count")
    for i in range(ENOUGH):
        population.told({"segment": {"id": "S1" if i % 2 else "S2"}, "items": [{"score": 1.0}]})
    assert value("recsys_segment_customers_total", segment="S1") == before + ENOUGH / 2
    assert value("recsys_best_score_count") == scores + ENOUGH
    assert value("recsys_segment_drift_psi") < 0.001
    for _ in range(ENOUGH):
        population.told({"segment": {"id": "S1"}, "probability": 0.42})
    assert value("recsys_segment_drift_psi") > 1
    assert value("recsys_churn_probability_bucket", le="0.5") >= ENOUGH
    population.starts("bundle-b", {})
    assert value("recsys_bundle_workers", bundle_id="bundle-a") == 0
    assert value("recsys_bundle_workers", bundle_id="bundle-b") == 1
    assert POPULATION is not population


def test_what_dead_workers_left_is_taken_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gauge_livesum_999999999.db").touch()
    (tmp_path / "counter_999999999.db").touch()
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    metrics.forget_the_dead()
    assert [file.name for file in tmp_path.iterdir()] == ["counter_999999999.db"], "what was counted stays counted"
