"""Callers who are turned away before their request is taken apart, by a running uvicorn."""

import json
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from benchmarks.http_load import request
from benchmarks.open_loop import arriving
from serving.shedding import Shedding, refusal, whole
from serving.turns import CALM, Overloaded, Turns
from tests.ports import free_port
from tests.serving.certificates import certificate

KEPT = 75
"""Seconds that an unused connection is kept: a caller may be stopped for a while between two of its questions."""
IDLE = 3
"""The same where a connection is to be closed for it."""
QUICK = 0.02
"""Seconds of an answer of /quick."""


@pytest.fixture
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """An application that answers two POST at a time: to / after a moment, to /held once /release is asked for; and one
    at a time to /quick.

    GET /held tells how many are held. The parameter says for how long an unused connection is kept.
    """
    two, gate = Turns("two", threads=2, most=2), threading.Event()
    work = {
        "/": (two, partial(time.sleep, 0.1)),
        "/held": (two, partial(gate.wait, 60)),
        "/quick": (Turns("quick"), partial(time.sleep, QUICK)),
    }

    class TwoAtATime(Shedding):
        turns = {path.encode(): turns for path, (turns, _) in work.items()}.get

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        while (await receive()).get("more_body"):
            pass
        if scope["path"] == "/release":
            gate.set()
        if scope["path"] in work and scope["method"] == "POST":
            try:
                turns, call = work[scope["path"]]
                await turns.run(call)
            except Overloaded:  # only who came in pieces gets so far
                await send({"type": "http.response.start", "status": 429, "headers": [(b"content-length", b"0")]})
                await send({"type": "http.response.body", "body": b""})
                return
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"%d." % two.waiting})

    with running(app, http=TwoAtATime, timeout_keep_alive=getattr(request, "param", KEPT)) as port:
        yield f"http://127.0.0.1:{port}"


@contextmanager
def running(app: Any, **settings: Any) -> Iterator[int]:
    """The port of a uvicorn that runs in a thread until the block ends."""
    port = free_port()
    config = uvicorn.Config(app, port=port, lifespan="off", log_level="error", loop="serving.rounds:Loop", **settings)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield port
    server.should_exit = True
    thread.join()


def test_a_full_worker_tells_others_at_once_to_come_back_and_answers_those_it_has(url: str) -> None:
    with ThreadPoolExecutor(2) as pool, socket.create_connection(("127.0.0.1", int(url.rsplit(":", 1)[1]))) as caller:
        busy = [pool.submit(httpx.post, f"{url}/held", json={}, timeout=60) for _ in range(2)]
        while httpx.get(f"{url}/held").text != "2.":
            time.sleep(0.05)
        refused = [asked_whole(caller) for _ in range(8)]  # while the two are held
        assert {answer.status for answer, _ in refused} == {503}
        for answer, body in refused:
            assert answer.headers["content-type"] == "application/problem+json"
            assert (answer.headers["retry-after"], json.loads(body)["status"]) == ("1", 503)
        ids = [answer.headers["x-request-id"] for answer, _ in refused]
        assert len(set(ids)) == len(ids)
        assert [json.loads(body)["request_id"] for _, body in refused] == ids
        httpx.get(f"{url}/release")
        assert [one.result().status_code for one in busy] == [200, 200]
        assert asked_whole(caller)[0].status == 200, "on a kept connection, once there is room again"


def asked_whole(caller: socket.socket) -> tuple[HTTPResponse, bytes]:
    """The answer to a POST whose head and body are sent as one."""
    caller.sendall(request("/", b"{}"))
    answer = HTTPResponse(caller, method="POST")
    answer.begin()
    return answer, answer.read()


def test_health_is_told_and_a_body_in_pieces_is_read_even_by_a_full_worker(url: str) -> None:
    def pieces() -> Iterator[bytes]:
        yield b'{"a":'
        time.sleep(0.05)
        yield b"1}"

    with ThreadPoolExecutor(2) as pool:
        busy = [pool.submit(httpx.post, f"{url}/held", json={}, timeout=60) for _ in range(2)]
        while httpx.get(f"{url}/held").text != "2.":
            time.sleep(0.05)
        assert httpx.get(url).status_code == 200
        assert httpx.post(f"{url}/other", json={}).status_code == 200, "another path has turns of its own"
        assert httpx.post(url, content=pieces()).status_code == 429, "read, and told by the application"
        httpx.get(f"{url}/release")
        assert [one.result().status_code for one in busy] == [200, 200]


def test_at_five_times_the_capacity_nobody_is_cut_off_and_afterwards_everybody_is_answered(url: str) -> None:
    port = int(url.rsplit(":", 1)[1])
    answers = arriving(port, [request("/quick", b"{}")], 5 / QUICK, 2)
    statuses = Counter(answer.status for answer in answers)
    assert set(statuses) == {200, 503}, "0 would be a broken connection"
    assert statuses[503] > statuses[200] >= 20
    time.sleep(CALM)
    assert [httpx.post(f"{url}/quick", json={}).status_code for _ in range(20)] == [200] * 20


@pytest.mark.parametrize("url", [IDLE], indirect=True)
def test_a_connection_that_was_used_for_nothing_but_refusals_is_kept_until_it_is_idle(url: str) -> None:
    port = int(url.rsplit(":", 1)[1])
    with ThreadPoolExecutor(2) as pool, socket.create_connection(("127.0.0.1", port)) as caller:
        busy = [pool.submit(httpx.post, f"{url}/held", json={}, timeout=60) for _ in range(2)]
        while httpx.get(f"{url}/held").text != "2.":
            time.sleep(0.05)
        for _ in range(6):  # for longer than an idle connection is kept
            assert asked_whole(caller)[0].status == 503
            time.sleep(IDLE / 4)
        caller.settimeout(10 * IDLE)
        assert caller.recv(1) == b"", "closed by the server, because it was idle"
        httpx.get(f"{url}/release")
        assert [one.result().status_code for one in busy] == [200, 200]


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        (b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}", True),
        (b"POST / HTTP/1.1\r\nHost: x\r\ncontent-length:2\r\nA: b\r\n\r\n{}", True),
        (b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{", False),
        (b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}POST / HTTP/1.1\r\n", False),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", False),
        (b"POST / HTTP/1.1\r\nContent-Length: 2\r\n", False),
        (b"POST / HTTP/1.1\r\nA: b\r\n\r\n\r\nContent-Length: 2\r\n\r\n", False),
    ],
)
def test_only_one_whole_request_is_turned_away_unread(data: bytes, wanted: bool) -> None:
    assert whole(data) is wanted


def test_the_refusal_has_the_length_it_says() -> None:
    head, _, body = refusal("f" * 32).partition(b"\r\n\r\n")
    assert b"content-length: %d\r\n" % len(body) in head
    assert b"x-request-id: " + b"f" * 32 in head


def test_a_server_that_stops_does_not_wait_for_unused_connections_with_tls(tmp_path: Path) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    public, secret = certificate(tmp_path)
    context = ssl.create_default_context(cafile=public)
    with running(app, http=Shedding, ssl_certfile=str(public), ssl_keyfile=str(secret)) as port:
        unused = context.wrap_socket(socket.create_connection(("127.0.0.1", port), 30), server_hostname="127.0.0.1")
        unused.sendall(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
        answer = HTTPResponse(unused)
        answer.begin()
        assert answer.read() == b"ok"
        began = time.monotonic()
    assert time.monotonic() - began < 10, "asyncio would wait for half a minute for its goodbye"
    assert unused.recv(1) == b"", "the caller is told that the connection ends"
    unused.close()
