"""What Schemathesis wrote down of its requests: how many, how they were answered, which links they followed."""

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any


def told_in(report: Path) -> dict[str, Any]:
    """Requests, and by what: their statuses, failed checks; chains, those that followed links, how often each."""
    requests, statuses, failures = 0, dict[str, int](), dict[str, int]()
    chains, linked, links = 0, 0, dict[str, int]()
    with report.open(encoding="utf-8") if report.exists() else open(os.devnull) as lines:
        for line in lines:
            for recorder in _recorders(json.loads(line)):
                for interaction in recorder.get("interactions", {}).values():
                    response = interaction.get("response")
                    if response:
                        requests += 1
                        code = str(response.get("status_code"))
                        statuses[code] = statuses.get(code, 0) + 1
                for checks in recorder.get("checks", {}).values():
                    for check in checks:
                        if check.get("status") == "failure":
                            failures[check["name"]] = failures.get(check["name"], 0) + 1
                followed = [case["transition"]["id"] for case in recorder.get("cases", {}).values() if _followed(case)]
                chains += bool(recorder.get("cases"))
                linked += bool(followed)
                for link in followed:
                    links[link] = links.get(link, 0) + 1
    told = {"requests": requests, "statuses": dict(sorted(statuses.items())), "failures": failures}
    return told | {"chains": chains, "linked": linked, "links": links}


def _followed(case: Mapping[str, Any]) -> bool:
    """Whether a request is about what an answer before it told, by a link."""
    return bool(case.get("transition")) and bool(case.get("is_transition_applied"))


def _recorders(event: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for part in event.values():
        if isinstance(part, dict) and isinstance(part.get("recorder"), dict):
            yield part["recorder"]


def summed(tables: Sequence[Mapping[str, int]]) -> dict[str, int]:
    """Counts by name, of all tables."""
    names = sorted({name for table in tables for name in table})
    return {name: sum(table.get(name, 0) for table in tables) for name in names}


def by_ends(links: Mapping[str, int]) -> dict[tuple[str, str], int]:
    """How often links from one operation to another were followed; Schemathesis infers some beside the document's."""
    found: dict[tuple[str, str], int] = {}
    for link, count in links.items():
        source, target = re.split(r" -> \[\d+\] .* -> ", link)
        found[source, target] = found.get((source, target), 0) + count
    return found
