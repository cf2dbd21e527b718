"""What is declared to set a segment apart is what was planted, hardly anything where nothing was, and names say it."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsys.features.encoder import NumberEncoder
from recsys.features.sketch import Sketch
from recsys.segment_cards.facts import Fact, facts
from recsys.segment_cards.labels import Labels
from recsys.segment_cards.names import names, sentence
from recsys.segment_cards.profiles import Profiles

COUNTRIES = ("cz", "de", "fr", "it")


@pytest.fixture(scope="module")
def cards(datasets: Path) -> pl.DataFrame:
    """8,949 credit card holders with 17 numbers, and a word and a set of products drawn for each at random."""
    read = pl.read_csv(datasets / "cc_general" / "CC GENERAL.csv", infer_schema_length=None)
    read = read.filter(pl.col("BALANCE").is_not_null())
    rng = np.random.default_rng(0)
    held = [[p for p in ("card", "fund", "loan") if rng.random() < 0.3] for _ in range(read.height)]
    return read.drop("CUST_ID").with_columns(
        pl.Series("country", rng.choice(COUNTRIES, read.height)), pl.Series("holdings", held, dtype=pl.List(pl.String))
    )


def numbers_of(rows: pl.DataFrame) -> tuple[str, ...]:
    return tuple(name for name in rows.columns if name not in ("country", "holdings"))


def profiles_of(rows: pl.DataFrame, index: np.ndarray, segments: int, parts: int = 1) -> Profiles:
    numbers = numbers_of(rows)
    scales = {}
    for name in numbers:
        sketch = Sketch()
        sketch.update(rows[name].cast(pl.Float64).fill_null(np.nan).to_numpy())
        scales[name] = NumberEncoder.fit(sketch).encode
    merged = Profiles(segments, numbers, ("country",), ("holdings",), scales)
    for part in np.array_split(np.arange(rows.height), parts):
        one = Profiles(segments, numbers, ("country",), ("holdings",), scales)
        one.update(rows[part], index[part])
        merged.merge(one)
    return merged


def labels(rows: pl.DataFrame) -> Labels:
    return Labels({name: "number" for name in numbers_of(rows)}, {"fund": "Index fund"}, dated=False)


def ids(segments: int) -> list[str]:
    return [f"S{k + 1}" for k in range(segments)]


def test_parts_merged_are_the_whole(cards: pl.DataFrame) -> None:
    index = np.random.default_rng(1).integers(0, 4, cards.height)
    whole, parts = profiles_of(cards, index, 4), profiles_of(cards, index, 4, parts=7)
    assert parts.raw.mean == pytest.approx(whole.raw.mean, rel=1e-12)
    assert parts.raw.variance == pytest.approx(whole.raw.variance, rel=1e-9)
    for mine, theirs in zip(facts(parts), facts(whole), strict=True):
        assert [(f.feature, f.value, f.declared) for f in mine] == [(f.feature, f.value, f.declared) for f in theirs]


def test_means_are_those_of_the_rows(cards: pl.DataFrame) -> None:
    index = np.random.default_rng(1).integers(0, 3, cards.height)
    for k, listed in enumerate(facts(profiles_of(cards, index, 3))):
        inside = cards.filter(pl.Series(index == k))
        fact = next(f for f in listed if f.feature == "MINIMUM_PAYMENTS" and f.kind == "number")
        assert fact.inside == pytest.approx(inside["MINIMUM_PAYMENTS"].mean())
        assert fact.overall == pytest.approx(cards["MINIMUM_PAYMENTS"].mean())
        assert fact.ratio == pytest.approx(fact.inside / fact.overall)
        assert fact.ratio_low < fact.ratio < fact.ratio_high
        word = next(f for f in listed if f.value == "de")
        assert word.inside == pytest.approx((inside["country"] == "de").mean())


def test_where_segments_are_drawn_at_random_hardly_anything_is_declared(cards: pl.DataFrame) -> None:
    declared = []
    for seed in range(20):
        index = np.random.default_rng(seed).integers(0, 6, cards.height)
        found = [fact for listed in facts(profiles_of(cards, index, 6)) for fact in listed]
        assert len(found) > 100
        declared.append(sum(fact.declared for fact in found))
    assert np.mean(np.array(declared) > 0) <= 0.3  # BH: nothing at all is declared in 95 of 100 such drawings
    assert np.sum(declared) <= 30  # of more than 2,000 tests; without adjustment it would be above 100


def test_intervals_of_effects_cover_a_planted_difference(cards: pl.DataFrame) -> None:
    covered = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        index = (rng.random(4000) < 0.25).astype(int)
        rows = pl.DataFrame({"x": rng.gamma(2.0, 1.0, 4000) * np.where(index == 1, 1.3, 1.0)})
        profiles = Profiles(2, ("x",))
        profiles.update(rows, index)
        fact = facts(profiles)[1][0]
        truth = 2.6 / (0.25 * 2.6 + 0.75 * 2.0)
        covered += fact.ratio_low <= truth <= fact.ratio_high
    assert 0.90 <= covered / 200 <= 0.99


def test_a_planted_segment_is_named_by_what_was_planted(cards: pl.DataFrame) -> None:
    rng = np.random.default_rng(3)
    index = rng.integers(0, 3, cards.height)
    planted = pl.Series(index == 2)
    rows = cards.with_columns(
        pl.when(planted).then(pl.col("BALANCE") * 6).otherwise("BALANCE").alias("BALANCE"),
        pl.when(planted).then(pl.lit(0)).otherwise("PURCHASES_TRX").alias("PURCHASES_TRX"),
    )
    found = facts(profiles_of(rows, index, 3))
    name = names(found, labels(rows), ids(3))[2]
    assert set(name.text.lower().split(", ")) == {"high balance", "no purchases transactions"}
    assert {fact.feature for fact in name.facts} == {"BALANCE", "PURCHASES_TRX"}
    assert all(fact.declared for fact in name.facts)


def test_holdings_and_words_name_a_segment_too(cards: pl.DataFrame) -> None:
    index = np.random.default_rng(4).integers(0, 2, cards.height)
    planted = pl.Series(index == 0)
    rows = cards.with_columns(
        pl.when(planted).then(pl.lit("it")).otherwise("country").alias("country"),
        pl.when(planted).then(pl.lit(["fund"])).otherwise("holdings").alias("holdings"),
    )
    found = facts(profiles_of(rows, index, 2))
    first, second = names(found, labels(rows), ids(2))
    assert first.text.startswith(("Country it, ", "Holds Index fund, "))
    assert "country it" in first.text.lower() and "holds index fund" in first.text.lower()
    assert first.text != second.text
    told = sentence(next(f for f in found[0] if f.value == "fund"), labels(rows))
    assert told.startswith("100% hold Index fund, against ")


def test_names_differ_even_where_the_facts_do_not() -> None:
    same = [Fact("number", "x", None, 2, 1, 1.0, 0.9, 1.1, 2, 1.9, 2.1, 1, 1, 0, 0)]
    found = names([same, same, []], Labels({"x": "number"}, {}), ids(3))
    assert [name.text for name in found] == ["High x (S1)", "High x (S2)", "Close to the average"]


def test_nobody_has_it_is_no_certainty() -> None:
    index = np.repeat([0, 1], [200, 400])
    rows = pl.DataFrame({"holdings": [[] if i < 200 or i % 3 else ["loan"] for i in range(600)]})
    profiles = Profiles(2, sets=("holdings",))
    profiles.update(rows.with_columns(pl.col("holdings").cast(pl.List(pl.String))), index)
    fact = facts(profiles)[0][0]
    assert (fact.inside, fact.ratio, fact.ratio_low) == (0, 0, 0)
    assert 0.02 < fact.ratio_high < 0.15


def test_hostile_columns_are_left_out_or_survived() -> None:
    rows = pl.DataFrame(
        {
            "constant": np.ones(100),
            "missing": pl.Series([None] * 100, dtype=pl.Float64),
            "infinite": np.where(np.arange(100) % 10 == 0, np.inf, np.arange(100.0)),
        }
    )
    index = np.arange(100) % 2
    profiles = Profiles(3, ("constant", "missing", "infinite"))  # the third segment has nobody
    profiles.update(rows, index)
    found = facts(profiles)
    assert {fact.feature for listed in found for fact in listed} <= {"infinite"}
    assert found[2] == []
    assert all(np.isfinite(fact.inside) for listed in found for fact in listed)


def test_one_segment_has_nothing_to_be_apart_from() -> None:
    profiles = Profiles(1, ("x",))
    profiles.update(pl.DataFrame({"x": np.arange(50.0)}), np.zeros(50, dtype=np.int64))
    assert facts(profiles) == [[]]
    assert names([[]], Labels({"x": "number"}, {}), ["S1"])[0].text == "Close to the average"


def test_flags_and_dates_are_said_as_one_would() -> None:
    rng = np.random.default_rng(6)
    index = rng.integers(0, 2, 2000)
    rows = pl.DataFrame(
        {
            "has_card": (rng.random(2000) < np.where(index == 0, 0.9, 0.1)).astype(float),
            "born": rng.normal(np.where(index == 0, 20000, 12000), 2000),
        }
    )
    profiles = Profiles(2, ("has_card", "born"))
    profiles.update(rows, index)
    said = Labels({"has_card": "flag", "born": "date"}, {})
    first, second = names(facts(profiles), said, ids(2))
    assert set(first.text.lower().split(", ")) == {"has card", "older"}
    assert set(second.text.lower().split(", ")) == {"no card", "younger"}
    flag = next(f for f in facts(profiles)[0] if f.feature == "has_card")
    assert "% have card, against " in sentence(flag, said)


def test_names_that_are_alike_say_over_which_days() -> None:
    def login(days: int, effect: float) -> Fact:
        name = f"interactions.login.count.{days}d"
        return Fact("number", name, None, 2, 1, effect, effect, effect, 2, 2, 2, 1, 1, 0, 0)

    found = names([[login(30, 2.0)], [login(365, 2.0)], []], Labels({}, {}), ids(3))
    assert [name.text for name in found[:2]] == ["Many logins in 30 days", "Many logins in 365 days"]
