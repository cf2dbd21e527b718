"""Where a customer is: beside recommendations, alone, and from bundles without a recommender."""

import io
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from recsys.bundle import Bundle, CustomerEmbedding, Segmentation
from recsys.bundle.segment_of import segment_of, segment_of_arrays, segment_of_row, with_events
from recsys.errors import BundleError
from recsys.features.examples import scoring_examples
from recsys.features.features import features
from recsys.lake.store import Lake
from serving.answers import Answers
from serving.report import print_report
from serving.request import BadRequest
from serving.score import score
from tests.conftest import SmallBank, called, without_segments
from tests.serving.conftest import serving


def ask(answers: Answers, **question: Any) -> dict[str, Any]:
    return answers.segment(json.dumps(question).encode())


@pytest.fixture(scope="module")
def assigned(whole_bank: SmallBank) -> dict[str, dict[str, Any]]:
    lake, segmentation = Lake.open(whole_bank.lake), Segmentation(Bundle.load(whole_bank.bundle))
    tables = {name: lake.read(name) for name in lake.tables}
    ids = tables["customers"]["customer_id"].sort()
    rows = segmentation.assigned(features(tables, scoring_examples(ids, lake.as_of), segmentation.definition))
    return {row["customer_id"]: row for row in rows.to_dicts()}


def fits(answer: dict[str, Any], row: dict[str, Any]) -> bool:
    """Whether an answer says what the batch says, to the last bit."""
    expected = {"id": row["segment_id"], "name": row["segment"], "distance": row["distance"]}
    return answer["segment"] == expected and answer["unusual"] == (row["unusual_features"] if row["unusual"] else None)


def test_the_answer_is_that_of_the_batch_alone_and_beside_recommendations(
    whole_bank: SmallBank, assigned: dict[str, dict[str, Any]]
) -> None:
    answers = Answers.open(whole_bank.bundle, whole_bank.lake, None)
    unusual = next(customer for customer, row in assigned.items() if row["unusual"])
    for customer in [unusual, *sorted(assigned)[:12]]:
        alone = ask(answers, customer_id=customer)
        assert set(alone) == {"bundle_id", "customer_id", "segment", "unusual"}
        assert alone["customer_id"] == customer and fits(alone, assigned[customer]), customer
        beside = answers.recommend(json.dumps({"customer_id": customer, "k": 2}).encode())
        assert {name: beside[name] for name in alone} == alone and len(beside["items"]) == 2
    assert ask(answers, customer_id=unusual)["unusual"]


def test_a_customer_who_brings_their_rows_is_where_the_lake_says(
    whole_bank: SmallBank, assigned: dict[str, dict[str, Any]]
) -> None:
    answers, lake = Answers.open(whole_bank.bundle, whole_bank.lake, None), Lake.open(whole_bank.lake)
    for customer in ("C0000", "C0001", "C0099"):
        tables = lake.customers([customer])
        mine = {name: rows for name, rows in tables.items() if name not in ("products", "campaigns")}
        sent = {
            name: json.loads(json.dumps(rows.to_dicts(), default=lambda v: v.isoformat()))
            for name, rows in mine.items()
        }
        answer = ask(answers, customer={name: rows for name, rows in sent.items() if rows})
        assert fits(answer, assigned[customer])


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        (b'{"customer_id": "nobody"}', 404, "customer_id"),
        (b'{"customer_id": "C0001", "k": 3}', 422, "k"),
        (b"{}", 422, "customer_id"),
        (b"[]", 422, "body"),
        (
            b'{"customer": {"customers": [{"customer_id": "new", "income": "much"}]}}',
            422,
            "customer.customers[0].income",
        ),
    ],
)
def test_bad_questions_are_refused_by_their_field(whole_bank: SmallBank, body: bytes, status: int, field: str) -> None:
    with pytest.raises(BadRequest) as refused:
        Answers.open(whole_bank.bundle, whole_bank.lake, None).segment(body)
    assert (refused.value.status, refused.value.field) == (status, field)


def test_without_segments_the_answer_is_silent_about_them(small_bundle: Path, small_lake: Path) -> None:
    answers = Answers.open(small_bundle, small_lake, None)
    assert set(answers.recommend(b'{"customer_id": "C0001", "k": 1}')) == {"bundle_id", "customer_id", "items"}
    with pytest.raises(BadRequest) as refused:
        ask(answers, customer_id="C0001")
    assert refused.value.status == 404 and "no segments; it answers POST /recommend" in refused.value.message


def test_a_service_without_a_recommender_says_where_customers_are(card_bundle: Path, tmp_path: Path) -> None:
    lake = card_bundle.parent.parent / "lake"
    segmentation = Segmentation(Bundle.load(card_bundle))
    with serving(card_bundle, "--lake", str(lake), folder=tmp_path) as server:
        answer = server.post("segment", {"customer_id": "C0004"})
        assert answer.status_code == 200 and answer.json()["segment"]["id"] in segmentation.ids
        own = server.post("segment", {"customer": {"customers": [{"customer_id": "new", "balance": 1e9}]}})
        assert own.status_code == 200 and own.json()["customer_id"] == "new"
        refused = server.post("recommend", {"customer_id": "C0004"})
        assert refused.status_code == 404 and refused.json()["field"] == "path"
        assert "no recommender; it answers POST /segment" in refused.json()["detail"]
        assert server.post("segment", {"customer_id": "stranger"}).status_code == 404
        assert server.post("segments", {"customer_id": "C0004"}).status_code == 404
    assert "stranger" not in server.log.read_text() and "C0004" not in server.log.read_text()
    assert "/segment" in server.log.read_text()


def test_what_needs_a_recommender_says_so_and_what_to_do(card_bundle: Path, tmp_path: Path) -> None:
    lake = str(card_bundle.parent.parent / "lake")
    said = "has no recommender .*; recsys segments assign puts customers into its segments"
    with pytest.raises(BundleError, match=said):
        score(card_bundle, lake, tmp_path / "scores")
    for words in (
        ["similar", str(card_bundle), "--product", "P1"],
        ["evaluate", str(card_bundle), "--lake", lake],
        ["compare", str(card_bundle), str(card_bundle), "--lake", lake],
    ):
        with pytest.raises(BundleError, match=said):
            called(*words)
    assert not (tmp_path / "scores").exists()
    alone = without_segments(Bundle.load(card_bundle), tmp_path)
    with pytest.raises(BundleError, match="neither a recommender nor segments nor churn"):
        Answers.open(alone, lake, None)


def test_customers_are_compared_by_their_embedding_where_there_is_no_recommender(card_bundle: Path) -> None:
    lake, bundle = Lake.open(card_bundle.parent.parent / "lake"), Bundle.load(card_bundle)
    tables = {"customers": lake.read("customers").sort("customer_id")}
    ids = tables["customers"]["customer_id"]
    vectors = CustomerEmbedding(bundle).embed(features(tables, scoring_examples(ids, None), bundle.definition)).vectors
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosine = unit @ unit[5]
    cosine[5] = -2
    best = np.argsort(-cosine)[:4]
    found = [
        line.split("\t")
        for line in called("similar", str(card_bundle), "--customer", ids[5], "--lake", str(lake.path), "--top", "4")
    ]
    assert [float(row[2]) for row in found] == pytest.approx(cosine[best], abs=1e-4)
    assert {row[1] for row in found} == {ids[int(i)] for i in best}


def test_the_report_shows_segments_and_only_commands_that_work(card_bundle: Path, whole_bank: SmallBank) -> None:
    def printed(bundle: Path) -> str:
        text = io.StringIO()
        print_report(bundle, None, None, None, Console(file=text, width=120, highlight=False, markup=False))
        return text.getvalue()

    cards, whole = printed(card_bundle), printed(whole_bank.bundle)
    for entry in Segmentation(Bundle.load(card_bundle)).segments:
        (line,) = [line for line in cards.splitlines() if f" {entry.id} " in line]
        assert entry.name in line and f"{entry.share:.1%}" in line
    for command in ("recsys segments assign", "recsys segments report", "/segment "):
        assert command in cards
    assert not [word for word in ("recsys evaluate", "recsys score", "/recommend") if word in cards]
    for command in ("recsys segments assign", "recsys evaluate", "recsys score", "/recommend"):
        assert command in whole


def test_an_event_moves_a_customer_as_the_lake_with_the_event_would(whole_bank: SmallBank) -> None:
    """The same rows and day give the same answer, and the tables that were given stay as they are."""
    lake, segmentation = Lake.open(whole_bank.lake), Segmentation(Bundle.load(whole_bank.bundle))
    assert lake.as_of is not None
    tables = lake.customers(["C0004"])
    before = segment_of(segmentation, "C0004", tables, lake.as_of)
    rows = features(tables, scoring_examples(["C0004"], lake.as_of), segmentation.definition)
    assert segment_of_row(segmentation, rows) == before
    assert segment_of_arrays(segmentation, segmentation.encoder.encode(rows)) == before
    event = pl.DataFrame(
        {
            "event_id": [f"new{i}" for i in range(30)],
            "customer_id": ["C0004"] * 30,
            "at": pl.Series([lake.as_of] * 30).cast(pl.Datetime("us")),
            "amount": [-900_000] * 30,
        }
    )
    height = tables["transactions"].height
    joined = with_events(tables, {"transactions": event})
    assert tables["transactions"].height == height and joined["transactions"].height == height + 30
    tomorrow = lake.as_of + timedelta(days=1)
    after = segment_of(segmentation, "C0004", joined, tomorrow)
    assert after == segment_of(segmentation, "C0004", joined, tomorrow)
    assert after.distance != segment_of(segmentation, "C0004", tables, tomorrow).distance
    assert segment_of(segmentation, "C0004", joined, lake.as_of) == before, "what is not over yet does not count"
