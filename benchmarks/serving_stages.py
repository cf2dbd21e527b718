"""Where the time of a request goes: the difference of the service's own histograms before and after a load."""

import urllib.request
from collections.abc import Callable

from prometheus_client.parser import text_string_to_metric_families


def stage_seconds(url: str, load: Callable[[], object]) -> dict[str, float]:
    """Mean seconds a request of each stage, and of the whole between first and last byte, while `load` runs."""
    before = _read(url)
    load()
    after = _read(url)
    grown = {key: value - before.get(key, 0.0) for key, value in after.items()}
    requests = sum(value for (kind, _, part), value in grown.items() if (kind, part) == ("request", "count"))
    found = {
        name: value / requests
        for (kind, name, part), value in sorted(grown.items())
        if kind == "stage" and part == "sum" and requests
    }
    whole = sum(value for (kind, _, part), value in grown.items() if (kind, part) == ("request", "sum")) / requests
    return {**found, "all others: body, JSON, log": whole - sum(found.values()), "whole": whole}


def _read(url: str) -> dict[tuple[str, str, str], float]:
    """(request or stage, endpoint or stage, sum or count) → value."""
    text = urllib.request.urlopen(f"{url}/metrics", timeout=10).read().decode()
    found = {}
    for family in text_string_to_metric_families(text):
        kind = {"recsys_request_seconds": "request", "recsys_stage_seconds": "stage"}.get(family.name)
        for sample in family.samples if kind else ():
            part = sample.name.rsplit("_", 1)[1]
            if part in ("sum", "count") and kind:
                name = sample.labels.get("endpoint") or sample.labels.get("stage", "")
                found[kind, name, part] = sample.value
    return found
