"""Turning callers away before their request is taken apart, which costs more than the answer that says so."""

import re
from collections.abc import Callable
from random import getrandbits
from typing import Any, ClassVar

from uvicorn.protocols.http.auto import AutoHTTPProtocol

from serving.application import PROBLEM, SAFE
from serving.metrics import shed
from serving.problem import as_json, problem
from serving.rounds import Loop
from serving.turns import Turns

LENGTH = re.compile(rb"\r\ncontent-length: *(\d{1,9})\r\n", re.IGNORECASE)
_ID = "0" * 32
GOODBYE = 0.2
"""Seconds in which a stopping server sends what it has to say to unused connections."""


class Shedding(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
    """A connection of uvicorn; a POST that has come whole and would wait too long for its turn gets a 503 at once.

    Parsing a request and passing it through the application costs about as much as answering it. At several times the
    capacity the worker would be busy with refusals alone, and those it does answer would wait for them.
    """

    turns: ClassVar[Callable[[bytes], Turns | None]] = staticmethod(lambda path: None)
    """In which turns a POST to a path is answered; None: in none, it is always let in."""

    _refused = 0.0
    """When this caller was last told to come back, by the loop's clock."""

    def data_received(self, data: bytes) -> None:
        """As uvicorn does, but for who is turned away."""
        this: Any = self
        between = this.cycle is None or this.cycle.response_complete
        turns = type(self).turns(data[5 : data.find(b" ", 5)]) if between and data.startswith(b"POST ") else None
        if turns is None or not whole(data):
            super().data_received(data)
        elif turns.full(this.loop.rounds.late() if isinstance(this.loop, Loop) else 0.0):
            shed("queue")
            this.transport.write(refusal(f"{getrandbits(128):032x}"))
            self._refused = this.loop.time()
            if this.timeout_keep_alive_task is None:
                self._expires(this.timeout_keep_alive)
        else:
            # Many connections may be read before the first of their requests runs: each counts from now on, until
            # right after its task has run up to its turn, which the loop does in this order.
            turns.coming += 1
            super().data_received(data)
            this.loop.call_soon(turns.came)

    def shutdown(self) -> None:
        """As uvicorn does, but an unused connection ends at once.

        With TLS asyncio tells the caller and waits for half a minute for the same from them, who may not be reading.
        """
        this: Any = self
        super().shutdown()
        if this.transport.is_closing():
            this.loop.call_later(GOODBYE, this.transport.abort)

    def timeout_keep_alive_handler(self) -> None:
        """As uvicorn does, but a refusal counts as use; a timer for each would cost as much as the refusal."""
        this: Any = self
        left = self._refused + this.timeout_keep_alive - this.loop.time()
        if left > 0:
            self._expires(left)
        else:
            super().timeout_keep_alive_handler()

    def _expires(self, seconds: float) -> None:
        """Close the connection after so long without use."""
        this: Any = self
        this.timeout_keep_alive_task = this.loop.call_later(seconds, this.timeout_keep_alive_handler)


def whole(data: bytes) -> bool:
    """Whether this is one request with all of its body and nothing after it."""
    end = data.find(b"\r\n\r\n")
    length = LENGTH.search(data, 0, end + 2) if end >= 0 else None
    return length is not None and len(data) == end + 4 + int(length[1])


def refusal(request_id: str) -> bytes:
    """The answer as it goes over the wire."""
    return _REFUSAL.replace(_ID.encode(), request_id.encode())


def _refusal() -> bytes:
    body = as_json(problem(503, "too many requests are waiting; try again", None, _ID))
    headers = [(b"content-type", PROBLEM), (b"content-length", b"%d" % len(body)), (b"retry-after", b"1")]
    lines = [b"%s: %s" % pair for pair in (*headers, (b"x-request-id", _ID.encode()), *SAFE)]
    return b"\r\n".join([b"HTTP/1.1 503 Service Unavailable", *lines, b"", body])


_REFUSAL = _refusal()
