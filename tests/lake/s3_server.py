"""A local server that speaks the object store's protocol (moto), on loopback and a free port, for the tests."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.request import Request, urlopen

from tests.ports import free_port

BUCKET = "bank"
SECRET = "s3cr3t/w0rd+of/the/key"


@dataclass(frozen=True)
class Server:
    """Where it listens."""

    port: int

    @property
    def environment(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": "AKIATESTOFTHELAKE000",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "eu-west-1",
            "AWS_ALLOW_HTTP": "true",
        }

    def ask(self, method: str, path: str, body: bytes = b"") -> None:
        headers = {"Content-Type": "application/octet-stream"}
        urlopen(Request(f"http://127.0.0.1:{self.port}{path}", body, headers, method=method), timeout=30).close()


@contextmanager
def running() -> Iterator[Server]:
    """A server with one empty bucket; it is stopped when the block ends."""
    server = Server(free_port())
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(server.port)]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    process = subprocess.Popen(command, env=clean, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait(server.port, process)
        server.ask("PUT", f"/{BUCKET}")
        yield server
    finally:
        process.terminate()
        process.wait(30)


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        assert process.poll() is None, "the server ended"
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError("the server does not listen")
