"""Nothing of an erased customer stays in a worker's memory, whichever worker erased them."""

import json
import logging
import threading
from typing import Any

import pytest

from serving import forgetting
from serving.current import Current
from serving.forgetting import forget_erased, named
from serving.logs import TOLD
from serving.online import erasure
from serving.store import StoreDown
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


def test_an_unforeseen_error_is_logged_without_its_words_and_the_next_look_is_made(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    looks, again = [ValueError("customer C0001"), StoreDown("away"), None], threading.Event()

    def look(current: Any) -> None:
        if looks and (error := looks.pop(0)) is not None:
            raise error
        again.set()
        threading.Event().wait()  # as the thread does between two looks, until the process ends

    monkeypatch.setattr(logging.getLogger("recsys"), "propagate", True)
    monkeypatch.setattr(forgetting, "EVERY", 0.01)
    monkeypatch.setattr(forgetting, "forget_erased", look)
    current: Any = None
    forgetting.begin(current)
    assert again.wait(20), "the thread goes on"
    (unforeseen,) = (getattr(record, TOLD) for record in caplog.records if record.levelno == logging.ERROR)
    assert unforeseen["error"] == "ValueError" and "test_forgetting.py" in unforeseen["place"]
    assert "C0001" not in caplog.text
