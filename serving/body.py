"""The body of a request: read whole within bounds of size and time, and who breaks them is cut off."""

import asyncio
from typing import Any

from serving.problem import header
from serving.request import MAX_BODY, TOO_LARGE, BadRequest

BODY_SECONDS, IDLE_SECONDS = 10.0, 5.0
"""For the whole body, and between two pieces of it."""
LINGER_SECONDS, LINGER_BYTES = 2.0, 64 << 20
"""How long, and how much of, what still comes from a caller who was refused is thrown away, so that they read the
refusal."""


class Gone(Exception):
    """The caller has left."""


async def read_body(scope: Any, receive: Any) -> bytes:
    """The whole body; BadRequest says which bound it broke. Raises Gone."""
    headers = scope["headers"]
    kind = header(headers, b"content-type") or "application/json"
    if kind != "application/json" and kind.split(";")[0].strip().lower() != "application/json":
        raise BadRequest("content-type", "not JSON; send JSON with the header Content-Type: application/json", 415)
    length = header(headers, b"content-length") or "0"
    if not length.isdecimal() or int(length) > MAX_BODY:
        raise BadRequest("body", TOO_LARGE, 413)
    try:
        async with asyncio.timeout(IDLE_SECONDS):
            message = await receive()
        if not message.get("more_body", False) and message["type"] == "http.request":
            body: bytes = message.get("body", b"")
            return body
        async with asyncio.timeout(BODY_SECONDS):
            return await _rest(message, receive)
    except TimeoutError:
        what = f"not whole after {BODY_SECONDS:g} seconds, or silent for {IDLE_SECONDS:g}; send it at once"
        raise BadRequest("body", what, 408) from None


async def _rest(message: Any, receive: Any) -> bytes:
    body = bytearray()
    while True:
        if message["type"] == "http.disconnect":
            raise Gone
        body += message.get("body", b"")
        if len(body) > MAX_BODY:
            raise BadRequest("body", TOO_LARGE, 413)
        if not message.get("more_body", False):
            return bytes(body)
        async with asyncio.timeout(IDLE_SECONDS):
            message = await receive()


async def throw_away(receive: Any) -> None:
    """Read on for a moment without keeping anything; then the connection may be closed."""
    left = LINGER_BYTES
    try:
        async with asyncio.timeout(LINGER_SECONDS):
            while left > 0 and (message := await receive())["type"] == "http.request":
                if not message.get("more_body", False):
                    return
                left -= len(message.get("body", b""))
    except TimeoutError:
        return
