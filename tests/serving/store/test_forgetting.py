"""Nothing of an erased customer stays in a worker's memory, whichever worker erased them."""

import json

from serving.current import Current
from serving.forgetting import forget_erased, named
from serving.online import erasure
from tests.serving.store.conftest import Open

WHO, OTHER = "C0000", "C0002"


def test_whom_a_question_names() -> None:
    listed = {"customers": [{"customer_id": "A"}, {"customer": {"customers": [{"customer_id": "B"}]}}], "k": 3}
    assert named(json.dumps(listed).encode()) == {"A", "B"}
    assert named(b"no JSON") == set() and named(b"7") == set()


def test_questions_and_customers_are_forgotten(state: Open) -> None:
    one, two = Current(state.answers()), Current(state.answers())
    own = json.dumps({"customer": {"customers": [{"customer_id": "not in the store"}]}}).encode()
    for worker in (one, two):
        for customer_id in (WHO, OTHER):
            question = json.dumps({"customer_id": customer_id}).encode()
            worker.answers.segment(question)
            worker.note("/segment", question)
        worker.note("/segment", own)
    erasure(one.answers, b"", {"id": WHO})
    assert two.answers.known is not None and two.answers.known.kept() == {WHO, OTHER}
    forget_erased(two)
    assert [asked.body for asked in two.asked] == [json.dumps({"customer_id": OTHER}).encode(), own]
    assert two.answers.known.kept() == {OTHER}
