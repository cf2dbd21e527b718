"""The application behind the service's own endpoints: waits for the body, asks the handler, sends answer or problem."""

import asyncio
import importlib
import logging
import os
import traceback
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import reduce
from time import perf_counter
from typing import Any

import anyio

from serving.current import Current
from serving.endpoints import Endpoint
from serving.metrics import answered
from serving.problem import Headers, as_json, header, problem
from serving.request import MAX_BODY, TOO_LARGE, BadRequest

BODY_SECONDS = 10.0
"""A caller who has not sent the whole body by then is cut off."""
MAX_WAITING = 64
"""Requests that may wait for their turn in one worker; more are told to come back."""
REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")
"""Of the request being answered, for handlers that store it."""

Handler = Callable[[Any, bytes, Mapping[str, str]], dict[str, Any] | bytes]

JSON, PROBLEM = b"application/json", b"application/problem+json"
logger = logging.getLogger("bentoml.recsys")
access = logging.getLogger("bentoml.access")


@dataclass
class State:
    """What the requests of one worker share; `current` is set when the bundle is loaded."""

    current: Current
    limiter: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(1))
    """Handlers that run at once."""
    waiting: int = 0


class Application:
    """Answers one request at a time, as ASGI has it, for an endpoint that `Guard` has found and let in."""

    state: State

    def __init__(self) -> None:
        self._found: dict[str, Handler] = {}

    async def answer(
        self, endpoint: Endpoint, path: Mapping[str, str], scope: Any, receive: Any, send: Any, request_id: str
    ) -> None:
        """Answer one request; `path` are the segments in braces."""
        started = perf_counter()
        headers = [(b"x-request-id", request_id.encode())]
        status, body, more = await self._answer(endpoint, path, scope, receive, request_id)
        await respond(send, status, body, headers + more, JSON if status < 400 else PROBLEM)
        seconds = perf_counter() - started
        answered(endpoint.path, status, seconds)
        access.info("path=%s status=%d %.1fms request_id=%s", endpoint.path, status, 1000 * seconds, request_id)

    async def _answer(
        self, endpoint: Endpoint, path: Mapping[str, str], scope: Any, receive: Any, request_id: str
    ) -> tuple[int, bytes, Headers]:
        """Status, body and further headers."""
        state, headers = self.state, []
        if state.waiting >= MAX_WAITING:
            said = problem(503, "too many requests are waiting; try again", None, request_id)
            return 503, as_json(said), [(b"retry-after", b"1")]
        state.waiting += 1
        try:
            sent = await _body(scope, receive) if endpoint.request is not None else b""
            current = state.current.answers  # once, so that one bundle answers the whole request
            headers = [(b"x-bundle-id", current.bundle.bundle_id.encode())]
            REQUEST_ID.set(request_id)
            handler = self._handler(endpoint)
            answer = await anyio.to_thread.run_sync(handler, current, sent, path, limiter=state.limiter)
            if isinstance(answer, dict):
                answer = as_json({"bundle_id": current.bundle.bundle_id, "request_id": request_id} | answer)
            return 200, answer, headers
        except BadRequest as error:
            if error.retry_after is not None:
                headers.append((b"retry-after", str(error.retry_after).encode()))
            detail = f"{error.field}: {error.message}" if error.field else error.message
            return error.status, as_json(problem(error.status, detail, error.field or None, request_id)), headers
        except ConnectionResetError:  # nobody is left to read this
            said = problem(408, "body: the caller left before it was whole", "body", request_id)
            return 408, as_json(said), headers
        except Exception as error:  # the message of an unforeseen error may quote customer data
            logger.error("%s at %s request_id=%s", type(error).__name__, place_of(error), request_id)
            said = problem(500, "internal error; the server's log says where", None, request_id)
            return 500, as_json(said), headers
        finally:
            state.waiting -= 1

    def _handler(self, endpoint: Endpoint) -> Handler:
        assert endpoint.handler is not None
        if endpoint.handler not in self._found:
            module, _, name = endpoint.handler.partition(":")
            loaded: Any = importlib.import_module(module)
            self._found[endpoint.handler] = reduce(getattr, name.split("."), loaded)
        return self._found[endpoint.handler]


def place_of(error: BaseException) -> str:
    """Where an error was raised, without its message."""
    frames = traceback.extract_tb(error.__traceback__)
    return " < ".join(f"{os.path.basename(frame.filename)}:{frame.lineno}" for frame in reversed(frames))


async def _body(scope: Any, receive: Any) -> bytes:
    """The whole body, within its bounds of size and time."""
    kind = header(scope["headers"], b"content-type") or "application/json"
    if kind.split(";")[0].strip().lower() != "application/json":
        raise BadRequest("content-type", "not JSON; send JSON with the header Content-Type: application/json", 415)
    length = header(scope["headers"], b"content-length") or "0"
    if not length.isdecimal() or int(length) > MAX_BODY:
        raise BadRequest("body", TOO_LARGE, 413)
    body = b""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ConnectionResetError
                body += message.get("body", b"")
                if len(body) > MAX_BODY:
                    raise BadRequest("body", TOO_LARGE, 413)
                if not message.get("more_body", False):
                    return body
    except TimeoutError:
        raise BadRequest("body", f"not whole after {BODY_SECONDS:g} seconds; send it at once", 408) from None


async def respond(send: Any, status: int, body: bytes, headers: Headers, kind: bytes) -> None:
    """Send a whole answer."""
    sent = [(b"content-type", kind), (b"content-length", str(len(body)).encode()), *headers]
    await send({"type": "http.response.start", "status": status, "headers": sent})
    await send({"type": "http.response.body", "body": body})


async def refuse(
    send: Any, status: int, field: str | None, detail: str, request_id: str, headers: Headers | None = None
) -> None:
    """Send a problem."""
    body = as_json(problem(status, detail, field, request_id))
    headers = headers or [(b"x-request-id", request_id.encode())]
    await respond(send, status, body, headers, PROBLEM)
