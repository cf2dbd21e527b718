"""Who was erased, by whichever worker, is forgotten by this one: questions about them, and what was kept of them."""

import json
import logging
import threading
from collections.abc import Iterator
from typing import Any

from serving.current import Current
from serving.logs import TOLD, place_of
from serving.metrics import failed
from serving.store import StoreDown
from serving.store.customer import erased

EVERY = 20.0
"""Seconds between two looks for who was erased by another worker."""

logger = logging.getLogger("recsys")


def named(body: bytes) -> set[str]:
    """The ids of the customers whom a question is about."""
    try:
        return set(_ids(json.loads(body)))
    except ValueError:
        return set()


def forget(current: Current, gone: set[str]) -> None:
    """Let go of all that a worker keeps of customers."""
    current.forget(lambda asked: not gone.isdisjoint(named(asked.body)))
    known = current.answers.known
    if known is not None:
        for customer_id in gone:
            known.forget(customer_id)


def forget_erased(current: Current) -> None:
    """Forget whom the store has erased since they were asked about. Raises StoreDown."""
    answers = current.answers
    if answers.store is None or answers.known is None:
        return
    kept = {customer_id for asked in current.asked for customer_id in named(asked.body)} | answers.known.kept()
    if gone := erased(answers.store, kept):
        forget(current, gone)


def begin(current: Current) -> None:
    """Look every so often, in a thread that ends with the worker."""
    threading.Thread(target=_look, args=(current,), name="forgetting", daemon=True).start()


def _look(current: Current) -> None:
    pause = threading.Event()
    while not pause.wait(EVERY):
        try:
            forget_erased(current)
        except StoreDown as error:  # it is looked for again
            logger.warning("forgetting: %s", error)
        except Exception as error:  # whose message may quote a customer; the next look may go well
            failed(error)
            logger.error("forgetting", extra={TOLD: {"error": type(error).__name__, "place": place_of(error)}})


def _ids(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            if name == "customer_id" and isinstance(inner, str):
                yield inner
            else:
                yield from _ids(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _ids(inner)
