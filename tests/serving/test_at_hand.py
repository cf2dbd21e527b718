"""Which questions the event loop answers itself."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from serving.answers import Answers
from serving.at_hand import LONGEST, at_hand

ASKED = "C0001"


@pytest.fixture(scope="module")
def answers(small_lake: Path, small_bundle: Path) -> Answers:
    return Answers.open(small_bundle, small_lake, None)


def body(**fields: object) -> bytes:
    return json.dumps({"customer_id": ASKED, **fields}).encode()


def test_a_known_customer_is_at_hand_once_seen_and_for_the_day_alone(answers: Answers) -> None:
    answers.customers.known.forget(ASKED)  # type: ignore[union-attr]
    assert not at_hand(answers, "/recommend", body(k=3))
    answers.recommend(body(k=3))
    assert at_hand(answers, "/recommend", body(k=3, exclude=[]))
    assert at_hand(answers, "/segment", body())
    day = answers.as_of
    assert day is not None and answers.known is not None
    assert not answers.known.at_hand(ASKED, day + timedelta(days=1))


def test_with_rules_a_ranking_is_at_hand_once_they_were_applied(answers: Answers, monkeypatch: Any) -> None:
    assert answers.known is not None
    answers.known.forget(ASKED)
    seen = answers.known.seen(ASKED, answers.as_of)
    assert seen is not None and at_hand(answers, "/recommend", body())
    monkeypatch.setattr(answers.customers, "rules", object())
    assert at_hand(answers, "/segment", body()) and not at_hand(answers, "/recommend", body())
    monkeypatch.setattr(seen, "eligibility", object())
    assert at_hand(answers, "/recommend", body())


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/recommend", body(events={})),
        ("/recommend", body(reasons=3)),
        ("/recommend", json.dumps({"customers": [{"customer_id": ASKED}]}).encode()),
        ("/recommend", json.dumps({"customer": {}}).encode()),
        ("/recommend", json.dumps({"customer_id": 7}).encode()),
        ("/recommend", json.dumps({"customer_id": "nobody"}).encode()),
        ("/recommend", body(exclude=["P" * LONGEST])),
        ("/recommend", b"[" * LONGEST),
        ("/recommend", b"\xff"),
        ("/recommend", b"7"),
        ("/similar_customers", body()),
        ("/decide", body()),
        ("/events", body()),
    ],
)
def test_whatever_else_may_take_long_is_not(answers: Answers, path: str, asked: bytes) -> None:
    answers.recommend(body(k=3))
    assert not at_hand(answers, path, asked)
