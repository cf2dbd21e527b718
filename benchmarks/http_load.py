"""Load generators: wrk for as many requests as can be had; ours where the answers matter."""

import asyncio
import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LUA = """
local bodies = {{{bodies}}}
local n = 0
wrk.method, wrk.path = "POST", "{path}"
wrk.headers["Content-Type"] = "application/json"
request = function() n = n % #bodies + 1; return wrk.format(nil, nil, nil, bodies[n]) end
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('{{"requests": %d, "seconds": %f, "p50": %f, "p99": %f, "errors": %d}}\\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    e.connect + e.read + e.write + e.status + e.timeout))
end
"""
"""For wrk 4: the bodies in turn, and one line of JSON; p50 and p99 in milliseconds, errors of any kind."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer; `seconds` from when the request was due, not from when it was written, `late` seconds after that."""

    due: float
    seconds: float
    status: int
    body: bytes
    late: float = 0.0


def by_wrk(url: str, path: str, bodies: Sequence[bytes], seconds: float, connections: int) -> dict[str, Any]:
    """requests, seconds, p50 and p99 (ms), errors: one thread of wrk, so many connections, each asking on and on."""
    quoted = ", ".join(json.dumps(body.decode()) for body in bodies)
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "load.lua"
        script.write_text(LUA.format(bodies=quoted, path=path))
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "--timeout", "10s", "-s", str(script), url]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def request(path: str, body: bytes) -> bytes:
    """A POST of JSON as it goes over the wire."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


class Connection(asyncio.Protocol):
    """A kept connection, one request at a time."""

    def __init__(self) -> None:
        self._got, self._answer = bytearray(), asyncio.get_running_loop().create_future()
        self._transport: Any = None
        self.closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._got += data
        end = self._got.find(b"\r\n\r\n")
        if end < 0 or self._answer.done():
            return
        head = bytes(self._got[:end]).lower()
        start = head.index(b"content-length:") + 15
        size = end + 4 + int(head[start : (head + b"\r\n").index(b"\r\n", start)])
        if len(self._got) >= size:
            self.closed = self.closed or b"connection: close" in head
            self._answer.set_result((int(head[9:12]), bytes(self._got[end + 4 : size])))
            del self._got[:size]

    def connection_lost(self, error: Exception | None) -> None:
        self.closed = True
        if not self._answer.done():
            self._answer.set_exception(error or ConnectionResetError())

    async def ask(self, wire: bytes) -> tuple[int, bytes]:
        """Status and body; ConnectionError if the server hung up first."""
        if self.closed:
            raise ConnectionResetError
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(wire)
        found: tuple[int, bytes] = await self._answer
        return found


class Pool:
    """Connections to one server, opened when all others are busy."""

    def __init__(self, port: int) -> None:
        self._port, self._free = port, list[Connection]()

    async def ask(self, wire: bytes) -> tuple[int, bytes]:
        """Status and body; 0 and what was wrong if the connection failed."""
        try:
            connection = self._kept() or await self._opened()
            status, body = await connection.ask(wire)
        except OSError as error:
            return 0, type(error).__name__.encode()
        if not connection.closed:
            self._free.append(connection)
        return status, body

    def _kept(self) -> Connection | None:
        """A free connection that the server has not closed for idling."""
        while self._free:
            if not (connection := self._free.pop()).closed:
                return connection
        return None

    async def _opened(self) -> Connection:
        _, connection = await asyncio.get_running_loop().create_connection(Connection, "127.0.0.1", self._port)
        return connection


async def asking(
    port: int,
    wires: Sequence[bytes],
    callers: int,
    more: Callable[[int], bool],
    check: Callable[[Answer], None],
) -> int:
    """`callers` ask while `more(number)`; each answer goes to `check`, its `due` the number. Returns how many."""
    pool, asked = Pool(port), 0

    async def caller() -> None:
        nonlocal asked
        while more(asked):
            number, asked = asked, asked + 1
            began = time.perf_counter()
            status, body = await pool.ask(wires[number % len(wires)])
            check(Answer(number, time.perf_counter() - began, status, body))

    await asyncio.gather(*(caller() for _ in range(callers)))
    return asked
