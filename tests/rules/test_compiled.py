"""Every kind of rule on a bank of four customers: who loses what, and by which rule."""

from datetime import date
from typing import Any

import numpy as np
import polars as pl
import pytest

from recsys.rules.eligibility import Eligibility, Removal
from tests.rules.bank import CHANNELS, DAY, IDS, PRODUCTS, compiled, removed, silenced, tables

ALL = set(PRODUCTS)
BOTH = set(CHANNELS)


def lost(**by: set[str]) -> dict[str, set[str]]:
    return {who: by.get(who, set()) for who in IDS}


def test_an_age_counts_birthdays_and_who_is_not_known_loses_the_product() -> None:
    card = {"products": {"ids": ["card"]}, "customer": {"born": {"years_at_least": 18}}}
    assert removed(card) == lost(c={"card"}, d={"card"})
    assert removed({**card, "unknown": "keep"}) == lost(c={"card"})
    assert removed({"customer": {"born": {"years_at_most": 17}}}) == lost(a=ALL, b=ALL, d=ALL)


def test_a_bound_of_the_product_itself_holds_for_each_product() -> None:
    rule = {"customer": {"born": {"years_at_least": {"product": "min_age"}}}}
    assert removed(rule) == lost(b={"loan"}, c={"card", "fund", "loan"}, d={"card", "fund", "loan"})


@pytest.mark.parametrize(
    ("test", "who"),
    [
        ({"country": {"any_of": ["GB"]}}, "cd"),
        ({"country": {"none_of": ["US"]}}, "cd"),
        ({"country": {"known": True}}, "d"),
        ({"income": {"at_least": 20_000}}, "bd"),
        ({"income": {"at_most": 20_000}}, "ad"),
        ({"income": {"any_of": [9_000, 20_000]}}, "ad"),
        ({"born": {"at_most": date(2007, 6, 1)}}, "cd"),
        ({"tags": {"any_of": ["vip"]}}, "bcd"),
        ({"tags": {"none_of": ["vip"]}}, "ad"),
        ({"country": {"any_of": ["GB"]}, "income": {"at_least": 20_000}}, "bcd"),
    ],
)
def test_attributes(test: dict[str, Any], who: str) -> None:
    assert removed({"customer": test}) == lost(**{customer: ALL for customer in who})


def test_a_rule_governs_what_it_names() -> None:
    nobody = {"customer": {"income": {"at_least": 10**9}}}
    assert removed({**nobody, "products": {"categories": ["lending"]}})["a"] == {"card", "loan"}
    assert removed({**nobody, "products": {"attributes": {"risk": ["low", "high"]}}})["a"] == {"fund", "pension"}
    both = {"attributes": {"category": ["invest"], "risk": ["low"]}, "ids": ["loan"]}
    assert removed({**nobody, "products": both})["a"] == {"loan", "pension"}


def test_what_must_and_must_not_be_held() -> None:
    loan = {"products": {"ids": ["loan"]}}
    assert removed({**loan, "requires": {"ids": ["pension", "fund"]}}) == lost(b={"loan"}, c={"loan"}, d={"loan"})
    assert removed({**loan, "excludes": {"categories": ["invest"]}}) == lost(a={"loan"})
    assert removed({**loan, "excludes": {"ids": ["card"]}}) == lost()  # b has closed it
    own = removed({"requires": {"product": "needs"}})  # the fund needs an account and a pension
    assert own == lost(b={"fund"}, c={"card", "fund"}, d={"card", "fund"})


def test_risk_stock_and_days() -> None:
    risk = {"risk": {"customer": "risk", "product": "risk", "order": ["low", "middle", "high"]}}
    assert removed(risk) == lost(b={"fund"}, c={"fund", "pension"}, d={"fund", "pension"})
    assert removed({**risk, "unknown": "keep"}) == lost(b={"fund"})
    assert removed({"stock": {"attribute": "left"}}) == dict.fromkeys(IDS, {"card"})
    assert removed({"starts": {"product": "launched"}}) == dict.fromkeys(IDS, {"loan"})
    assert removed({"starts": "2025-06-01", "ends": "2025-06-01"}) == lost()
    assert removed({"ends": "2025-05-31", "products": {"ids": ["card"]}}) == dict.fromkeys(IDS, {"card"})


def test_segments() -> None:
    segments = pl.Series(["S1", "S2", None, "S1"])
    assert removed({"segment": {"any_of": ["S1"]}}, segments) == lost(b=ALL, c=ALL)
    assert removed({"segment": {"none_of": ["S1"]}, "unknown": "keep"}, segments) == lost(a=ALL, d=ALL)


def test_consent_for_a_product() -> None:
    assert removed({"consent": {"purpose": "marketing"}}) == lost(c=ALL, d=ALL)  # d's is of the day itself
    assert removed({"consent": {"purpose": "marketing", "channels": ["call"]}}) == dict.fromkeys(IDS, ALL)


def test_rests() -> None:
    def rest(**said: Any) -> dict[str, set[str]]:
        return removed({"cooling_off": said})

    assert rest(after="acquisition", days=7) == lost(a={"pension"}, b={"account"})
    assert rest(after="acquisition", days=6) == lost(b={"account"})
    assert rest(after="acquisition", days=7, about="category") == lost(a={"fund", "pension"}, b={"account"})
    assert rest(after="acquisition", days=7, about="any") == lost(a=ALL, b=ALL)
    assert rest(after="contact", days=7) == lost(a=ALL)  # k2 is about no product
    assert rest(after="contact", days=1) == lost(a={"loan"})
    assert rest(after="refusal", days=31) == lost(a={"card"}, b=ALL)
    assert rest(after="refusal", days=30, outcomes=["seen"]) == lost(c={"card"})


def test_contacts_by_channel() -> None:
    assert silenced({"consent": {"purpose": "marketing"}}) == lost(a={"call"}, b={"call"}, c=BOTH, d=BOTH)
    assert silenced({"cap": {"contacts": 3, "days": 10}}) == lost(a=BOTH)
    assert silenced({"cap": {"contacts": 3, "days": 9}}) == lost()
    assert silenced({"cap": {"contacts": 2, "days": 9, "each_channel": True}}) == lost(a={"email"})
    assert silenced({"channels": ["call"], "cap": {"contacts": 1, "days": 10}}) == lost(a={"call"})
    assert silenced({"cooling_off": {"after": "contact", "days": 20, "each_channel": True}}) == lost(a=BOTH, c=BOTH)
    assert silenced({"cooling_off": {"after": "refusal", "days": 2}}) == lost(b=BOTH)
    assert silenced({"customer": {"country": {"any_of": ["GB"]}}, "channels": ["email"]}) == lost(
        c={"email"}, d={"email"}
    )
    assert silenced({"starts": "2025-06-02", "channels": ["email"]}) == dict.fromkeys(IDS, {"email"})


RULES = {
    "category": "category",
    "products": [
        {"name": "adults", "products": {"categories": ["lending"]}, "customer": {"born": {"years_at_least": 18}}},
        {"name": "residents", "customer": {"country": {"any_of": ["GB"]}}},
        {"name": "rest", "cooling_off": {"after": "acquisition", "days": 10}},
        {"name": "needs", "requires": {"product": "needs"}},
    ],
}


def test_the_first_rule_that_removed_is_named() -> None:
    found = compiled(RULES).eligible(tables(), IDS, DAY)
    by = [[found.names[i] if i >= 0 else "" for i in row] for row in found.removed_by]
    assert by[0] == ["", "", "", "", "rest"]
    assert by[1] == ["rest", "", "needs", "", ""]
    assert by[2] == ["residents", "adults", "residents", "adults", "residents"]
    assert by[3] == ["residents", "adults", "residents", "adults", "residents"]
    assert np.array_equal(found.mask, found.removed_by < 0)


def test_an_answer_about_one_is_that_of_all_and_slices_are_the_whole() -> None:
    rules = compiled(RULES)
    whole = rules.eligible(tables(), IDS, DAY)
    for place, customer in enumerate(IDS):
        alone = {
            n: t.filter(pl.col("customer_id") == customer) if "customer_id" in t.columns else t
            for n, t in tables().items()
        }
        assert np.array_equal(rules.eligible(alone, pl.Series([customer]), DAY).removed_by[0], whole.removed_by[place])
    slices = [whole.removed(slice(start, start + 3)) for start in (0, 3)]
    assert np.array_equal(~np.concatenate(slices), whole.mask)
    among = rules.eligible(tables(), IDS, DAY, holdings=pl.Series([["account"], [], [], []], dtype=pl.List(pl.String)))
    assert among.names[among.removed_by[0][2]] == "needs"  # the holdings given count, not the table's


def test_many_levels_are_kept_as_few_kinds() -> None:
    """Thirty conditions of three levels are 3^30 codes; only those that occur are kept, and nothing is mixed up."""
    rng = np.random.default_rng(0)
    removals, expected = [], np.zeros((500, 7), dtype=bool)
    for rule in range(30):
        level, table = rng.integers(0, 3, 500), rng.random((3, 7)) < 0.05
        removals.append(Removal(rule, level, table))
        expected |= table[level]
    found = Eligibility([str(i) for i in range(30)], removals, (500, 7))
    assert np.array_equal(found.removed(slice(None)), expected)
    assert np.array_equal(found.removed_by >= 0, expected)


def test_products_that_the_catalogue_has_beyond_the_mask_may_be_held() -> None:
    rules = compiled(
        {"products": [{"name": "r", "products": {"ids": ["loan"]}, "requires": {"ids": ["pension"]}}]},
        products_offered=["card", "loan"],
    )
    assert rules.eligible(tables(), IDS, DAY).mask.tolist() == [[True, True]] + [[True, False]] * 3
