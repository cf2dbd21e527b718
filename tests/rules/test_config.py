"""Files of rules that are refused, each with the rule, what is wrong and what would be right."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from recsys.errors import ConfigError
from recsys.rules import Rules
from tests.rules.bank import compiled

CARD = {"products": {"ids": ["card"]}}
GB = {"customer": {"country": {"any_of": ["GB"]}}}


def written(content: Any, tmp_path: Path) -> Path:
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"rules": []}, "rules: unknown key; did you mean 'products'?"),
        ({"products": []}, "no rules; give products, contacts or both"),
        ({"products": [{"name": "r"}]}, "rule r: asks for nothing"),
        ({"products": [{"name": "r", **GB, "requries": {}}]}, r"requries: unknown key; did you mean 'requires'\?"),
        ({"products": [{"name": "R 1", **GB}]}, "products.0.name"),
        ({"products": [{"name": "held", **GB}]}, "'held' stands in answers for what no rule removed"),
        ({"products": [{"name": "r", **GB}, {"name": "r", **GB}]}, "the name r stands twice"),
        ({"products": [{"name": "r", "customer": {"country": {}}}]}, "says nothing; give one of any_of"),
        ({"products": [{"name": "r", "customer": {"born": {"years_at_least": "x"}}}]}, "valid number"),
        ({"products": [{"name": "r", "customer": {"a": {"at_least": 5, "at_most": 4}}}]}, "at least 5.0 and at most 4"),
        ({"products": [{"name": "r", "starts": "2025-02-01", "ends": "2025-01-01"}]}, "it would always remove"),
        ({"products": [{"name": "r", "requires": {}}]}, "names no product"),
        ({"products": [{"name": "r", "cooling_off": {"after": "contact", "days": 0}}]}, "greater than or equal to 1"),
        ({"contacts": [{"name": "r", "cap": {"contacts": 1}}]}, "days: this key is missing"),
        (
            {"contacts": [{"name": "r", "customer": {"a": {"at_least": {"product": "b"}}}}]},
            "no product to take a bound",
        ),
    ],
)
def test_a_file_that_says_nothing_sensible_is_refused(content: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        Rules.read(written(content, tmp_path))


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({"products": {"ids": ["crad"]}, **GB}, "'crad' is no product.*did you mean 'card'"),
        ({"products": {"categories": ["lendin"]}, **GB}, "no product has 'lendin' in products.category.*'lending'"),
        ({"products": {"attributes": {"catgory": ["x"]}}, **GB}, "no attribute 'catgory'; did you mean 'category'"),
        ({"products": {"attributes": {"left": ["x"]}}, **GB}, "'x' is a str, but left has the kind number"),
        ({"customer": {"contry": {"known": True}}}, "customers has no attribute 'contry'; did you mean 'country'"),
        ({"customer": {"country": {"any_of": [1]}}}, "1 is a int, but country has the kind category; give a str"),
        ({"customer": {"country": {"at_least": 1}}}, "has the kind category; it must be a number or date; use any_of"),
        ({"customer": {"income": {"years_at_least": 1}}}, "customers.income has the kind number; it must be a date"),
        ({"customer": {"born": {"at_least": 18}}}, "18.0 is a number, but born is a date"),
        ({"customer": {"income": {"at_least": {"product": "risk"}}}}, "products.risk has the kind category"),
        ({"customer": {"churned": {"any_of": [True]}}}, "has the role label, which nobody knows"),
        ({"customer": {"sex": {"any_of": ["f"]}}}, "customers.sex is protected; .* protected: true"),
        ({"segment": {"any_of": ["S9"]}}, "the bundle has no segment 'S9'; it has S1, S2"),
        ({"consent": {"purpose": "m", "channels": ["emial"]}}, "no channel 'emial'; did you mean 'email'"),
        ({"risk": {"customer": "risk", "product": "risk", "order": ["low", "mid"]}}, "products have 'high'"),
        ({"stock": {"attribute": "risk"}}, "products.risk has the kind category; it must be number"),
        ({"requires": {"product": "risk"}}, "products.risk has the kind category; it must be tags"),
    ],
)
def test_a_rule_about_what_is_not_there_is_refused(rule: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=f"^rules.yaml: rule r.*{said}"):
        compiled({"category": "category", "products": [{"name": "r", **rule}]})


@pytest.mark.parametrize(
    ("rule", "missing", "said"),
    [
        ({"consent": {"purpose": "m"}}, "consents", "consent: needs the table consents, which is not there"),
        ({"cooling_off": {"after": "refusal", "days": 3}}, "outcomes", "needs the table outcomes"),
        ({"cooling_off": {"after": "contact", "days": 3}}, "contacts", "needs the table contacts"),
        ({"requires": {"ids": ["card"]}}, "interactions", "requires: needs the table interactions"),
    ],
)
def test_a_rule_that_needs_a_table_is_refused_without_it(rule: dict[str, Any], missing: str, said: str) -> None:
    there = [name for name in ("interactions", "contacts", "consents", "outcomes") if name != missing]
    with pytest.raises(ConfigError, match=said):
        compiled({"products": [{"name": "r", **rule}]}, tables=there)


@pytest.mark.parametrize(
    "rule",
    [
        {"starts": "2025-01-01"},
        {"customer": {"born": {"years_at_least": 18}}},
        {"cooling_off": {"after": "contact", "days": 3}},
    ],
)
def test_a_rule_about_days_is_refused_where_there_are_none(rule: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="needs a day to look from, and the lake has no dated events"):
        compiled({"products": [{"name": "r", **rule}]}, dated=False)


def test_segments_need_a_bundle_and_categories_their_attribute() -> None:
    with pytest.raises(ConfigError, match="needs a bundle with segments"):
        compiled({"products": [{"name": "r", "segment": {"any_of": ["S1"]}}]}, segments=None)
    with pytest.raises(ConfigError, match="give category: NAME"):
        compiled({"products": [{"name": "r", "products": {"categories": ["lending"]}, **GB}]})
    with pytest.raises(ConfigError, match="channels: nobody is reached by 'mail'"):
        compiled({"contacts": [{"name": "r", "channels": ["mail"], **GB}]})


def test_a_protected_attribute_may_be_read_where_the_rule_says_so() -> None:
    rule = {"name": "r", "protected": True, "customer": {"sex": {"any_of": ["f"]}}, **CARD}
    assert compiled({"products": [rule]}).governed == {"r": 1}


def test_the_digest_is_of_what_is_said(tmp_path: Path) -> None:
    first, second = tmp_path / "1.yaml", tmp_path / "2.yaml"
    first.write_text("products:\n  - {name: r, starts: 2025-01-01}\n")
    second.write_text("# another comment\nproducts:\n  - name: r\n    starts: 2025-01-01\n")
    assert Rules.read(first).digest == Rules.read(second).digest
    second.write_text("products:\n  - {name: r, starts: 2025-01-02}\n")
    assert Rules.read(first).digest != Rules.read(second).digest
