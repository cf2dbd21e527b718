"""The OpenAPI 3.1 document of the whole service, made from the table of endpoints and the contract of the tables."""

import json
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any
from weakref import WeakKeyDictionary

import polars as pl
from pydantic import TypeAdapter

from recsys.lake.contract import TABLES, Column, Table
from serving.access import KEYS
from serving.answers import Answers
from serving.customer_data import OURS
from serving.endpoints import ENDPOINTS, Endpoint
from serving.openapi_links import links_of, operation_id
from serving.problem import KINDS as PROBLEMS
from serving.request import MAX_ID, MAX_TEXT
from serving.schemas import Problem
from serving.state_schemas import Events
from serving.store.event_rows import ID_COLUMN

REF = "#/components/schemas/"
_made: "WeakKeyDictionary[Answers, bytes]" = WeakKeyDictionary()

_HEADERS = {
    "X-Request-Id": ("The id of the request, as in the body and in the log.", {"type": "string"}),
    "X-Bundle-Id": ("The bundle that answered.", {"type": "string"}),
    "RateLimit-Policy": ("How many requests the key may make at once, and in which seconds.", {"type": "string"}),
    "RateLimit": ("How many are left, and in how many seconds there is one.", {"type": "string"}),
    "Retry-After": ("Seconds to wait.", {"type": "integer", "minimum": 0}),
}


def answer(current: Answers, body: bytes, path: Mapping[str, str]) -> bytes:
    """GET /openapi.json: the document for the bundle in force."""
    if current not in _made:
        attributes = {name: dtype for name, dtype in current.customers.contract.attributes.items()}
        _made[current] = json.dumps(document(ENDPOINTS, attributes, KEYS in os.environ), ensure_ascii=False).encode()
    return _made[current]


def document(
    endpoints: Iterable[Endpoint], attributes: Mapping[str, pl.DataType], keyed: bool = True
) -> dict[str, Any]:
    """The document; `attributes` are the bank's own columns of customers, `keyed` whether callers need keys."""
    schemas: dict[str, Any] = {name: _named(make) for name, make in _rows(attributes).items()}
    paths: dict[str, Any] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint, schemas, keyed)
    for name, table in schemas[Events.__name__]["properties"].items():
        table["items"] = _event(name)
    _add(schemas, Problem, "serialization")
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "recsys",
            "version": "1",
            "summary": "Products, segments and churn of a bank's customers.",
            "description": "Every question is about one customer or a list of them: known by id, by id with fresh "
            "events, or with their own data. Every answer carries the bundle that gave it and the id of its request.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "headers": {name: {"description": said, "schema": schema} for name, (said, schema) in _HEADERS.items()},
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "An API key; recsys keys add makes one."}
            },
        },
    }


def _operation(endpoint: Endpoint, schemas: dict[str, Any], keyed: bool) -> dict[str, Any]:
    open_to_all = endpoint.scope == "public" or not keyed
    scope = "" if open_to_all else f" Needs a key of the scope `{endpoint.scope}`."
    operation: dict[str, Any] = {
        "operationId": operation_id(endpoint.method, endpoint.path),
        "summary": endpoint.does,
        "description": endpoint.does + scope,
        "security": [] if open_to_all else [{"key": []}],
        "parameters": [_parameter(name) for name in re.findall(r"{(\w+)}", endpoint.path)] + [_REQUEST_ID],
        "responses": _responses(endpoint, schemas),
    }
    if endpoint.request is not None:
        media: dict[str, Any] = {"schema": _add(schemas, endpoint.request, "validation")}
        if endpoint.example is not None:
            media["example"] = dict(endpoint.example)
        operation["requestBody"] = {"required": True, "content": {"application/json": media}}
    return operation


_REQUEST_ID = {
    "name": "X-Request-Id",
    "in": "header",
    "required": False,
    "description": "An id of the caller's own for this request: 8 to 64 letters, digits, - or _; others are replaced.",
    "schema": {"type": "string"},
    "example": "order-2025-0001",
}


def _parameter(name: str) -> dict[str, Any]:
    schema = {"type": "string", "minLength": 1, "maxLength": MAX_ID}
    return {"name": name, "in": "path", "required": True, "schema": schema, "example": "C0001"}


def _responses(endpoint: Endpoint, schemas: dict[str, Any]) -> dict[str, Any]:
    media: dict[str, Any] = {}
    if endpoint.response is not None:
        media["schema"] = _add(schemas, endpoint.response, "serialization")
        if endpoint.answer is not None:
            media["example"] = dict(endpoint.answer)
    kind = "application/json" if endpoint.handler else "text/plain"
    ok: dict[str, Any] = {"description": endpoint.does, "headers": _headers("X-Request-Id")}
    if endpoint.handler:
        ok["headers"] = _headers("X-Request-Id", "X-Bundle-Id", "RateLimit-Policy", "RateLimit")
        ok["content"] = {kind: media}
    if links := links_of(endpoint.method, endpoint.path):
        ok["links"] = links
    found = {"200": ok}
    statuses = {405, 503}
    if endpoint.scope != "public":
        statuses |= {401, 403, 429, 500}
    if endpoint.request is not None:
        statuses |= {400, 404, 408, 413, 415, 422}
    if "{" in endpoint.path:
        statuses |= {404, 422}
    for status in sorted(statuses | set(endpoint.statuses)):
        found[str(status)] = {
            "description": PROBLEMS[status][1],
            "headers": _headers("X-Request-Id", *(["Retry-After"] if status in (429, 503) else [])),
            "content": {"application/problem+json": {"schema": {"$ref": REF + "Problem"}}},
        }
    return found


def _headers(*names: str) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _add(schemas: dict[str, Any], shape: Any, mode: Any) -> dict[str, Any]:
    """Put the schema of a shape and of what it holds among `schemas`; a reference to it."""
    made = TypeAdapter(shape).json_schema(mode=mode, ref_template=REF + "{model}")
    for name, schema in made.pop("$defs", {}).items():
        schemas[name] = _tidy(schema, mode)
    if "$ref" in made or "anyOf" in made:
        return made
    schemas[shape.__name__] = _tidy(made, mode)
    return {"$ref": REF + shape.__name__}


def _tidy(schema: Any, mode: str) -> Any:
    """What may be left out of a question may not be null; its tables are those of the contract."""
    schema.pop("title", None)
    for name, field in schema.get("properties", {}).items():
        field.pop("title", None)
        if mode == "validation":
            _not_null(field)
            if name in ("customer", "events") and field.get("additionalProperties"):
                said = field.get("description", "")
                field.clear()
                field |= {"$ref": REF + {"customer": "Customer", "events": "FreshEvents"}[name], "description": said}
    return schema


def _not_null(field: dict[str, Any]) -> None:
    some = [part for part in field.get("anyOf", []) if part != {"type": "null"}]
    if len(some) == 1 and len(field["anyOf"]) == 2:
        del field["anyOf"]
        field.update(some[0])
        if field.get("default", 0) is None:
            del field["default"]


def _rows(attributes: Mapping[str, pl.DataType]) -> dict[str, dict[str, Any]]:
    """`Customer` and `FreshEvents`: the tables that a question may bring, with their columns."""
    tables = {name: _table(TABLES[name], attributes) for name in OURS}
    events = {name: rows for name, rows in tables.items() if any(c.name == "at" for c in TABLES[name].columns)}
    customer = {**tables, "customers": tables["customers"] | {"minItems": 1, "maxItems": 1}}
    return {
        "Customer": {
            "description": "A customer's own data; nothing of it is stored. Money is integer minor units.",
            "required": ["customers"],
            "properties": customer,
        },
        "FreshEvents": {
            "description": "What has just happened to a customer who is known.",
            "minProperties": 1,
            "properties": events,
        },
    }


def _named(made: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, **made}


def _table(table: Table, attributes: Mapping[str, pl.DataType]) -> dict[str, Any]:
    columns = {column.name: _column(column) for column in table.columns}
    free = {name: _nullable(_typed(dtype)) for name, dtype in attributes.items()} if table.name == "customers" else {}
    required = [c.name for c in table.columns if c.required and (c.name != "customer_id" or table.name == "customers")]
    if table.name in ("accounts", "account_holders"):
        required = ["account_id"]
    row = {"type": "object", "additionalProperties": False, "properties": free | columns, "required": required}
    return {"type": "array", "description": table.meaning, "items": row}


def _event(name: str) -> dict[str, Any]:
    """A row of a table of events that comes in for good: it has an id of its own."""
    columns = {column.name: _column(column) for column in TABLES[name].columns}
    columns[ID_COLUMN[name]] = {"type": "string", "minLength": 1, "maxLength": MAX_ID}
    required = sorted({ID_COLUMN[name], *(column.name for column in TABLES[name].columns if column.required)})
    return {"type": "object", "additionalProperties": False, "properties": columns, "required": required}


def _column(column: Column) -> dict[str, Any]:
    schema = _typed(column.dtype)
    if column.values:
        schema["enum"] = list(column.values)
    if column.key or column.refers_to:
        schema |= {"minLength": 1, "maxLength": MAX_ID} if schema["type"] == "string" else {}
    for name, bound in (("minimum", column.low), ("exclusiveMinimum", column.above), ("maximum", column.high)):
        if bound is not None:
            schema[name] = bound
    return (schema if column.required else _nullable(schema)) | {"description": column.meaning}


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    null = {"type": [schema["type"], "null"]}
    return schema | null | ({"enum": [*schema["enum"], None]} if "enum" in schema else {})


def _typed(dtype: pl.DataType) -> dict[str, Any]:
    if isinstance(dtype, pl.Boolean):
        return {"type": "boolean"}
    if isinstance(dtype, pl.Int64):
        return {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1}
    if isinstance(dtype, pl.Float64):
        return {"type": "number"}
    if isinstance(dtype, pl.Date):
        return {"type": "string", "format": "date"}
    if isinstance(dtype, pl.Datetime):  # without a zone, so not the format date-time of RFC 3339
        return {"type": "string", "pattern": r"^\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?)?$"}
    if isinstance(dtype, pl.List):
        return {"type": "array", "items": {"type": "string", "maxLength": MAX_TEXT}}
    return {"type": "string", "maxLength": MAX_TEXT}
