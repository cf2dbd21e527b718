"""The BentoML service: POST /recommend, /segment and /churn beside BentoML's own /healthz, /readyz and /metrics."""

import asyncio
import json
import logging
import os
import traceback
from collections.abc import Callable
from typing import Any

import anyio
import bentoml
from _bentoml_sdk import Service
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from recsys.bundle.fits import parse_day
from serving.answers import Answers
from serving.guard import Guard
from serving.request import MAX_BODY, TOO_LARGE, BadRequest

BUNDLE, LAKE, AS_OF = "RECSYS_BUNDLE", "RECSYS_LAKE", "RECSYS_AS_OF"
"""Environment variables that tell a worker what to serve; the last two may be missing."""
BODY_SECONDS = 10.0
"""A caller who has not sent the whole body by then is cut off."""
MAX_WAITING = 64
"""Requests that may wait for their turn in one worker; more are told to come back."""

logger = logging.getLogger("bentoml.recsys")


async def recommend(request: Request) -> Response:
    """Answer POST /recommend."""
    return await _answered(request, request.app.state.answers.recommend)


async def segment(request: Request) -> Response:
    """Answer POST /segment."""
    return await _answered(request, request.app.state.answers.segment)


async def churn(request: Request) -> Response:
    """Answer POST /churn."""
    return await _answered(request, request.app.state.answers.churn)


async def _answered(request: Request, answer_of: Callable[[bytes], dict[str, Any]]) -> Response:
    state = request.app.state
    if state.waiting >= MAX_WAITING:
        return _json(503, {"error": "too many requests are waiting; try again", "field": None}, {"Retry-After": "1"})
    state.waiting += 1
    try:
        body = await _body(request)
        answer = await anyio.to_thread.run_sync(answer_of, body, limiter=state.limiter)
        return _json(200, answer)
    except BadRequest as error:
        return _json(error.status, {"error": f"{error.field}: {error.message}", "field": error.field})
    except ClientDisconnect:  # nobody is left to read this
        return _json(408, {"error": "body: the caller left before it was whole", "field": "body"})
    except Exception as error:  # the message of an unforeseen error may quote customer data: only its place is logged
        frames = traceback.extract_tb(error.__traceback__)
        place = " < ".join(f"{os.path.basename(frame.filename)}:{frame.lineno}" for frame in reversed(frames))
        logger.error("%s at %s", type(error).__name__, place)
        return _json(500, {"error": "internal error; the server's log says where", "field": None})
    finally:
        state.waiting -= 1


async def _body(request: Request) -> bytes:
    kind = request.headers.get("content-type", "application/json").split(";")[0].strip().lower()
    if kind != "application/json":
        raise BadRequest("content-type", "not JSON; send JSON with the header Content-Type: application/json")
    length = request.headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > MAX_BODY:
        raise BadRequest("body", TOO_LARGE)
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BODY:
                    raise BadRequest("body", TOO_LARGE)
    except TimeoutError:
        raise BadRequest("body", f"not whole after {BODY_SECONDS:g} seconds; send it at once", 408) from None
    return bytes(body)


def _json(status: int, content: dict[str, Any], headers: dict[str, str] | None = None) -> Response:
    body = json.dumps(content, ensure_ascii=False, allow_nan=False).encode(errors="replace")
    return Response(body, status_code=status, headers=headers, media_type="application/json")


app = Starlette(
    routes=[Route(f"/{question.__name__}", question, methods=["POST"]) for question in (recommend, segment, churn)]
)


class GuardedService(Service[Any]):
    """A BentoML service behind `Guard`; BentoML's own middleware would already have logged the path."""

    def to_asgi(self, is_main: bool = True) -> Any:
        """The whole application of one worker."""
        return Guard(super().to_asgi(is_main=is_main))


@bentoml.service(
    name="recsys",
    service_class=GuardedService,
    http={"host": "127.0.0.1"},
    traffic={"timeout": 30},
    logging={"access": {"enabled": True, "request_content_type": False}},  # a header is the caller's text
)
@bentoml.asgi_app(app, path="/")
class Recommendations:
    """Ranked products, segment and churn of a customer of the lake or of one whose data come with the request."""

    def __init__(self) -> None:
        """Load and warm up; the worker takes its first request when this has returned."""
        if BUNDLE not in os.environ:
            raise RuntimeError(f"{BUNDLE} is not set; start the service with: recsys serve BUNDLE")
        app.state.answers = Answers.open(os.environ[BUNDLE], os.environ.get(LAKE), parse_day(os.environ.get(AS_OF)))
        app.state.answers.warm_up()
        app.state.limiter = anyio.CapacityLimiter(1)
        app.state.waiting = 0
