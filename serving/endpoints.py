"""The endpoints of the service, one row each: routing, the key check and the OpenAPI document all read this table."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import unquote

from pydantic import BaseModel

from serving.schemas import (
    AskChurn,
    AskLike,
    AskLikeProduct,
    AskRecommend,
    ChurnAnswer,
    ChurnAnswers,
    DecideAnswer,
    DecideAnswers,
    EmbedAnswer,
    EmbedAnswers,
    LikeAnswer,
    LikeAnswers,
    LikeProducts,
    RecommendAnswer,
    RecommendAnswers,
    SegmentAnswer,
    SegmentAnswers,
    Who,
)
from serving.state_schemas import ConsentSaid, CustomerKnown, Erased, Events, EventsTaken, SayConsent

Method = Literal["GET", "POST", "PUT", "DELETE"]
Scope = Literal["public", "score", "write", "admin"]
"""What a caller's key must allow: nothing at all, to ask, to change what is stored, to look after the service."""


@dataclass(frozen=True)
class Endpoint:
    """One method of one path."""

    method: Method
    path: str
    """May hold one segment in braces, as `/customers/{id}` does."""
    scope: Scope
    handler: str | None
    """`module:function`, called with (the `Answers` in force, the body, the segments in braces by name).

    It returns the answer as a dict, to which bundle and request id are added, or whole as bytes of JSON; it raises
    `BadRequest` where it cannot. One runs at a time in a worker. None: BentoML answers.
    """
    does: str
    """In one line."""
    request: type[BaseModel] | None = None
    """The shape of a body of JSON; None: the endpoint has no body."""
    response: Any = None
    """The shape of the answer, a model or a union of models; None: not described, as of text."""
    example: Mapping[str, Any] | None = None
    """A body."""
    answer: Mapping[str, Any] | None = None
    """An answer."""
    statuses: tuple[int, ...] = ()
    """Further statuses that it may answer, beside those that follow from body, braces and scope."""


_IDS = {"bundle_id": "0f6b2c1d9a3e4f57", "request_id": "order-2025-0001"}
_SEGMENT = {"segment": {"id": "S2", "name": "Many logins, high balance", "distance": 0.74}, "unusual": None}
_ITEM = {"rank": 1, "product_id": "P03", "score": 6.125, "probability": {"1m": 0.031, "3m": 0.084, "6m": 0.127}}
_EVENT = {
    **{"event_id": "E1", "customer_id": "C0001", "product_id": "P03", "kind": "viewed"},
    "at": "2025-01-30T09:30:00",
}
_COUNTS = {"new": 1, "repeated": 0, "refused": 0}
_WITHDRAWN = {"purpose": "marketing", "channel": "email", "granted": False}
_WHY = {"kind": "product", "name": "current_account", "effect": 1.42}

ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        "POST",
        "/recommend",
        "score",
        "serving.questions:recommend",
        "The products to offer next, the best first.",
        request=AskRecommend,
        response=RecommendAnswer | RecommendAnswers,
        example={"customer_id": "C0001", "k": 3},
        answer={**_IDS, "customer_id": "C0001", **_SEGMENT, "items": [{**_ITEM, "reasons": [_WHY]}]},
    ),
    Endpoint(
        "POST",
        "/segment",
        "score",
        "serving.questions:segment",
        "The segment a customer is in, and what is unusual about them.",
        request=Who,
        response=SegmentAnswer | SegmentAnswers,
        example={"customer_id": "C0001"},
        answer={**_IDS, "customer_id": "C0001", **_SEGMENT},
    ),
    Endpoint(
        "POST",
        "/churn",
        "score",
        "serving.questions:churn",
        "How likely a customer is to leave, when and why.",
        request=AskChurn,
        response=ChurnAnswer | ChurnAnswers,
        example={"customer_id": "C0001", "reasons": 3},
        answer={
            **_IDS,
            **{"customer_id": "C0001", "standing": "customer", "horizon_months": 3},
            **{"probability": 0.42, "tier": "high", "act": True, "survival": {"1m": 0.9, "3m": 0.58}, "reasons": []},
        },
    ),
    Endpoint(
        "POST",
        "/decide",
        "score",
        "serving.questions:decide",
        "Recommendation, segment, churn and what to do next in one answer, from one look at the customer.",
        request=AskRecommend,
        response=DecideAnswer | DecideAnswers,
        example={
            "customer_id": "C0001",
            "k": 3,
            "events": {"interactions": [{"product_id": "P03", "kind": "viewed", "at": "2024-12-30T09:30:00"}]},
        },
        answer={
            **{**_IDS, "customer_id": "C0001", **_SEGMENT, "items": [_ITEM]},
            "churn": {
                **{"standing": "customer", "horizon_months": 3, "probability": 0.42, "tier": "high", "act": True},
                "survival": {"1m": 0.9, "3m": 0.58},
            },
            "next_best_action": {
                **{"prices": "1bffcc0b48a7b7df", "actions": [], "arm": "plan", "propensity": 0.95},
                "reason": "price of phone about P03 4.10 exceeds the expected gain 2.75",
            },
        },
    ),
    Endpoint(
        "POST",
        "/embed",
        "score",
        "serving.questions:embed",
        "A customer as a vector.",
        request=Who,
        response=EmbedAnswer | EmbedAnswers,
        example={"customer_id": "C0001"},
        answer={**_IDS, "customer_id": "C0001", "of": "embedding", "vector": [0.12, -0.53, 0.31]},
    ),
    Endpoint(
        "POST",
        "/similar_products",
        "score",
        "serving.answers:Answers.similar_products",
        "The products most like one, by the cosine of the recommender's vectors.",
        request=AskLikeProduct,
        response=LikeProducts,
        example={"product_id": "P03", "k": 2},
        answer={**_IDS, "product_id": "P03", "items": [{"rank": 1, "product_id": "P04", "cosine": 0.87}]},
    ),
    Endpoint(
        "POST",
        "/similar_customers",
        "score",
        "serving.questions:similar_customers",
        "The known customers most like one, by the cosine of their vectors.",
        request=AskLike,
        response=LikeAnswer | LikeAnswers,
        example={"customer_id": "C0001", "k": 2},
        answer={**_IDS, "customer_id": "C0001", "items": [{"rank": 1, "customer_id": "C0042", "cosine": 0.93}]},
    ),
    Endpoint(
        "POST",
        "/events",
        "write",
        "serving.online:events",
        "Take events in: each counts once, from the next answer on.",
        request=Events,
        response=EventsTaken,
        example={"interactions": [_EVENT]},
        answer={**_IDS, "results": {"interactions": [{"event_id": "E1", "status": "new"}]}, **_COUNTS},
        statuses=(404, 503),
    ),
    Endpoint(
        "GET",
        "/customers/{id}",
        "admin",
        "serving.online:customer",
        "All that is stored about a customer.",
        response=CustomerKnown,
        answer={
            **_IDS,
            **{"customer_id": "C0001", "as_of": "2025-02-01", "holdings": ["P01"]},
            **{"rows": {"interactions": [_EVENT]}, "consents": [], "decisions": []},
            "events": [{"table": "interactions", "event_id": "E1", "received": "2025-01-30T09:30:02+00:00"}],
        },
        statuses=(404, 503),
    ),
    Endpoint(
        "DELETE",
        "/customers/{id}",
        "admin",
        "serving.online:erasure",
        "Erase a customer, and remember by a keyed hash that they were.",
        response=Erased,
        answer={**_IDS, "customer_id": "C0001", "erased": True},
        statuses=(404, 503),
    ),
    Endpoint(
        "PUT",
        "/customers/{id}/consent",
        "write",
        "serving.online:consent",
        "Add what a customer allowed or withdrew.",
        request=SayConsent,
        response=ConsentSaid,
        example={"purpose": "marketing", "channel": "email", "granted": False},
        answer={**_IDS, "customer_id": "C0001", **_WITHDRAWN, "at": "2025-01-30T09:30:02.000001"},
        statuses=(404, 503),
    ),
    Endpoint("GET", "/openapi.json", "score", "serving.openapi:answer", "This document."),
    Endpoint("GET", "/healthz", "public", None, "200 while the process lives."),
    Endpoint("GET", "/readyz", "public", None, "200 once questions are answered."),
    Endpoint("GET", "/metrics", "admin", None, "Counts and durations for Prometheus."),
)


class Routes:
    """Which endpoints a path has, and what stands in place of the segments in braces."""

    def __init__(self, endpoints: tuple[Endpoint, ...]) -> None:
        self._fixed: dict[str, dict[str, Endpoint]] = {}
        self._open: dict[tuple[str, ...], dict[str, Endpoint]] = {}
        for endpoint in endpoints:
            braces = "{" in endpoint.path
            methods = (
                self._open.setdefault(tuple(endpoint.path.split("/")), {})
                if braces
                else self._fixed.setdefault(endpoint.path, {})
            )
            if endpoint.method in methods:
                raise ValueError(f"{endpoint.method} {endpoint.path} stands twice in the table of endpoints")
            methods[endpoint.method] = endpoint

    def at(self, path: str) -> tuple[Mapping[str, Endpoint], Mapping[str, str]]:
        """Method → endpoint (empty: no such path), and segment name → text. `path` is as sent, percent-encoded."""
        if (fixed := self._fixed.get(path)) is not None:
            return fixed, {}
        segments = path.split("/")
        for pattern, methods in self._open.items():
            if len(pattern) == len(segments) and all(
                p == s or (p[:1] == "{" and s) for p, s in zip(pattern, segments, strict=True)
            ):
                pairs = zip(pattern, segments, strict=True)
                return methods, {p[1:-1]: unquote(s) for p, s in pairs if p[:1] == "{"}
        return {}, {}
