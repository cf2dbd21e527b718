"""Rounds of the event loop, with real sockets and a clock of the tests' own."""

import asyncio
import selectors
import socket
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from serving.rounds import NEW, Loop, Rounds
from serving.service import app as _registers  # noqa: F401
from tests.serving.test_turns import Clock

MOST = 4


@pytest.fixture
def pairs() -> Iterator[list[tuple[socket.socket, socket.socket]]]:
    found = [socket.socketpair() for _ in range(3 * MOST)]
    yield found
    for pair in found:
        for one in pair:
            one.close()


def test_a_round_reads_a_few_and_each_round_goes_on_where_the_last_ended(
    pairs: list[tuple[socket.socket, socket.socket]],
) -> None:
    with Rounds(MOST) as rounds:
        for number, (near, far) in enumerate(pairs):
            rounds.register(near, selectors.EVENT_READ, number)
            far.send(b".")
        read = []
        while found := rounds.select(0):
            assert len(found) <= MOST
            for key, _ in found:
                pairs[key.data][0].recv(1)
                read.append(key.data)
        assert sorted(read) == list(range(3 * MOST))


def test_it_knows_since_when_it_has_been_behind(pairs: list[tuple[socket.socket, socket.socket]]) -> None:
    clock = Clock()
    with Rounds(MOST, clock) as rounds:
        for near, far in pairs:
            rounds.register(near, selectors.EVENT_READ)
            far.send(b".")
        clock.now = 5.0
        late = []
        while found := rounds.select(0):
            late.append(rounds.late())
            for key, _ in found:
                key.fileobj.recv(1)  # type: ignore[union-attr]
            clock.now += 1
        assert late == [5.0, 6.0, 7.0], "who is read last may have waited since the loop began"
        clock.now = 10.0
        pairs[0][1].send(b".")
        rounds.select(0)
        assert rounds.late() <= 10.0 - 7.0, "by then all had been told of"


def test_who_writes_to_an_idle_loop_has_not_waited(pairs: list[tuple[socket.socket, socket.socket]]) -> None:
    clock = Clock()
    with Rounds(MOST, clock) as rounds:
        near, far = pairs[0]
        rounds.register(near, selectors.EVENT_READ)
        clock.now = 50.0
        assert rounds.select(0.001) == []
        assert rounds.late() == 0.0


def test_the_service_runs_on_it_and_serves_more_callers_than_a_round_reads() -> None:
    import uvicorn

    factory = uvicorn.Config("unused").get_loop_factory()
    assert factory is Loop

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read(1))
        writer.close()

    async def ask(port: int, number: int) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"%d" % (number % 10))
        answer = await reader.read()
        writer.close()
        return answer

    async def serve() -> list[bytes]:
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            return await asyncio.gather(*(ask(port, number) for number in range(100)))

    with asyncio.Runner(loop_factory=Loop) as runner:
        assert runner.run(serve()) == [b"%d" % (number % 10) for number in range(100)]


def test_a_round_takes_a_few_new_callers(monkeypatch: pytest.MonkeyPatch) -> None:
    loop, taken, number = Loop(), Counter[int](), 0
    accept, select = socket.socket.accept, loop.rounds.select

    def accepted(self: socket.socket) -> Any:
        found = accept(self)
        taken[number] += 1
        return found

    def counted(timeout: float | None = None) -> Any:
        nonlocal number
        number += 1
        return select(timeout)

    async def serve() -> None:
        served = asyncio.Semaphore(0)
        server = await asyncio.start_server(lambda reader, writer: (writer.close(), served.release()), "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        callers = [socket.create_connection(address) for _ in range(5 * NEW)]  # all are there before a round begins
        for _ in callers:
            await asyncio.wait_for(served.acquire(), 10)
        server.close()
        for caller in callers:
            caller.close()

    monkeypatch.setattr(socket.socket, "accept", accepted)
    monkeypatch.setattr(loop.rounds, "select", counted)
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(serve())
    assert sum(taken.values()) == 5 * NEW
    assert max(taken.values()) <= NEW + 1  # newer versions of asyncio take one more than they are told
