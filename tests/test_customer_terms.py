"""What reasons say of a customer, from feature rows written out and from rows of the synthetic bank."""

import polars as pl
import pytest

from recsys.customer_terms import changes, how_often, in_words
from recsys.feature_groups import group_of
from recsys.features.definition import Column, FeatureDefinition
from recsys.segment_cards.labels import Labels

DEFINITION = FeatureDefinition(
    dated=True,
    windows=(7, 30, 90, 365),
    history_length=4,
    profile=(
        Column(name="occupation", kind="category"),
        Column(name="joined", kind="date"),
        Column(name="credit_score", kind="number"),
        Column(name="is_active", kind="flag"),
        Column(name="devices", kind="tags"),
    ),
    product_attributes=(),
    holdings=True,
    holdings_length=16,
    interaction_kinds=("login", "viewed"),
    history_kinds=("viewed",),
    transactions=True,
    transaction_categories=("food",),
    transaction_channels=("card",),
    contacts=True,
    contact_channels=("email",),
    balances=True,
    accounts=True,
)
LABELS = Labels.of(DEFINITION, {"P1": "Current account"}, "GBP")


def _row(**known: object) -> dict[str, object]:
    row: dict[str, object] = {name: 0.0 for name in DEFINITION.activity}
    row |= {name: None for name in row if str(name).endswith("recency")}
    row |= {"occupation": None, "joined": None, "credit_score": None, "is_active": None, "devices": [], "holdings": []}
    row["accounts.oldest"] = 2000.0
    return row | {name.replace("__", "."): value for name, value in known.items()}


def _counts(stem: str, *counts: float) -> dict[str, float]:
    return {f"{stem}.{days}d": count for days, count in zip(DEFINITION.windows, counts, strict=True)}


def _say(group: str, **known: object) -> str:
    return in_words(group, _row(**known), DEFINITION, LABELS)


def test_silence_is_told_with_its_length_and_the_habit_before() -> None:
    logins = _counts("interactions.login.count", 0, 0, 7, 47)
    said = _say("interactions.login", **logins, **{"interactions.login.recency": 41.0})
    assert said == "no logins for 41 days; before, about one a week"
    cards = _counts("transactions.channel.card.count", 0, 0, 9, 60)
    assert _say("transactions", **cards) == "no card transactions for 30 days; before, about one a week"


def test_a_silence_between_two_windows_is_told_by_its_own_length() -> None:
    whole = _counts("transactions.count", 0, 0, 5, 39)
    said = _say("transactions", **whole, **{"transactions.recency": 34.0})
    assert said == "no transactions for 34 days; before, about one a week"
    often = _counts("interactions.login.count", 0, 1, 3, 12)
    said = _say("interactions.login", **often, **{"interactions.login.recency": 20.0})
    assert said == "12 logins in 365 days, the last 20 days ago"


def test_a_change_of_everything_is_told_rather_than_of_a_part() -> None:
    parts = _counts("transactions.channel.card.count", 0, 2, 60, 330)
    whole = _counts("transactions.count", 1, 4, 64, 340)
    said = _say("transactions", **parts, **whole, **{"transactions.recency": 3.0})
    assert said == "4 transactions in 30 days; before, about one a day"


def test_a_new_customer_is_judged_by_the_days_since_they_came() -> None:
    counts = _counts("interactions.viewed.count", 2, 8, 16, 16)
    row = _row(**counts) | {"accounts.oldest": 60.0}
    (week, month) = changes(list(counts), row, DEFINITION.windows)
    assert (week.days, month.days) == (7, 30)
    assert month.expected == pytest.approx(8.0)
    assert in_words("interactions.viewed", row, DEFINITION, LABELS) == "16 product views in 365 days"


def test_nothing_unusual_is_told_as_it_is() -> None:
    logins = _counts("interactions.login.count", 1, 4, 12, 48)
    said = _say("interactions.login", **logins, **{"interactions.login.recency": 2.0})
    assert said == "48 logins in 365 days, the last 2 days ago"
    assert _say("interactions.viewed") == "no product views in 365 days"
    once = _counts("interactions.viewed.count", 0, 0, 0, 1)
    assert _say("interactions.viewed", **once) == "1 product view in 365 days"
    assert _say("contacts", **{"contacts.recency": 400.0}) == "no contacts by the bank for 400 days"


def test_money_and_balances_are_told_beside_the_usual() -> None:
    received = _counts("transactions.in", 0, 0, 300_000, 1_800_000)
    assert _say("transactions.in", **received) == "no money received for 30 days"
    received = _counts("transactions.in", 0, 45_000, 450_000, 1_800_000)
    assert _say("transactions.in", **received) == "money received 71% under the usual in 30 days"
    balance = {"balances.latest": 20_000.0, "balances.trend": -180_000.0}
    assert _say("balances", **balance) == "balance 200 GBP, down from 2,000 GBP 90 days before"
    assert _say("balances", **{"balances.latest": 20_000.0, "balances.trend": 100.0}) == "balance 200 GBP"
    assert _say("balances", **{"balances.latest": None}) == "balance not known"


def test_attributes_and_products_are_told_by_name() -> None:
    assert _say("occupation", occupation="self_employed") == "occupation self employed"
    assert _say("occupation") == "occupation not known"
    assert _say("credit_score", credit_score=702.0) == "credit score 702"
    assert _say("is_active", is_active=0.0) == "active: no"
    assert _say("joined", joined=730.5) == "joined 2.0 years ago"
    assert _say("devices", devices=["ios", "web"]) == "devices ios, web"
    assert _say("products", holdings=["P1"]) == "holds Current account only"
    assert _say("products", holdings=["P1", "P2", "P3", "P4"]) == "holds 4 products"
    assert _say("products") == "holds no product"


def test_how_often_takes_the_unit_in_which_it_is_counted() -> None:
    said = {3.0: "about 3 a day", 1 / 7: "about one a week", 0.05: "about 2 a month", 1 / 200: "about 2 a year"}
    for rate, text in said.items():
        assert how_often(rate) == text


def test_every_group_of_a_definition_has_words() -> None:
    names = [*DEFINITION.categories, *DEFINITION.tags, *DEFINITION.numbers]
    groups = {group_of(name) for name in names}
    assert {"transactions", "transactions.in", "interactions.login", "products", "balances", "joined"} <= groups
    for group in groups:
        assert in_words(group, _row(), DEFINITION, LABELS)
    assert pl.DataFrame([_row()]).height == 1
