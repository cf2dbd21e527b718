"""What is in force in a worker: one step from the old to the new, and nothing kept of the old."""

import threading
import time
import weakref
from typing import Any

from serving.current import KEPT, KEPT_BYTES, Asked, Current


class Says:
    """Stands in for `Answers`: each part of an answer names the bundle it came from."""

    def __init__(self, bundle_id: str) -> None:
        self.bundle_id = bundle_id

    def answer(self) -> dict[str, Any]:
        return {"bundle_id": self.bundle_id, "items": [self.bundle_id for _ in range(50)]}


def test_no_answer_mixes_two_while_they_are_replaced() -> None:
    current, seen, stop = Current(Says("0")), set(), threading.Event()  # type: ignore[arg-type]
    mixed: list[dict[str, Any]] = []

    def ask() -> None:
        while not stop.is_set():
            answers = current.answers
            told = answers.answer()  # type: ignore[attr-defined]
            seen.add(told["bundle_id"])
            if set(told["items"]) != {told["bundle_id"]}:
                mixed.append(told)

    callers = [threading.Thread(target=ask) for _ in range(4)]
    for caller in callers:
        caller.start()
    number, until = 0, time.monotonic() + 10
    while len(seen) < 20 and time.monotonic() < until:
        number += 1
        current.replace(Says(str(number)))  # type: ignore[arg-type]
        time.sleep(0.001)
    stop.set()
    for caller in callers:
        caller.join()
    assert not mixed
    assert len(seen) >= 20


def test_the_replaced_are_freed_when_their_last_request_has_ended() -> None:
    current = Current(Says("old"))  # type: ignore[arg-type]
    request = current.answers
    old = weakref.ref(request)
    current.replace(Says("new"))  # type: ignore[arg-type]
    assert old() is request
    del request
    assert old() is None


def test_the_latest_questions_are_kept_and_long_ones_are_not() -> None:
    current = Current(Says("0"))  # type: ignore[arg-type]
    for number in range(KEPT + 5):
        current.note("/recommend", b"%d" % number)
    current.note("/recommend", b"x" * (KEPT_BYTES + 1))
    assert current.asked == [Asked("/recommend", b"%d" % number) for number in range(5, KEPT + 5)]
