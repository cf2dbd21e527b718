"""Questions about a list of customers: each as if asked about alone, and errors that name the entry."""

import json
from pathlib import Path
from typing import Any

import pytest

from serving import questions
from serving.answers import Answers
from serving.request import BadRequest


@pytest.fixture(scope="module")
def answers(small_bundle: Path, small_lake: Path) -> Answers:
    return Answers.open(small_bundle, small_lake, None)


def ask(answers: Answers, **question: Any) -> dict[str, Any]:
    return questions.recommend(answers, json.dumps(question).encode(), {})


def test_a_list_is_answered_in_its_order_as_each_alone(answers: Answers) -> None:
    own = {"customers": [{"customer_id": "new", "region": "north"}]}
    entries: list[dict[str, Any]] = [{"customer_id": "C0007"}, {"customer": own}, {"customer_id": "C0001"}]
    alone = [ask(answers, k=2, **entry) for entry in entries]
    together = ask(answers, k=2, customers=entries)["answers"]
    assert [answer["customer_id"] for answer in together] == ["C0007", "new", "C0001"]
    assert together == [{name: value for name, value in one.items() if name != "bundle_id"} for one in alone]


@pytest.mark.parametrize(
    ("question", "status", "field", "says"),
    [
        ({"customers": []}, 422, "customers", "1 to 100"),
        ({"customers": [{"customer_id": "C0001"}] * 101}, 422, "customers", "101 entries"),
        ({"customers": {}}, 422, "customers", "must be a list"),
        ({"customers": ["C0001"]}, 422, "customers[0]", "must be an object"),
        ({"customers": [{"customer_id": "C0001", "k": 1}]}, 422, "customers[0].k", "unknown field"),
        ({"customers": [{"customer_id": "C0001"}], "customer_id": "C0001"}, 422, "customer_id", "beside customers"),
        ({"customers": [{"customer_id": "C0001"}, {"customer_id": "nobody"}]}, 404, "customers[1].customer_id", "no"),
        ({"customers": [{"customer_id": "C0001"}, {}]}, 422, "customers[1].customer_id", "neither is given"),
        ({"customers": [{"customer_id": "C0001"}], "k": 0}, 422, "k", "too small"),
        (
            {"customers": [{"customer": {"customers": [{"customer_id": "x", "income": "much"}]}}]},
            422,
            "customers[0].customer.customers[0].income",
            "must be",
        ),
    ],
)
def test_a_mistake_in_a_list_is_named_by_its_entry(
    answers: Answers, question: dict[str, Any], status: int, field: str, says: str
) -> None:
    with pytest.raises(BadRequest) as refused:
        ask(answers, **question)
    assert (refused.value.status, refused.value.field) == (status, field)
    assert says in refused.value.message
