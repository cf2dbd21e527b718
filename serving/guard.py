"""The outermost layer of the service: only known paths get in, so neither logs nor metrics can hold a caller's path."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from serving.application import Application, refuse
from serving.endpoints import Endpoint, Routes
from serving.problem import request_id_of

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
ASGI = Callable[[Scope, Receive, Send], Awaitable[None]]


class Guard:
    """Gives our endpoints to our application and health and metrics to BentoML; answers the rest with 404 or 405."""

    def __init__(self, bentoml: ASGI, application: Application, endpoints: tuple[Endpoint, ...]) -> None:
        self.bentoml, self.application = bentoml, application
        self.routes = Routes(endpoints)
        self.there = ", ".join(f"{endpoint.method} {endpoint.path}" for endpoint in endpoints)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection, as ASGI has it."""
        if scope["type"] == "lifespan":
            return await self.bentoml(scope, receive, send)
        if scope["type"] != "http":
            return await send({"type": "websocket.close", "code": 1003})
        request_id = request_id_of(scope["headers"])
        methods, path = self.routes.at((scope.get("raw_path") or scope["path"].encode()).decode("latin-1"))
        endpoint = methods.get(scope["method"])
        if endpoint is None and methods:
            allow = ", ".join(methods)
            headers = [(b"x-request-id", request_id.encode()), (b"allow", allow.encode())]
            return await refuse(send, 405, "method", f"this path answers {allow} only", request_id, headers)
        if endpoint is None:
            return await refuse(send, 404, "path", f"no such path; there are {self.there}", request_id)
        if endpoint.handler is None:
            return await self.bentoml(scope, receive, send)
        return await self.application.answer(endpoint, path, scope, receive, send, request_id)
