"""The service with keys, over TLS: who gets in, how often, what is cut off, and nothing of anyone in its log."""

import json
import socket
import ssl
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from serving.endpoints import ENDPOINTS
from serving.keys import add_key, revoke_key
from tests.serving.certificates import certificate
from tests.serving.conftest import Server, serving

CANARY = "CANARY7f3a"


class Keyed:
    """The running service and its keys."""

    def __init__(self, server: Server, file: Path, authority: Path) -> None:
        self.server, self.file, self.authority = server, file, authority
        self.port = int(server.url.rsplit(":", 1)[1])
        self.client = httpx.Client(
            base_url=f"https://127.0.0.1:{self.port}", verify=ssl.create_default_context(cafile=authority), timeout=60
        )

    def key(self, *scopes: str, rate: float = 1000, burst: int = 1000) -> str:
        return add_key(self.file, "test", scopes, rate, burst, None)

    def ask(self, method: str, path: str, key: str | None, **more: object) -> httpx.Response:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return self.client.request(method, path, headers=headers, **more)  # type: ignore[arg-type]

    def socket(self) -> ssl.SSLSocket:
        context = ssl.create_default_context(cafile=self.authority)
        return context.wrap_socket(socket.create_connection(("127.0.0.1", self.port), 30), server_hostname="127.0.0.1")


@pytest.fixture(scope="module")
def keyed(small_bundle: Path, small_lake: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyed]:
    folder = tmp_path_factory.mktemp("keyed")
    (public, secret), file = certificate(folder), folder / "keys.json"
    for name in ("score", "write", "admin"):
        (folder / name).write_text(add_key(file, name, [name], 1000, 1000, None))
    options = ("--lake", str(small_lake), "--workers", "2", "--keys", str(file), "--log-format", "json")
    tls = ("--tls-cert", str(public), "--tls-key", str(secret))
    with serving(small_bundle, *options, *tls, folder=folder) as server:
        yield Keyed(server, file, public)


def saved(keyed: Keyed, name: str) -> str:
    return (keyed.file.parent / name).read_text()


def test_nothing_is_let_in_without_a_key_of_the_right_scope(keyed: Keyed) -> None:
    keys = {name: saved(keyed, name) for name in ("score", "write", "admin")}
    for endpoint in ENDPOINTS:
        path = endpoint.path.replace("{id}", "C0001")
        body = {"json": endpoint.example} if endpoint.request else {}
        if endpoint.scope == "public":
            assert keyed.ask(endpoint.method, path, None).status_code == 200, path
            continue
        for wrong in (None, "rk_000000000000_x", keys["score"][:-1], "x" * 5000):
            refused = keyed.ask(endpoint.method, path, wrong, **body)
            assert refused.status_code == 401, path
            assert refused.headers["www-authenticate"].startswith("Bearer")
            assert refused.headers["content-type"] == "application/problem+json"
            assert refused.json()["field"] == "authorization"
        for scope, key in keys.items():
            answer = keyed.ask(endpoint.method, path, key, **body)
            assert (answer.status_code == 403) == (scope != endpoint.scope), (path, scope)
            assert answer.status_code < 500 or answer.status_code == 503, (path, answer.text)


def test_a_key_that_asks_too_often_is_told_when_to_come_back_by_any_worker(keyed: Keyed) -> None:
    key = keyed.key("score", rate=0.01, burst=4)
    time.sleep(1.2)
    statuses = []
    for _ in range(8):  # new connections, so that both workers are asked
        with httpx.Client(verify=ssl.create_default_context(cafile=keyed.authority), timeout=60) as client:
            url = f"https://127.0.0.1:{keyed.port}/recommend"
            answer = client.post(url, json={"customer_id": "C0001"}, headers={"Authorization": f"Bearer {key}"})
            statuses.append(answer.status_code)
    assert statuses == [200] * 4 + [429] * 4
    assert 1 <= int(answer.headers["retry-after"]) <= 100
    assert (
        answer.headers["ratelimit"].startswith('"key";r=0') and answer.headers["ratelimit-policy"] == '"key";q=4;w=400'
    )
    assert answer.json()["type"] == "urn:recsys:problem:rate"
    assert keyed.ask("POST", "/recommend", saved(keyed, "score"), json={"customer_id": "C0001"}).status_code == 200


def test_a_new_key_opens_and_a_revoked_one_closes_while_it_runs(keyed: Keyed) -> None:
    key = keyed.key("score")
    time.sleep(1.2)
    body = {"customer_id": "C0001"}
    assert keyed.ask("POST", "/recommend", key, json=body).status_code == 200
    revoke_key(keyed.file, key.split("_")[1])
    time.sleep(1.2)
    assert keyed.ask("POST", "/recommend", key, json=body).status_code == 401


def test_tls_begins_at_1_2_with_forward_secrecy(keyed: Keyed) -> None:
    with keyed.socket() as good:
        assert good.version() == "TLSv1.3"

    def connects(version: ssl.TLSVersion, ciphers: str) -> bool:
        context = ssl.create_default_context(cafile=keyed.authority)
        context.minimum_version = context.maximum_version = version
        context.set_ciphers(ciphers)
        try:
            with context.wrap_socket(
                socket.create_connection(("127.0.0.1", keyed.port), 30), server_hostname="127.0.0.1"
            ):
                return True
        except (ssl.SSLError, ConnectionError):
            return False

    assert connects(ssl.TLSVersion.TLSv1_2, "ECDHE+AESGCM")
    assert not connects(ssl.TLSVersion.TLSv1_2, "ECDHE+AES:!AESGCM:!AESCCM")
    assert not connects(ssl.TLSVersion.TLSv1_1, "ALL:@SECLEVEL=0")


def test_large_endless_deep_and_malformed_bodies_are_cut_off_and_others_are_answered(keyed: Keyed) -> None:
    key = saved(keyed, "score")
    head = f"POST /recommend HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n".encode()

    def endless() -> int:
        sent, piece = 0, b"10000\r\n" + b" " * 65_536 + b"\r\n"
        with keyed.socket() as caller:
            caller.sendall(head + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
            try:
                while sent < 1 << 30:
                    caller.sendall(piece)
                    sent += 65_536
            except OSError:
                return sent
        return sent

    def declared() -> bytes:
        with keyed.socket() as caller:
            caller.sendall(head + b"Content-Type: application/json\r\nContent-Length: 1073741824\r\n\r\n{")
            return caller.recv(65_536)

    with ThreadPoolExecutor(3) as pool:
        running = pool.submit(endless)
        statuses = [keyed.ask("POST", "/recommend", key, json={"customer_id": "C0001"}).status_code for _ in range(20)]
        assert statuses == [200] * 20
        assert b" 413 " in pool.submit(declared).result(30).split(b"\r\n")[0]
        assert running.result(60) < 1 << 30
    deep = b'{"customer_id": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    json_type = {"Content-Type": "application/json"}
    sent = {"headers": {**json_type, "Authorization": f"Bearer {key}"}, "content": deep}
    assert keyed.client.post("/recommend", **sent).status_code == 422  # type: ignore[arg-type]
    broken = {"Content-Type": "multipart/form-data; boundary=" + "-" * 5000, "Authorization": f"Bearer {key}"}
    answer = keyed.client.post("/recommend", headers=broken, content=b"--" + b"-" * 1_000_000)
    assert (answer.status_code, answer.json()["field"]) == (415, "content-type")


def test_the_log_is_json_and_holds_no_secret_and_nothing_of_a_request(keyed: Keyed) -> None:
    key = saved(keyed, "score")
    for body in ({"customer_id": CANARY}, {CANARY: 1}, {"customer": {"customers": [{"customer_id": CANARY}]}}):
        assert keyed.ask("POST", "/recommend", key, json=body).status_code in (200, 404, 422)
    keyed.ask("GET", f"/{CANARY}?customer={CANARY}", key)
    keyed.ask("POST", f"/recommend?customer={CANARY}", key, json={"customer_id": CANARY})
    with keyed.socket() as caller:  # what the server itself refuses
        caller.sendall(f"POST /{CANARY} HTTP/9.9\r\n{CANARY}\r\n\r\n".encode())
        caller.recv(65_536)
    time.sleep(0.5)
    log = keyed.server.log.read_text()
    for secret in (CANARY, "C0001", *(saved(keyed, name) for name in ("score", "write", "admin"))):
        assert secret not in log
        assert secret.split("_", 2)[-1] not in log
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    answered = [line for line in lines if line["event"] == "answered"]
    assert {"at", "level", "endpoint", "method", "status", "ms", "request_id", "key"} <= set(answered[-1])
    assert {line["key"] for line in answered if line["endpoint"] == "/recommend"} >= {key.split("_")[1]}
    metrics = keyed.ask("GET", "/metrics", saved(keyed, "admin"))
    assert metrics.status_code == 200 and CANARY not in metrics.text
    assert 'recsys_refused_total{status="401"}' in metrics.text
