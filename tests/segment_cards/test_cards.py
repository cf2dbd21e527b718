"""The cards of a synthetic bank: gathered in parts as in one go, true to the rows, silent about outcomes as reasons."""

import json
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from recsys.features.definition import FeatureConfig, define
from recsys.features.encoder import Encoder
from recsys.features.encoder_state import EncoderState
from recsys.features.examples import scoring_examples
from recsys.features.features import features
from recsys.lake.contract import Attribute
from recsys.lake.store import Lake
from recsys.segment_cards.cards import CardSums, cards
from recsys.segment_cards.labels import Labels
from recsys.segment_cards.suppression import FEWEST
from recsys.synthetic.generate import generate

SEGMENTS = 3
TOLD = (
    Attribute("churned", "label", "flag", ""),
    Attribute("profit", "outcome", "number", ""),
    Attribute("sex", "protected", "category", ""),
    Attribute("region", "group", "category", ""),
)


@dataclass(frozen=True)
class Bucket:
    tables: dict[str, pl.DataFrame]
    rows: pl.DataFrame
    index: np.ndarray
    earlier: np.ndarray


@dataclass(frozen=True)
class Bank:
    lake: Lake
    encoder: Encoder
    labels: Labels
    buckets: list[Bucket]

    def sums(self) -> CardSums:
        lake = self.lake
        attributes = (*(a for a in lake.attributes("customers") if a.name not in ("sex", "region")), *TOLD)
        products = tuple(lake.read("products")["product_id"])
        return CardSums(SEGMENTS, define(lake, FeatureConfig()), self.encoder, attributes, products, ranked=2)

    def add(self, sums: CardSums, bucket: Bucket) -> None:
        ids = bucket.rows["customer_id"]
        first = np.where(bucket.index == 0, "mortgage", "cash_isa")
        ranked = pl.concat(
            [
                pl.DataFrame({"customer_id": ids, "rank": 1, "product_id": first}),
                pl.DataFrame({"customer_id": ids, "rank": 2, "product_id": "credit_card"}),
            ]
        )
        sums.update(bucket.tables, bucket.rows, bucket.index, self.lake.as_of, ranked, bucket.earlier)


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Bank:
    """1,200 customers; the first segment logs in most, every one of it churned, and it has only women."""
    lake = generate(tmp_path_factory.mktemp("bank") / "lake", 1200, seed=5, buckets=4)
    definition = define(lake, FeatureConfig())
    state, buckets = EncoderState(definition, lake.read("products")), []
    for b in range(lake.buckets):
        tables = lake.bucket(b)
        ids = tables["customers"]["customer_id"].unique().sort()
        rows = features(tables, scoring_examples(ids, lake.as_of), definition)
        state.update(rows)
        logins = rows["interactions.login.count.365d"].to_numpy()
        index = np.where(logins >= 20, 0, np.where(logins >= 4, 1, 2))
        first = pl.Series("first", index == 0)
        told = rows.select("customer_id").with_columns(
            first.alias("churned"),
            pl.when(first).then(1000.0).otherwise(10.0).alias("profit"),
            pl.when(first).then(pl.lit("female")).otherwise(pl.lit("male")).alias("sex"),
        )
        customers = tables["customers"].drop("sex").join(told, on="customer_id", how="left")
        buckets.append(Bucket({**tables, "customers": customers}, rows, index, np.where(index == 1, 2, index)))
    names = dict(lake.read("products").select("product_id", "name").iter_rows())
    return Bank(lake, state.finish(), Labels.of(definition, names, lake.currency), buckets)


@pytest.fixture(scope="module")
def whole(bank: Bank) -> dict:
    sums = bank.sums()
    for bucket in bank.buckets:
        bank.add(sums, bucket)
    return cards(sums, bank.labels, ["S1", "S2", "S3"])


def test_merged_parts_give_the_same_cards(bank: Bank, whole: dict) -> None:
    one, other = bank.sums(), bank.sums()
    for place, bucket in enumerate(reversed(bank.buckets)):
        bank.add(one if place % 2 else other, bucket)
    one.merge(other)
    assert json.dumps(cards(one, bank.labels, ["S1", "S2", "S3"])) == json.dumps(whole)


def test_no_outcome_label_or_protected_column_is_a_reason(whole: dict) -> None:
    """They divide the segments without an exception, and would lead every list if they were features."""
    for card in whole["segments"]:
        reasons = [*card["apart"], *card["named_by"], *card["holdings"]]
        assert reasons
        assert not {fact["feature"] for fact in reasons} & {"churned", "profit", "sex", "region"}
        assert not any(word in card["name"].lower() for word in ("churn", "profit", "sex", "female", "region"))
    assert "logins" in whole["segments"][0]["name"].lower()


def test_they_are_told_all_the_same(whole: dict) -> None:
    churned, profit = whole["segments"][0]["observed"]
    assert (churned["role"], churned["share"]) == ("label", 1.0)
    assert churned["low"] > churned["overall"]
    assert profit["mean"] == pytest.approx(1000)
    sex = {v["value"]: v["share"] for v in whole["segments"][0]["protected"][0]["values"]}
    assert sex["female"] == 1.0
    assert whole["segments"][0]["groups"][0]["column"] == "region"
    assert any(s["about"] == "retention" for s in whole["segments"][0]["suggestions"])


def test_sizes_shares_and_engagement_are_those_of_the_rows(bank: Bank, whole: dict) -> None:
    index = np.concatenate([bucket.index for bucket in bank.buckets])
    rows = pl.concat([bucket.rows for bucket in bank.buckets])
    for k, card in enumerate(whole["segments"]):
        inside = rows.filter(pl.Series(index == k))
        assert card["size"] == inside.height
        login = next(e for e in card["engagement"] if e["value"] == "login")
        if login["share"] is not None:
            assert login["share"] == pytest.approx((inside["interactions.login.count.90d"] > 0).mean(), abs=1e-4)
            assert login["per_month"] == pytest.approx(inside["interactions.login.count.90d"].mean() / 3, rel=1e-3)
        assert card["rfm"]["frequency"]["mean"] == pytest.approx(inside["transactions.count.365d"].mean(), rel=1e-3)
        assert card["rfm"]["monetary"]["mean"] == pytest.approx(inside["transactions.out.365d"].mean(), rel=1e-3)


def test_channels_are_those_of_the_events(bank: Bank, whole: dict) -> None:
    since = bank.lake.as_of - timedelta(days=365)
    found = []
    for bucket in bank.buckets:
        chosen = pl.DataFrame({"customer_id": bucket.rows["customer_id"], "segment": bucket.index})
        events = bucket.tables["interactions"].join(chosen.filter(pl.col("segment") == 1), on="customer_id")
        found.append(events.filter((pl.col("at").dt.date() >= since) & pl.col("channel").is_not_null()))
    counts = dict(pl.concat(found)["channel"].value_counts().iter_rows())
    total = sum(counts.values())
    for cell in whole["segments"][1]["interactions"]["channel"]:
        if cell["share"] is not None and cell["value"] != "other":
            assert cell["share"] == pytest.approx(counts[cell["value"]] / total, rel=1e-3)
            assert cell["low"] <= cell["share"] <= cell["high"]


def test_transitions_are_counted_from_the_earlier_segment(bank: Bank, whole: dict) -> None:
    index = np.concatenate([bucket.index for bucket in bank.buckets])
    table = whole["transitions"]["counts"]
    assert table[0][0] == (index == 0).sum()
    assert table[2][1] == (index == 1).sum()
    assert table[1] == [None] * SEGMENTS  # nobody was there: no row of shares from nobody
    assert whole["transitions"]["customers"] == len(index)
    assert whole["transitions"]["stayed"] is None  # the diagonal has a row of nobody


def test_the_recommenders_first_products_are_counted(whole: dict) -> None:
    first = {p["product"]: p for p in whole["segments"][0]["preferred"]}
    assert first["mortgage"]["first"] == 1.0
    assert first["credit_card"]["share"] == 1.0
    offer = next(s for s in whole["segments"][0]["suggestions"] if s["about"] == "product")
    assert offer["text"].startswith("Offer Mortgage")


def test_no_small_cell_is_told(bank: Bank) -> None:
    """With a segment of nine customers, its card says only that it is hidden."""
    sums = bank.sums()
    left = 9
    for bucket in bank.buckets:
        index = np.where(bucket.index == 0, 1, bucket.index)
        index[:left] = np.where(left > 0, 0, index[:left])
        left = 0
        bank.add(sums, Bucket(bucket.tables, bucket.rows, index, index))
    card, *others = cards(sums, bank.labels, ["S1", "S2", "S3"])["segments"]
    assert sorted(other["size"] is None for other in others) == [False, True]  # or nine would be all less the others
    assert card == {"id": "S1", "name": "S1", "size": None, "hidden": f"fewer than {FEWEST} customers"}


def test_everything_said_has_an_interval_or_counts(whole: dict) -> None:
    for card in whole["segments"]:
        for fact in card["apart"]:
            assert fact["effect_low"] <= fact["effect"] <= fact["effect_high"]
            assert fact["q"] <= 0.05
        for cell in card["transactions"]["channel"]:
            assert cell["share"] is None or cell["low"] <= cell["share"] <= cell["high"]
    assert whole["tests"]["declared"] <= whole["tests"]["tested"]


def test_an_undated_cross_section_says_what_is_left_out() -> None:
    """One row a customer, numbers only, no dates, no products."""
    from recsys.features.definition import Column, FeatureDefinition
    from recsys.features.encoder import NumberEncoder, SideEncoder
    from recsys.features.sketch import Sketch

    rng = np.random.default_rng(0)
    rows = pl.DataFrame({"customer_id": [f"C{i}" for i in range(300)], "balance": rng.gamma(2, 100, 300)})
    nothing: dict = dict.fromkeys(("holdings", "transactions", "contacts", "balances", "accounts", "dated"), False)
    empty = dict.fromkeys(
        ("product_attributes", "interaction_kinds", "history_kinds", "transaction_categories"), ()
    ) | dict.fromkeys(("transaction_channels", "contact_channels"), ())
    definition = FeatureDefinition(
        windows=(30,),
        history_length=0,
        holdings_length=1,
        profile=(Column(name="balance", kind="number"),),
        **nothing,
        **empty,
    )
    sketch = Sketch()
    sketch.update(rows["balance"].to_numpy())
    side = SideEncoder(categories={}, numbers={"balance": NumberEncoder.fit(sketch)}, tags={}, tag_width=1)
    none = SideEncoder(categories={}, numbers={}, tags={}, tag_width=1)
    encoder = Encoder(
        customer=side, product=none, products=(), holdings=False, held=1, history=0, kinds=(), dated=False
    )
    sums = CardSums(2, definition, encoder, (Attribute("balance", "feature", "number"),))
    index = (rows["balance"] > 200).to_numpy().astype(int)
    sums.update({"customers": rows}, rows, index, None)
    found = cards(sums, Labels.of(definition, {}), ["S1", "S2"])
    assert [card["name"] for card in found["segments"]] == ["Low balance", "High balance"]
    assert found["transitions"] is None
    assert "everything about time: the lake has no dated events" in found["left_out"]
    assert all("suggestions" in card and card["suggestions"] == [] for card in found["segments"])
