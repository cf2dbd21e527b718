"""The handlers of questions about customers: one, or a list of them, each answered as if asked about alone."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from serving.answers import Answers
from serving.application import REQUEST_ID
from serving.metrics import POPULATION
from serving.request import BadRequest, kind_of, read_fields
from serving.schemas import MOST_CUSTOMERS

Path = Mapping[str, str]


def recommend(current: Answers, body: bytes, path: Path) -> dict[str, Any]:
    """POST /recommend."""
    return _each(body, current.recommend)


def segment(current: Answers, body: bytes, path: Path) -> dict[str, Any]:
    """POST /segment."""
    return _each(body, current.segment)


def churn(current: Answers, body: bytes, path: Path) -> dict[str, Any]:
    """POST /churn."""
    return _each(body, current.churn)


def decide(current: Answers, body: bytes, path: Path) -> dict[str, Any]:
    """POST /decide."""
    return _each(body, partial(current.decide, request_id=REQUEST_ID.get()))


def embed(current: Answers, body: bytes, path: Path) -> dict[str, Any]:
    """POST /embed."""
    return _each(body, current.embed)


def similar_customers(current: Answers, body: bytes, path: Path) -> dict[str, Any]:
    """POST /similar_customers."""
    return _each(body, current.similar_customers)


def _each(body: bytes, ask: Callable[[Mapping[str, Any]], dict[str, Any]]) -> dict[str, Any]:
    """The answer for one customer, or `answers` for those of `customers`; one that fails fails the question."""
    fields = read_fields(body)
    if "customers" not in fields:
        answer = ask(fields)
        POPULATION.told(answer)
        return answer
    customers = fields.pop("customers")
    if not isinstance(customers, list):
        raise BadRequest("customers", f"{kind_of(customers)}; it must be a list of customers")
    if not 1 <= len(customers) <= MOST_CUSTOMERS:
        raise BadRequest("customers", f"{len(customers):,} entries; ask about 1 to {MOST_CUSTOMERS} at once")
    for name in ("customer_id", "customer", "events"):
        if name in fields:
            raise BadRequest(name, "beside customers; put it into an entry of customers")
    answers = []
    for position, one in enumerate(customers):
        where = f"customers[{position}]"
        if not isinstance(one, dict):
            raise BadRequest(where, f"{kind_of(one)}; it must be an object with customer_id or customer")
        for name in one:
            if name not in ("customer_id", "customer", "events"):
                raise BadRequest(f"{where}.{name[:256]}", "unknown field; an entry has customer_id, events, customer")
        try:
            answer = ask({**fields, **one})
        except BadRequest as error:
            inside = error.field.split(".")[0].split("[")[0] in ("customer_id", "customer", "events")
            field = f"{where}.{error.field}" if inside else error.field
            raise BadRequest(field, error.message, error.status, retry_after=error.retry_after) from None
        POPULATION.told(answer)
        answer.pop("bundle_id", None)
        answers.append(answer)
    return {"answers": answers}
