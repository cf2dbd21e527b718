"""The application behind the service's own endpoints: waits for the body, asks the handler, sends answer or problem."""

import importlib
import json
import logging
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import reduce
from time import perf_counter
from typing import TYPE_CHECKING, Any

from serving.answers import Answers
from serving.at_hand import at_hand
from serving.body import Gone, read_body, throw_away
from serving.canary import TRIED
from serving.current import Asked, Current
from serving.endpoints import ENDPOINTS, Endpoint
from serving.forgetting import forget
from serving.logs import TOLD, place_of
from serving.metrics import POPULATION, answered, failed, shed
from serving.problem import Headers, as_json, header, problem
from serving.request import BadRequest
from serving.turns import WAIT, Overloaded, Turns

if TYPE_CHECKING:
    from serving.traces import Traces

REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")
"""Of the request being answered, for handlers that store it."""
CUT_OFF = (408, 413)
"""Statuses after which the connection ends, because more of the body may come."""
ERASURE = "serving.online:erasure"
"""The handler after which nothing of a customer stays in memory; other workers follow within seconds."""
WRITERS = 4
"""Handlers of the scope `write` that run at once in a worker."""
WRITE_WAIT = 0.25
"""Seconds that a write may wait under lasting overload: longer than a question, for nobody waits to see the answer."""
JSON, PROBLEM = b"application/json", b"application/problem+json"
BUNDLE_ID = b"x-bundle-id"
SAFE: Headers = [
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
]
"""Headers of every answer: nothing is kept on the way, and a browser makes nothing of it but data."""

Handler = Callable[[Any, bytes, Mapping[str, str]], dict[str, Any] | bytes]

logger = logging.getLogger("recsys")


def turns_by_scope(max_wait: float | None = None) -> dict[str, Turns]:
    """The turns of one worker; questions wait at most `max_wait` seconds under lasting overload."""
    score = Turns("score", wait=WAIT if max_wait is None else max_wait)
    return {"score": score, "write": Turns("write", WRITERS, wait=WRITE_WAIT), "admin": Turns("admin", most=4)}


@dataclass
class State:
    """What the requests of one worker share; `current` is set when the bundle is loaded."""

    current: Current
    turns: dict[str, Turns] = field(default_factory=turns_by_scope)
    """By the scope of the endpoint, so that nobody waits for a write to the disk, or for a bundle to load, to ask."""
    draining: bool = False
    """The worker is about to stop: it is not ready, still answers, and lets each caller go after the answer."""
    traces: "Traces | None" = None
    """What is told to a collector; None: nothing, and nothing is noted for it."""


@dataclass(frozen=True)
class Request:
    """One request that `Guard` has let in."""

    endpoint: Endpoint
    path: Mapping[str, str]
    """The segments in braces."""
    scope: Any
    receive: Any
    request_id: str
    key: str | None = None
    """The id of the caller's key."""
    headers: Headers = field(default_factory=list)
    """Further headers of the answer."""


class Application:
    """Answers requests one at a time; `state` is set before the first."""

    state: State

    def __init__(self) -> None:
        self._found: dict[str, Handler] = {}

    async def answer(self, request: Request, send: Any) -> None:
        """Answer one request, count it, and write a line about it."""
        started, traces = perf_counter(), self.state.traces
        trace = None if traces is None else traces.begin(request.scope["headers"], started)
        status, body, headers = await self._answer(request)
        headers += request.headers
        if status in CUT_OFF or self.state.draining:
            headers.append((b"connection", b"close"))
        more = request.receive if status in CUT_OFF else None
        kind = JSON if status < 400 else PROBLEM
        await respond(send, status, body, request.request_id, headers, kind, more)
        ended, endpoint = perf_counter(), request.endpoint
        seconds = ended - started
        answered(endpoint.path, status, seconds)
        if trace is not None:
            bundle_id = header(headers, BUNDLE_ID)
            trace.end(endpoint.method, endpoint.path, request.request_id, bundle_id, status, ended)
        facts = {"endpoint": endpoint.path, "method": endpoint.method, "status": status}
        facts |= {"ms": round(1000 * seconds, 1), "request_id": request.request_id, "key": request.key}
        logger.info("answered", extra={TOLD: facts})

    async def _answer(self, request: Request) -> tuple[int, bytes, Headers]:
        """Status, body and further headers."""
        headers: Headers = []
        try:
            endpoint = request.endpoint
            sent = b"" if endpoint.request is None else await read_body(request.scope, request.receive)
            current = self.state.current.answers  # once, so that one bundle answers the whole request
            bundle_id = current.bundle.bundle_id
            headers.append((BUNDLE_ID, bundle_id.encode()))
            if bundle_id != POPULATION.bundle_id:
                POPULATION.starts(bundle_id, _shares(current))
            REQUEST_ID.set(request.request_id)
            turns = self.state.turns[endpoint.scope]
            run = turns.run_short if at_hand(current, endpoint.path, sent) else turns.run
            answer = await run(self._handler(endpoint), current, sent, request.path)
            if endpoint.path in TRIED:
                self.state.current.note(endpoint.path, sent)
            elif endpoint.handler == ERASURE:
                forget(self.state.current, {request.path["id"]})
            if isinstance(answer, dict):
                answer = as_json({"bundle_id": bundle_id, "request_id": request.request_id} | answer)
            return 200, answer, headers
        except BadRequest as error:
            if error.retry_after is not None:
                headers.append((b"retry-after", str(error.retry_after).encode()))
            detail = f"{error.field}: {error.message}" if error.field else error.message
            return error.status, _problem(error.status, detail, error.field or None, request), headers
        except Overloaded:
            shed("queue")
            headers.append((b"retry-after", b"1"))
            return 503, _problem(503, "too many requests are waiting; try again", None, request), headers
        except Gone:  # nobody is left to read this
            return 408, _problem(408, "body: the caller left before it was whole", "body", request), headers
        except Exception as error:  # the message of an unforeseen error may quote customer data
            failed(error)
            facts = {"error": type(error).__name__, "place": place_of(error), "request_id": request.request_id}
            logger.error("failed", extra={TOLD: facts})
            return 500, _problem(500, "internal error; the server's log says where", None, request), headers

    def ask(self, answers: Answers, question: Asked) -> dict[str, Any]:
        """The answer to a question of an earlier request, for a trial of other answers; raises what a handler does."""
        endpoint = next(row for row in ENDPOINTS if (row.method, row.path) == ("POST", question.path))
        answer = self._handler(endpoint)(answers, question.body, {})
        return answer if isinstance(answer, dict) else json.loads(answer)

    def _handler(self, endpoint: Endpoint) -> Handler:
        assert endpoint.handler is not None
        if endpoint.handler not in self._found:
            module, _, name = endpoint.handler.partition(":")
            loaded: Any = importlib.import_module(module)
            self._found[endpoint.handler] = reduce(getattr, name.split("."), loaded)
        return self._found[endpoint.handler]


def _shares(current: Answers) -> dict[str, float]:
    """The share of each segment where the bundle was made."""
    found = getattr(current, "segmentation", None)
    return {} if found is None else {segment.id: segment.share for segment in found.segments}


def _problem(status: int, detail: str, field: str | None, request: Request) -> bytes:
    return as_json(problem(status, detail, field, request.request_id))


async def respond(
    send: Any, status: int, body: bytes, request_id: str, headers: Headers, kind: bytes, more: Any = None
) -> None:
    """Send a whole answer; `more` receives what a caller who is cut off still sends."""
    length = str(len(body)).encode()
    sent = [(b"content-type", kind), (b"content-length", length), (b"x-request-id", request_id.encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*sent, *SAFE, *headers]})
    await send({"type": "http.response.body", "body": body, "more_body": more is not None})
    if more is not None:
        await throw_away(more)
        await send({"type": "http.response.body", "body": b""})
