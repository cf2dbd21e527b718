"""Errors as callers see them: `application/problem+json` after RFC 9457, without a trace and without anyone's data."""

import json
import re
import secrets
from collections.abc import Iterable, Mapping
from typing import Any

Headers = list[tuple[bytes, bytes]]

KINDS: Mapping[int, tuple[str, str]] = {
    400: ("malformed", "The body is not JSON"),
    401: ("no-key", "An API key is needed"),
    403: ("scope", "The API key does not allow this"),
    404: ("not-found", "Not found"),
    405: ("method", "The path does not answer this method"),
    408: ("slow", "The request took too long to arrive"),
    409: ("conflict", "In conflict with what is stored"),
    413: ("too-large", "The body is too large"),
    415: ("content-type", "The body is of another type"),
    422: ("invalid", "A field is not as it must be"),
    429: ("rate", "Too many requests"),
    500: ("internal", "Internal error"),
    503: ("unavailable", "Not available now"),
}
"""Status → kind, the end of the `type`, and the title."""
TYPE = "urn:recsys:problem:"
WELL_FORMED = re.compile(r"[A-Za-z0-9_-]{8,64}")
"""A request id of a caller's own; others are replaced, because it is logged."""


def problem(status: int, detail: str, field: str | None, request_id: str) -> dict[str, Any]:
    """The object of an error; `detail` says what was wrong and what would be right, to the caller alone."""
    kind, title = KINDS[status]
    return {
        "type": TYPE + kind,
        "title": title,
        "status": status,
        "detail": detail,
        "field": field,
        "request_id": request_id,
    }


def as_json(content: Mapping[str, Any]) -> bytes:
    """The bytes of an answer. Raises ValueError for what JSON has no word for, such as NaN."""
    return json.dumps(content, ensure_ascii=False, allow_nan=False).encode(errors="replace")


def header(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> str | None:
    """The first header of a name in small letters, as ASGI gives them."""
    for key, value in headers:
        if key == name:
            return value.decode("latin-1")
    return None


def request_id_of(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The caller's own request id where it is well formed, else a new one."""
    given = header(headers, b"x-request-id")
    return given if given and WELL_FORMED.fullmatch(given) else secrets.token_hex(16)
