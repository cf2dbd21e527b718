"""Which request may follow which answer: OpenAPI links, for readers and for tools that try chains of requests."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

Operation = tuple[str, str]
"""Method and path."""


class Next(NamedTuple):
    """A request that may follow, and what of the first exchange it is about (runtime expressions of OpenAPI 3.1)."""

    operation: Operation
    about: str
    field: str | None = None
    """The field of its body that holds `about`; None: the segment `id` of its path."""


CUSTOMER, ERASE = ("GET", "/customers/{id}"), ("DELETE", "/customers/{id}")
CONSENT = ("PUT", "/customers/{id}/consent")
_SAME, _FIRST = "$request.path.id", "$response.body#/items/0/"
_TABLES = ("interactions", "transactions", "contacts")
_SENT = tuple(Next(CUSTOMER, f"$request.body#/{table}/0/customer_id") for table in _TABLES)
_THEN = tuple(Next(("POST", "/decide"), f"$request.body#/{table}/0/customer_id", "customer_id") for table in _TABLES)
_ASKED = (Next(CUSTOMER, "$response.body#/customer_id"), Next(ERASE, "$response.body#/customer_id"))
_ABOUT = tuple(Next(("POST", path), _SAME, "customer_id") for path in ("/recommend", "/segment", "/decide", "/embed"))

LINKS: Mapping[Operation, tuple[Next, ...]] = {
    ("POST", "/recommend"): (*_ASKED, Next(("POST", "/similar_products"), _FIRST + "product_id", "product_id")),
    **{("POST", path): _ASKED for path in ("/segment", "/churn", "/decide", "/embed")},
    ("POST", "/similar_products"): (Next(("POST", "/similar_products"), _FIRST + "product_id", "product_id"),),
    ("POST", "/similar_customers"): (Next(CUSTOMER, _FIRST + "customer_id"),),
    ("POST", "/events"): (*_SENT, *_THEN),
    CUSTOMER: (*_ABOUT, Next(CONSENT, _SAME), Next(ERASE, _SAME)),
    CONSENT: (Next(CUSTOMER, _SAME), Next(("POST", "/decide"), _SAME, "customer_id"), Next(ERASE, _SAME)),
    ERASE: (Next(CUSTOMER, _SAME), Next(CONSENT, _SAME), Next(("POST", "/recommend"), _SAME, "customer_id")),
}


def links_of(method: str, path: str) -> dict[str, Any]:
    """The `links` of the answer 200 of an operation; empty where nothing follows."""
    found = {}
    for number, follows in enumerate(LINKS.get((method, path), ())):
        target = operation_id(*follows.operation)
        link: dict[str, Any] = {"operationId": target}
        if follows.field is None:
            link["parameters"] = {"id": follows.about}
        else:
            link["requestBody"] = {follows.field: follows.about}
        found[f"{target}_{number}"] = link
    return found


def operation_id(method: str, path: str) -> str:
    """The name of an operation: `post_recommend`."""
    return "_".join(re.findall(r"[a-z0-9]+", f"{method} {path}".lower()))
