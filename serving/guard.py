"""The outermost layer of the service: known paths get in, with a key that allows it and not too often.

Neither logs nor metrics can hold a path that a caller invents, because it gets no further.
"""

import math
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from serving.application import PROBLEM, SAFE, Application, Request, respond
from serving.endpoints import Endpoint, Routes
from serving.keys import Keys
from serving.metrics import refused, shed
from serving.problem import Headers, as_json, header, problem, request_id_of
from serving.rate import Buckets

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
READY = "/readyz"
ASGI = Callable[[Scope, Receive, Send], Awaitable[None]]
LOCAL = ("localhost", "127.0.0.1", "[::1]")
"""Names under which a service without keys is asked; a page in a browser that reaches it by another name is refused."""


class Refused(Exception):
    """Not let in."""

    def __init__(self, status: int, field: str, detail: str, headers: Headers) -> None:
        super().__init__(status)
        self.status, self.field, self.detail, self.headers = status, field, detail, headers


class Guard:
    """Gives our endpoints to our application and health and metrics to BentoML; answers the rest itself."""

    def __init__(self, bentoml: ASGI, application: Application, endpoints: tuple[Endpoint, ...]) -> None:
        self.bentoml, self.application = bentoml, application
        self.routes = Routes(endpoints)
        self.there = ", ".join(f"{endpoint.method} {endpoint.path}" for endpoint in endpoints)
        self.keys: Keys | None = None
        """None: whoever reaches the address may ask for everything."""
        self.buckets: Buckets | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection, as ASGI has it."""
        if scope["type"] == "lifespan":
            return await self.bentoml(scope, receive, send)
        if scope["type"] != "http":
            return await send({"type": "websocket.close", "code": 1003})
        request_id = request_id_of(scope["headers"])
        try:
            endpoint, path = self._endpoint(scope)
            key, headers = self._let_in(endpoint, scope)
        except Refused as no:
            refused(no.status)
            body = as_json(problem(no.status, no.detail, no.field, request_id))
            return await respond(send, no.status, body, request_id, no.headers, PROBLEM)
        if endpoint.path == READY and self.application.state.draining:
            body = as_json(problem(503, "this worker is stopping; ask another", None, request_id))
            return await respond(send, 503, body, request_id, [(b"connection", b"close")], PROBLEM)
        if endpoint.handler is None:
            return await self.bentoml(scope, receive, _with_headers(send, request_id))
        request = Request(endpoint, path, scope, receive, request_id, key, headers)
        return await self.application.answer(request, send)

    def _endpoint(self, scope: Scope) -> tuple[Endpoint, Any]:
        methods, path = self.routes.at((scope.get("raw_path") or scope["path"].encode()).decode("latin-1"))
        endpoint = methods.get(scope["method"])
        if endpoint is not None:
            return endpoint, path
        if methods:
            allow = ", ".join(methods)
            raise Refused(405, "method", f"this path answers {allow} only", [(b"allow", allow.encode())])
        raise Refused(404, "path", f"no such path; there are {self.there}", [])

    def _let_in(self, endpoint: Endpoint, scope: Scope) -> tuple[str | None, Headers]:
        """The id of the caller's key, and what the answer says about its rate."""
        if endpoint.scope == "public":
            return None, []
        if self.keys is None:
            host = (header(scope["headers"], b"host") or "").rsplit(":", 1)
            if (host[0] if host[-1].isdecimal() else ":".join(host)) not in LOCAL:
                right = "without keys it is asked as 127.0.0.1 or localhost; with serve --keys by any name"
                raise Refused(403, "host", right, [])
            return None, []
        key = self.keys.known(header(scope["headers"], b"authorization"))
        if key is None:
            right = "no key, or none that is in force; send the header Authorization: Bearer KEY"
            raise Refused(401, "authorization", right, [(b"www-authenticate", b'Bearer realm="recsys"')])
        if endpoint.scope not in key.scopes:
            right = f"this needs a key of the scope {endpoint.scope}, yours has {', '.join(key.scopes)}"
            raise Refused(403, "authorization", right, [])
        if self.buckets is None:
            return key.id, []
        taken = self.buckets.take(key.id, key.rate, key.burst)
        policy = f'"key";q={key.burst};w={math.ceil(key.burst / key.rate)}'.encode()
        rest = f'"key";r={taken.left};t={math.ceil(taken.wait)}'.encode()
        headers = [(b"ratelimit-policy", policy), (b"ratelimit", rest)]
        if not taken.allowed:
            shed("rate")
            headers.append((b"retry-after", str(max(1, math.ceil(taken.wait))).encode()))
            raise Refused(429, "authorization", f"more than {key.rate:g} requests a second; wait a moment", headers)
        return key.id, headers


def _with_headers(send: Send, request_id: str) -> Send:
    """BentoML's answers with our headers."""

    async def sent(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode()), *SAFE]
        await send(message)

    return sent
