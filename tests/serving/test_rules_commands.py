"""`recsys rules check`: what would fail is an error, what is most likely a slip is a warning with its count."""

from pathlib import Path
from typing import Any

import pytest

from recsys.errors import ConfigError
from recsys.lake.store import Lake
from tests.conftest import SmallBank, called
from tests.serving.ruled_bank import RULES, ruled_lake, write_rules

CONTACTS = [
    {"name": "allowed_contact", "consent": {"purpose": "marketing"}},
    {"name": "not_too_often", "cap": {"contacts": 1, "days": 60}},
]


@pytest.fixture(scope="module")
def lake(small_lake: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return ruled_lake(Lake.open(small_lake), tmp_path_factory.mktemp("ruled") / "lake").path


def checked(rules: dict[str, Any], lake: str, tmp_path: Path, *options: str) -> list[str]:
    return called("rules", "check", str(write_rules(tmp_path / "rules.yaml", rules)), "--lake", lake, *options)


def test_every_rule_is_counted(lake: str, small_bundle: Path, tmp_path: Path) -> None:
    lines = checked({**RULES, "contacts": CONTACTS}, lake, tmp_path, "--bundle", str(small_bundle))
    assert lines[0].endswith("600 customers looked at, seen from 2025-06-24")
    by_rule = {line.split()[0]: line.split()[1:] for line in lines if line[:1].isalpha()}
    assert by_rule["sold_out"][0] == "12" and by_rule["sold_out"][1] == "8.3%"  # P07 alone, of twelve products
    assert {rule["name"] for rule in (*RULES["products"], *CONTACTS)} <= set(by_rule)
    assert "WARNING left to nobody: P07" in lines


def test_slips_and_contradictions_are_warned_of(lake: str, tmp_path: Path) -> None:
    rules = {
        "products": [
            {"name": "north", "customer": {"region": {"any_of": ["north", "nort"]}}},
            {"name": "not_north", "customer": {"region": {"none_of": ["north"]}}},
            {"name": "ended", "products": {"ids": ["P01"]}, "ends": "2020-01-01"},
            {"name": "idle", "customer": {"income": {"at_least": 0}}, "unknown": "keep"},
            {"name": "purpose", "consent": {"purpose": "marketnig"}},
        ]
    }
    lines = checked(rules, lake, tmp_path)
    for said in (
        "no product is left to any of 600 customers: together the rules remove everything",
        "rule ended removes all that it governs from all 600 customers",
        "rule idle removes nothing",
        "rule north: none of the customers looked at has 'nort' in customers.region",
        "rule purpose: none of the customers looked at has 'marketnig' in consents.purpose",
    ):
        assert f"WARNING {said}" in lines
    assert "600 of 600 customers are left without any product" in " ".join(lines)


def test_a_few_customers_are_whole_buckets(lake: str, tmp_path: Path) -> None:
    (first, *_) = checked({"products": [{"name": "r", "starts": "2020-01-01"}]}, lake, tmp_path, "--customers", "50")
    assert 50 <= int(first.split("; ")[1].split()[0]) < 200


def test_what_would_stop_a_run_is_an_error(lake: str, small_lake: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="rule r.products.ids: 'P2' is no product"):
        checked({"products": [{"name": "r", "products": {"ids": ["P2"]}, "starts": "2020-01-01"}]}, lake, tmp_path)
    with pytest.raises(ConfigError, match="rule allowed_contact.consent: needs the table consents"):
        checked({"contacts": CONTACTS[:1]}, str(small_lake), tmp_path)
    with pytest.raises(ConfigError, match="rule r.channels: nobody is reached by 'maul'; did you mean 'mail'"):
        checked({"contacts": [{"name": "r", "channels": ["maul"], "starts": "2020-01-01"}]}, lake, tmp_path)


def test_segments_are_counted_with_a_bundle(whole_bank: SmallBank, tmp_path: Path) -> None:
    from recsys.bundle import Bundle, Segmentation

    segment = Segmentation(Bundle.load(whole_bank.bundle)).ids[0]
    rules = {"products": [{"name": "there", "segment": {"any_of": [segment]}}]}
    with pytest.raises(ConfigError, match="needs a bundle with segments"):
        checked(rules, str(whole_bank.lake), tmp_path)
    lines = checked(rules, str(whole_bank.lake), tmp_path, "--bundle", str(whole_bank.bundle))
    assert 0 < float(next(line for line in lines if line.startswith("there ")).split()[2].rstrip("%")) < 100
