"""Columns that may drive an outcome: coded, compared side by side, and those that say the same left out."""

import numpy as np
import polars as pl
import pytest

from recsys.drivers.advice import advise
from recsys.drivers.columns import Columns, contrasts, make_columns
from recsys.features.definition import Column, FeatureDefinition
from recsys.segment_cards.labels import Labels

NUMBERS = ("age", "visits", "visits_twice", "constant")


@pytest.fixture(scope="module")
def columns() -> Columns:
    rng = np.random.default_rng(0)
    visits = rng.poisson(1.0, 400).astype(float)
    rows = pl.DataFrame(
        {
            "town": [["north", "south", None, "rare"][0 if i % 2 else 1 if i % 50 else 3] for i in range(400)],
            "member": rng.random(400) < 0.4,
            "age": [None if i % 10 == 0 else 20.0 + i % 60 for i in range(400)],
            "visits": visits,
            "visits_twice": 2 * visits,
            "constant": np.ones(400),
            "holdings": [["loan"] if i % 3 == 0 else ["loan", "card"][:0] for i in range(400)],
            "contact.contacted": (np.arange(400) % 2).astype(float),
            "contact.channel": ["email" if i % 4 < 2 else "sms" for i in range(400)],
            "campaign.main_channel": ["E-mail" if i % 4 < 2 else "Text" for i in range(400)],
        },
        schema_overrides={"holdings": pl.List(pl.String)},
    ).with_columns(pl.col("member").cast(pl.Float64))
    profile = [Column(name="town", kind="category"), Column(name="member", kind="flag")]
    definition = FeatureDefinition(
        dated=False, windows=(90,), history_length=0,
        profile=tuple([*profile, *(Column(name=name, kind="number") for name in NUMBERS)]),
        product_attributes=(), holdings=True, holdings_length=10, interaction_kinds=(), history_kinds=(),
        transactions=False, transaction_categories=(), transaction_channels=(), contacts=False, contact_channels=(),
        balances=False, accounts=False,
    )  # fmt: skip
    return make_columns(
        rows.with_columns(pl.lit(1.0).alias("holdings.count")), definition, Labels.of(definition, {"loan": "Home loan"})
    )


def test_what_becomes_a_column(columns: Columns) -> None:
    assert set(columns.names) == {
        "town", "member", "age", "visits", "visits_twice", "holds.loan", "contact.contacted", "contact.channel",
    }, "nothing constant, and no second name for the channel"  # fmt: skip
    assert (
        columns.text("holds.loan") == "holds Home loan" and columns.text("contact.channel") == "channel of the contact"
    )
    assert columns.words["town"][0] in ("north", "south") and columns.words["town"][-1] == "rare"


def test_sides_of_a_column(columns: Columns) -> None:
    told = {one.key: one for name in columns.names for one in contrasts(columns, name)}
    assert told["visits>0"].text == "more than 0" and told["visits>0"].against == "0"
    age = next(one for key, one in told.items() if key.startswith("age>"))
    side = age.side(columns.at("age"), ())
    assert np.isnan(side[0]) and 0.4 < np.nanmean(side) < 0.6, "where it is not known there is no side"
    assert {"town=north", "town=south", "member", "holds.loan", "contact.channel=email"} <= set(told)
    assert "town=rare" not in told, "too few to compare"
    assert "contact.channel=sms" not in told, "the other turned round"


def test_what_says_the_same_is_not_held_equal(columns: Columns) -> None:
    assert columns.alike("visits") == ["visits_twice"] and columns.alike("age") == []
    left = columns.without(["visits_twice", "town"])
    assert "visits_twice" not in left.names and left.values.shape == (400, 6) and "town" not in left.words


def test_design_is_finite_and_standardised(columns: Columns) -> None:
    design = columns.design()
    assert np.isfinite(design).all() and np.abs(design.mean(axis=0)).max() < 0.1
    assert design.shape[1] == 6 + 3 + 2, "levels of a category are columns"


def test_advice_goes_no_further_than_what_is_known(columns: Columns) -> None:
    contacted = next(contrasts(columns, "contact.contacted"))
    proven = advise(columns, contacted, "randomised", 1, 0.05, 0.02, "converted")
    assert "keep a random 5 % out" in proven.approach and "hold-out" in proven.kpi and proven.lever
    alike = advise(columns, contacted, "adjusted", 1, 0.05, 0.02, "converted")
    assert "Test it first with about 2,2" in alike.approach and "no proof" in alike.approach
    assert advise(columns, contacted, "adjusted", 0, 0.05, 0.0, "converted").approach.startswith("Nothing yet")
    assert "does harm" in advise(columns, contacted, "randomised", -1, 0.05, -0.02, "converted").approach
    age = next(contrasts(columns, "age"))
    who = advise(columns, age, "adjusted", -1, 0.05, -0.02, "converted")
    assert not who.lever and "or less" in who.approach
    town = next(contrasts(columns, "town"))
    chosen = advise(columns, town, "adjusted", 1, 0.05, 0.02, "converted", levers=["town"])
    assert chosen.lever and chosen.approach.startswith(f"Choose town {town.text} more often. Test it first")
