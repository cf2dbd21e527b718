"""One look at a customer: /decide says what single questions say, fresh events count for one answer, vectors agree."""

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from recsys.bundle import Bundle, CustomerEmbedding, Recommender
from recsys.bundle.segment_of import with_events
from recsys.features.examples import scoring_examples
from recsys.features.features import features
from recsys.lake.store import Lake
from serving import neighbours, questions
from serving.answers import Answers
from serving.request import BadRequest
from serving.schemas import Decided, Embedded, LikeAnswer
from serving.similar import similar_customers
from tests.conftest import SmallBank
from tests.serving.test_service import rows_of


@pytest.fixture(scope="module")
def answers(whole_bank: SmallBank) -> Answers:
    found = Answers.open(whole_bank.bundle, whole_bank.lake, None)
    found.warm_up()
    return found


def ask(answers: Answers, name: str, **question: Any) -> dict[str, Any]:
    found: dict[str, Any] = getattr(questions, name)(answers, json.dumps(question).encode(), {})
    return found


def without_bundle(answer: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in answer.items() if name != "bundle_id"}


def test_decide_says_what_the_single_questions_say(answers: Answers) -> None:
    for customer in ("C0001", "C0099"):
        whole = ask(answers, "decide", customer_id=customer, k=3)
        assert whole == ask(answers, "recommend", customer_id=customer, k=3)
        assert whole["segment"] == ask(answers, "segment", customer_id=customer)["segment"]
        Decided.model_validate(without_bundle(whole))
    assert answers.leaving is None, "churn beside it is tested in test_churn"


def test_fresh_events_count_as_if_the_lake_had_them_and_for_one_answer_alone(
    answers: Answers, whole_bank: SmallBank
) -> None:
    lake, customer = Lake.open(whole_bank.lake), "C0004"
    assert lake.as_of is not None
    at = datetime.combine(lake.as_of, datetime.min.time()) - timedelta(hours=5)
    viewed = [
        {"product_id": "P03", "kind": "viewed", "at": (at + timedelta(minutes=i)).isoformat(), "event_id": f"new{i}"}
        for i in range(20)
    ]
    before = ask(answers, "recommend", customer_id=customer)
    asked = {"customer_id": customer, "events": {"interactions": viewed}}
    fresh = ask(answers, "decide", **asked)
    tables = lake.customers([customer])
    rows = pl.DataFrame(
        [{**row, "customer_id": customer, "at": datetime.fromisoformat(str(row["at"]))} for row in viewed]
    )
    joined = with_events(tables, {"interactions": rows})
    recommender = Recommender(Bundle.load(whole_bank.bundle))
    expected = recommender.recommend(joined, scoring_examples([customer], lake.as_of), 10)
    assert [item["product_id"] for item in fresh["items"]] == expected["product_id"].to_list()
    scores = np.array([item["score"] for item in fresh["items"]], dtype=np.float32)
    assert np.array_equal(scores, expected["score"].to_numpy())
    assert fresh["items"] != before["items"]
    assert ask(answers, "recommend", customer_id=customer) == before
    again = ask(answers, "decide", customers=[asked, {"customer_id": customer}])["answers"]
    assert again[0]["items"] == fresh["items"] and again[1]["items"] == before["items"]


def test_an_event_that_the_lake_has_already_counts_once(answers: Answers, whole_bank: SmallBank) -> None:
    tables = Lake.open(whole_bank.lake).customers(["C0099"])
    held = rows_of(tables["transactions"].head(5))
    assert held
    asked = {"customer_id": "C0099", "events": {"transactions": held}}
    assert ask(answers, "recommend", **asked) == ask(answers, "recommend", customer_id="C0099")


@pytest.mark.parametrize(
    ("events", "field", "says"),
    [
        ({}, "events", "must be an object"),
        ([], "events", "must be an object"),
        ({"customers": []}, "events.customers", "no table of events"),
        ({"interactions": {}}, "events.interactions", "a table is a list of rows"),
        ({"interactions": [1]}, "events.interactions[0]", "a row is an object"),
        ({"interactions": [{"kind": "seen"}]}, "events.interactions[0].kind", "not one of"),
        (
            {"interactions": [{"kind": "login", "customer_id": "C0002"}]},
            "events.interactions[0].customer_id",
            "not among",
        ),
        ({"interactions": [{"kind": "login", "at": "2190-01-01"}]}, "events.interactions[0].at", "as_of"),
        (
            {"transactions": [{"event_id": "x", "at": "2024-01-01", "amount": 1, "account_id": "not theirs"}]},
            "events.transactions[0].account_id",
            "not among",
        ),
    ],
)
def test_events_are_held_to_the_contract(answers: Answers, events: object, field: str, says: str) -> None:
    with pytest.raises(BadRequest) as refused:
        ask(answers, "decide", customer_id="C0001", events=events)
    assert (refused.value.field, refused.value.status) == (field, 422)
    assert says in refused.value.message


def test_events_beside_own_data_and_of_nobody_are_refused(answers: Answers) -> None:
    own = {"customers": [{"customer_id": "new"}]}
    events = {"interactions": [{"kind": "login", "at": "2024-01-01"}]}
    with pytest.raises(BadRequest, match="events") as refused:
        ask(answers, "decide", customer=own, events=events)
    assert "the customer's own tables" in refused.value.message
    with pytest.raises(BadRequest) as refused:
        ask(answers, "decide", customer_id="nobody", events=events)
    assert (refused.value.status, refused.value.field) == (404, "customer_id")


def test_a_vector_is_that_of_the_embedding_else_of_the_recommender(
    answers: Answers, whole_bank: SmallBank, small_bundle: Path, small_lake: Path
) -> None:
    lake = Lake.open(whole_bank.lake)
    rows = features(lake.customers(["C0007"]), scoring_examples(["C0007"], lake.as_of), answers.bundle.definition)
    told = ask(answers, "embed", customer_id="C0007")
    Embedded.model_validate(told)
    expected = CustomerEmbedding(answers.bundle).embed(rows).vectors[0]
    assert told["of"] == "embedding" and np.array_equal(np.array(told["vector"], dtype=np.float32), expected)
    plain = Answers.open(small_bundle, small_lake, None)
    told = ask(plain, "embed", customer={"customers": [{"customer_id": "new", "region": "north"}]})
    assert plain.recommender is not None
    assert (told["of"], len(told["vector"])) == ("recommender", plain.recommender.directions.shape[1])


def test_similar_customers_are_those_of_the_command(answers: Answers, whole_bank: SmallBank) -> None:
    lake = Lake.open(whole_bank.lake)
    expected = similar_customers(answers.bundle, lake, "C0007", 5, lake.as_of, lambda done, total, what: None)
    told = ask(answers, "similar_customers", customer_id="C0007", k=5)
    LikeAnswer.model_validate({"bundle_id": "b", "request_id": "r", **told})
    assert [item["customer_id"] for item in told["items"]] == expected["customer_id"].to_list()
    assert [item["rank"] for item in told["items"]] == [1, 2, 3, 4, 5]
    assert np.allclose([item["cosine"] for item in told["items"]], expected["cosine"].to_numpy(), atol=1e-6)
    own = ask(answers, "similar_customers", customer={"customers": [{"customer_id": "C0007"}]}, k=3)
    assert len(own["items"]) == 3 and "C0007" not in [item["customer_id"] for item in own["items"]]


def test_without_vectors_the_reason_is_told(
    whole_bank: SmallBank, small_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = {"customers": [{"customer_id": "new"}]}
    with pytest.raises(BadRequest, match="path") as refused:
        ask(Answers.open(small_bundle, None, None), "similar_customers", customer=own)
    assert refused.value.status == 404 and "serve with --lake or --store" in refused.value.message
    monkeypatch.setattr(neighbours, "MOST", 10)
    large = Answers.open(whole_bank.bundle, whole_bank.lake, None)
    large.warm_up()
    with pytest.raises(BadRequest) as refused:
        ask(large, "similar_customers", customer_id="C0007")
    assert "more than 10 customers; serve with --store" in refused.value.message


def test_similar_products_and_their_mistakes(answers: Answers) -> None:
    told = answers.similar_products(b'{"product_id": "P03", "k": 4}', {})
    assert len(told["items"]) == 4 and "P03" not in [item["product_id"] for item in told["items"]]
    cosines = [item["cosine"] for item in told["items"]]
    assert cosines == sorted(cosines, reverse=True)
    for body, status, field in (
        (b"{}", 422, "product_id"),
        (b'{"product_id": "P99"}', 404, "product_id"),
        (b'{"product_id": "P03", "k": 0}', 422, "k"),
        (b'{"product_id": "P03", "top": 1}', 422, "top"),
    ):
        with pytest.raises(BadRequest) as refused:
            answers.similar_products(body, {})
        assert (refused.value.status, refused.value.field) == (status, field)
