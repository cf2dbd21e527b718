"""The outermost layer of the service: only known paths get in, so neither logs nor metrics can hold a caller's path."""

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

PATHS = {
    "/recommend": "POST",
    "/segment": "POST",
    "/churn": "POST",
    "/healthz": "GET",
    "/readyz": "GET",
    "/metrics": "GET",
}


class Guard:
    """Passes known paths and methods on; answers everything else itself, with 404 or 405 in JSON."""

    def __init__(self, app: Application) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection, as ASGI has it."""
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        if scope["type"] != "http":
            return await send({"type": "websocket.close", "code": 1003})
        method = PATHS.get(scope["path"])
        if method == scope["method"]:
            return await self.app(scope, receive, send)
        if method is None:
            there = ", ".join(f"{method} {path}" for path, method in PATHS.items())
            await _refuse(send, 404, "path", f"no such path; there are {there}")
        else:
            await _refuse(send, 405, "method", f"this path answers {method} only", allow=method)
        return None


async def _refuse(send: Send, status: int, field: str, message: str, allow: str | None = None) -> None:
    body = json.dumps({"error": message, "field": field}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if allow:
        headers.append((b"allow", allow.encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
