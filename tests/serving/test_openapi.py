"""The OpenAPI document: whole, of valid schemas, with examples that fit, and saying of each path who may ask."""

import json
from typing import Any

import polars as pl
import pytest
from jsonschema import Draft202012Validator

from serving.endpoints import ENDPOINTS, Endpoint
from serving.openapi import document

ATTRIBUTES = {"region": pl.String(), "income": pl.Float64(), "tags": pl.List(pl.String()), "born": pl.Date()}
DOCUMENT = document(ENDPOINTS, ATTRIBUTES)


def operation(endpoint: Endpoint) -> dict[str, Any]:
    found: dict[str, Any] = DOCUMENT["paths"][endpoint.path][endpoint.method.lower()]
    return found


def validator(schema: dict[str, Any]) -> Draft202012Validator:
    return Draft202012Validator({**schema, "components": DOCUMENT["components"]})


def errors(schema: dict[str, Any], instance: object) -> list[str]:
    return [error.message for error in validator(schema).iter_errors(instance)]


def test_every_endpoint_is_in_it_and_every_reference_leads_somewhere() -> None:
    json.dumps(DOCUMENT, allow_nan=False)
    keyless = document(ENDPOINTS, ATTRIBUTES, keyed=False)
    assert not any(found["security"] for methods in keyless["paths"].values() for found in methods.values())
    assert {(m.upper(), p) for p, ms in DOCUMENT["paths"].items() for m in ms} == {
        (endpoint.method, endpoint.path) for endpoint in ENDPOINTS
    }
    names = [operation(endpoint)["operationId"] for endpoint in ENDPOINTS]
    assert len(set(names)) == len(names)

    def references(part: object) -> list[str]:
        if isinstance(part, dict):
            own = [part["$ref"]] if isinstance(part.get("$ref"), str) else []
            return own + [found for inside in part.values() for found in references(inside)]
        return [found for inside in part for found in references(inside)] if isinstance(part, list) else []

    for reference in references(DOCUMENT):
        place: Any = DOCUMENT
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]
    for schema in DOCUMENT["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda e: f"{e.method} {e.path}")
def test_examples_fit_their_schemas_and_scopes_are_said(endpoint: Endpoint) -> None:
    found = operation(endpoint)
    assert found["security"] == ([] if endpoint.scope == "public" else [{"key": []}])
    if endpoint.request is not None:
        media = found["requestBody"]["content"]["application/json"]
        assert errors(media["schema"], media["example"]) == []
        assert {"400", "401", "403", "413", "415", "422", "429", "503"} <= set(found["responses"])
    if endpoint.response is not None:
        media = found["responses"]["200"]["content"]["application/json"]
        assert errors(media["schema"], media["example"]) == []


def test_links_lead_to_operations_with_what_these_need() -> None:
    there = {
        operation(endpoint)["operationId"]: (operation(endpoint), endpoint.request is not None)
        for endpoint in ENDPOINTS
    }
    links = [(link, of) for of, _ in there.values() for link in of["responses"]["200"].get("links", {}).values()]
    assert len(links) > 20
    for link, _ in links:
        target, has_body = there[link["operationId"]]
        needed = {one["name"] for one in target["parameters"] if one["required"]}
        assert needed == link.get("parameters", {}).keys()
        assert not link.get("requestBody") or has_body


def test_an_event_that_is_kept_needs_an_id_and_a_fresh_one_of_a_question_does_not() -> None:
    row = {"customer_id": "C1", "product_id": "P1", "kind": "viewed", "at": "2025-01-01T10:00:00"}
    kept, fresh = ({"$ref": f"#/components/schemas/{name}"} for name in ("Events", "FreshEvents"))
    assert errors(kept, {"interactions": [{**row, "event_id": "E1"}]}) == []
    assert errors(fresh, {"interactions": [row]}) == []
    for bad in (row, {**row, "event_id": ""}, {**row, "event_id": "E1", "kind": "dreamt"}, {**row, "id": "E1"}):
        assert errors(kept, {"interactions": [bad]}), bad


def test_what_the_reader_refuses_the_schema_refuses() -> None:
    schema = {"$ref": "#/components/schemas/AskRecommend"}
    row = {"customer_id": "new", "region": "north", "income": None, "tags": ["a"]}
    customer = {"customers": [row], "transactions": [{"event_id": "t", "at": "2025-01-01T10:00:00", "amount": -5}]}
    for good in ({"customer_id": "C1", "k": 3}, {"customer": customer}, {"customers": [{"customer_id": "C1"}]}):
        assert errors(schema, good) == [], good
    for bad in (
        {},
        {"customer_id": "C1", "customer": customer},
        {"customer_id": None},
        {"customer_id": ""},
        {"customer_id": "C1", "k": 0},
        {"customer_id": "C1", "candidates": []},
        {"customer_id": "C1", "candidates": None},
        {"customer_id": "C1", "top": 3},
        {"customers": []},
        {"customers": [{"customer_id": "C1"}] * 101},
        {"customer": {"customers": []}},
        {"customer": {"customers": [row], "products": []}},
        {"customer": {"customers": [{**row, "income": "much"}]}},
        {"customer": {"customers": [row], "interactions": [{"kind": "dreamt"}]}},
    ):
        assert errors(schema, bad), bad
