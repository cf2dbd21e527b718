"""The shipped configuration of the reverse proxy, started but for ports and times: slow headers are cut off."""

import contextlib
import http.server
import os
import re
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.ports import free_port

CONFIGURATION = Path(__file__).resolve().parents[2] / "docs" / "operations" / "nginx.conf"


class Upstream(http.server.BaseHTTPRequestHandler):
    """What stands behind the proxy: answers everything, and remembers which bodies and hosts came through."""

    seen: list[tuple[str, int]] = []

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._answer()

    def _answer(self) -> None:
        self.seen.append((self.path, int(self.headers.get("Content-Length", 0))))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, format: str, *args: object) -> None:
        return None


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}{os.pathsep}/usr/sbin")
    if nginx is None:
        if os.environ.get("CI"):
            pytest.fail("nginx is missing; .ci/run installs it")
        pytest.skip("needs nginx")
    folder, port = tmp_path_factory.mktemp("proxy"), free_port()
    upstream = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    threading.Thread(target=upstream.serve_forever, daemon=True).start()
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-keyout", str(folder / "tls.key"), "-out", str(folder / "tls.crt"), "-days", "1", "-subj", "/CN=test"]
    subprocess.run(command, check=True, capture_output=True)
    text = CONFIGURATION.read_text()
    for old, new in (
        ("/run/recsys-nginx.pid", f"{folder}/nginx.pid"),
        ("/etc/recsys/", f"{folder}/"),
        ("listen 443 ", f"listen 127.0.0.1:{port} "),
        ("127.0.0.1:3000", f"127.0.0.1:{upstream.server_port}"),
        ("client_header_timeout 5s", "client_header_timeout 1s"),
        ("client_body_timeout 5s", "client_body_timeout 1s"),
        ("worker_processes auto", "daemon off; worker_processes 1"),
    ):
        assert text.count(old) >= 1, f"{old} is no longer in {CONFIGURATION.name}"
        text = text.replace(old, new)
    kept = "".join(
        f"{name}_temp_path {folder}/{name}; " for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(text.replace("http {", "http { " + kept, 1))
    log = (folder / "log").open("wb")
    started = [nginx, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]
    process = subprocess.Popen(started, stdout=log, stderr=log)
    try:
        _await_open(port, process, folder)
        yield port
    finally:
        process.terminate()
        process.wait(30)
        upstream.shutdown()
        log.close()


def _await_open(port: int, process: "subprocess.Popen[bytes]", folder: Path) -> None:
    for _ in range(300):
        assert process.poll() is None, (folder / "log").read_text() + (folder / "error.log").read_text()
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError("nginx did not open its port")


def connected(port: int) -> ssl.SSLSocket:
    context = ssl._create_unverified_context()
    return context.wrap_socket(socket.create_connection(("127.0.0.1", port), 30))


def drip(caller: ssl.SSLSocket, text: bytes, most: float = 20) -> float:
    """Send a byte every tenth of a second; the seconds until the connection ended."""
    started = time.monotonic()
    caller.settimeout(0.1)
    for letter in text:
        try:
            caller.sendall(bytes([letter]))
            if caller.recv(1) == b"":
                break
        except TimeoutError:
            pass
        except OSError:
            break
        if time.monotonic() - started > most:
            break
    return time.monotonic() - started


def test_slow_headers_are_cut_off_and_others_are_answered_meanwhile(proxy: int) -> None:
    slow = [connected(proxy) for _ in range(20)]
    for caller in slow:
        caller.sendall(b"POST /recommend HTTP/1.1\r\nHost: bank\r\nX-Slow: ")
    with httpx.Client(base_url=f"https://127.0.0.1:{proxy}", verify=False, timeout=10) as client:
        assert [client.get("/healthz").status_code for _ in range(10)] == [200] * 10
    assert drip(slow[0], b"a" * 400) < 10
    for caller in slow[1:]:
        caller.settimeout(10)
        with contextlib.suppress(ConnectionError):
            assert caller.recv(1) == b""
        caller.close()


def test_a_slow_body_never_reaches_the_service_and_a_large_one_is_refused(proxy: int) -> None:
    Upstream.seen.clear()
    with connected(proxy) as caller:
        caller.sendall(b"POST /slow HTTP/1.1\r\nHost: bank\r\nContent-Length: 500\r\n\r\n{")
        caller.settimeout(10)
        with contextlib.suppress(ConnectionError):
            assert b" 200 " not in caller.recv(100)
    assert ("/slow", 500) not in Upstream.seen
    with httpx.Client(base_url=f"https://127.0.0.1:{proxy}", verify=False, timeout=10) as client:
        with connected(proxy) as caller:
            caller.sendall(f"POST /large HTTP/1.1\r\nHost: bank\r\nContent-Length: {1 << 30}\r\n\r\n{{".encode())
            assert b" 413 " in caller.recv(1000)
        assert client.post("/recommend", json={"customer_id": "C0001"}).status_code == 200
        assert client.get("/metrics").status_code == 404
    assert not [path for path, _ in Upstream.seen if path in ("/slow", "/large", "/metrics")]


def test_the_service_refuses_no_time_and_size_that_the_proxy_lets_through() -> None:
    from serving.body import IDLE_SECONDS
    from serving.request import MAX_BODY

    text = CONFIGURATION.read_text()
    assert re.search(r"client_max_body_size (\d+)m;", text)[1] == str(MAX_BODY >> 20)  # type: ignore[index]
    assert float(re.search(r"client_body_timeout (\d+)s;", text)[1]) <= IDLE_SECONDS  # type: ignore[index]
