"""A short form of `benchmarks/fuzz.py`: invented requests find no 5xx, no broken schema and no way in without a key."""

from pathlib import Path

import pytest

from benchmarks.fuzz import fuzzed, service
from tests.conftest import SmallBank

EXAMPLES = 12


@pytest.mark.parametrize("keyed", [True, False], ids=["with a key", "without keys"])
def test_invented_requests_find_nothing(whole_bank: SmallBank, tmp_path: Path, keyed: bool) -> None:
    phases = "examples,fuzzing,stateful" if keyed else "examples"
    with service(whole_bank.bundle, whole_bank.lake, tmp_path, keyed) as target:
        found = fuzzed(target, EXAMPLES, phases=phases)
    assert found["status"] == 0, found.get("said")
    assert found["failures"] == {} and found["statuses"]["200"] >= 3
    assert not [status for status in found["statuses"] if status.startswith("5")]
    assert ("401" in found["statuses"]) == keyed, "requests without the key were tried, too"
    assert found["requests"] > (50 if keyed else 5)
