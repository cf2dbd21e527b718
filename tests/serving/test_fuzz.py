"""A short form of `benchmarks/fuzz.py`: invented requests find no 5xx, no broken schema and no way in without a key."""

from pathlib import Path

import pytest

from benchmarks import fuzz_known
from benchmarks.fuzz import chained, fuzzed, service
from benchmarks.fuzz_found import by_ends
from tests.conftest import SmallBank

EXAMPLES, CHAINS = 12, 8


@pytest.mark.parametrize("keyed", [True, False], ids=["with a key", "without keys"])
def test_invented_requests_find_nothing(whole_bank: SmallBank, tmp_path: Path, keyed: bool) -> None:
    with service(whole_bank.bundle, whole_bank.lake, tmp_path, keyed) as target:
        found = fuzzed(target, EXAMPLES, phases="examples,fuzzing" if keyed else "examples")
        chains = chained(target, CHAINS) if keyed else None
    for run in (found, chains) if chains else (found,):
        assert run["status"] == 0, run.get("said")
        assert run["failures"] == {} and run["statuses"]["200"] >= 3
        assert not [status for status in run["statuses"] if status.startswith("5")]
        assert ("401" in run["statuses"]) == keyed, "requests without the key were tried, too"
        assert run["requests"] > (50 if keyed else 5)
    if chains:
        assert chains["chains"] >= CHAINS and chains["linked"] >= CHAINS / 2 and sum(chains["links"].values()) >= CHAINS
        ends = by_ends(chains["links"])
        assert ("DELETE /customers/{id}", "GET /customers/{id}") in ends, "who was erased is asked about"
        assert len(ends) >= 6


def test_what_stands_for_an_invented_id_is_the_same_each_time_but_nobody_who_was_erased(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "known.json"
    file.write_text('{"customer_id": ["C1", "C2", "C3"]}')
    monkeypatch.setenv(fuzz_known.VARIABLE, str(file))
    monkeypatch.setattr(fuzz_known, "_erased", set())
    fuzz_known._known.cache_clear()
    invented = [f"id-{number}" for number in range(40)]
    first = [fuzz_known.known("customer_id", one, 0) for one in invented]
    assert first == [fuzz_known.known("customer_id", one, 0) for one in invented]
    assert set(first) > {"C1", "C2", "C3"} and 20 <= sum(one.startswith("C") for one in first) < 40
    fuzz_known._erased.add("C2")
    after = [fuzz_known.known("customer_id", one, 0) for one in invented]
    assert [one if one != "C2" else "C3" for one in first] == after
    own = {"customer": {"customers": [{"income": 1}]}, "k": 3}
    assert fuzz_known.about_one(own) in ({"k": 3, "customer_id": "C1"}, {"k": 3, "customer_id": "C3"})
    fuzz_known._known.cache_clear()
