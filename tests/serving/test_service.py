"""The service as a caller meets it: the batch's answers, errors that name the field, nothing about anyone in logs."""

import json
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import httpx
import numpy as np
import polars as pl
import psutil
import pytest

from recsys.lake.store import Lake
from serving import application
from serving.current import Current
from serving.endpoints import Endpoint
from serving.guard import Guard
from serving.logs import Lines
from serving.schemas import Who
from serving.score import score
from serving.turns import Turns
from tests.ports import free_port
from tests.serving.conftest import Server, serving

SAME = 200


@pytest.fixture(scope="module")
def server(small_bundle: Path, small_lake: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(small_bundle, "--lake", str(small_lake), folder=tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture(scope="module")
def batch(small_bundle: Path, small_lake: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, pl.DataFrame]:
    out = tmp_path_factory.mktemp("batch")
    score(small_bundle, small_lake, out)
    rows = pl.concat([pl.read_parquet(path) for path in sorted(out.glob("bucket=*.parquet"))])
    return {str(key[0]): frame for key, frame in rows.partition_by("customer_id", as_dict=True).items()}


def same(items: list[dict[str, object]], scored: pl.DataFrame) -> bool:
    """Whether an answer has the products of the batch, in its order, with scores equal to the last bit."""
    answered = np.array([item["score"] for item in items], dtype=np.float64)
    return (
        [item["product_id"] for item in items] == scored["product_id"].to_list()
        and [item["rank"] for item in items] == scored["rank"].to_list()
        and np.array_equal(answered.astype(np.float32), scored["score"].to_numpy())
        and np.array_equal(answered.astype(np.float32).astype(np.float64), answered)
    )


def test_known_customers_get_what_the_batch_gives_them(server: Server, batch: dict[str, pl.DataFrame]) -> None:
    with httpx.Client(base_url=server.url, timeout=60) as client:
        for customer_id in sorted(batch)[:SAME]:
            answer = client.post("/recommend", json={"customer_id": customer_id}).json()
            assert set(answer) == {"bundle_id", "request_id", "customer_id", "items"}
            assert answer["customer_id"] == customer_id
            assert answer["bundle_id"] == batch[customer_id]["bundle_id"][0]
            assert same(answer["items"], batch[customer_id]), customer_id


def test_asked_again_and_all_at_once_the_answer_is_the_same(server: Server, batch: dict[str, pl.DataFrame]) -> None:
    ids = sorted(batch)[:20] * 2
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda i: server.recommend({"customer_id": i}).json(), ids))
    assert all(same(answer["items"], batch[i]) for answer, i in zip(answers, ids, strict=True))


def test_a_customer_who_brings_their_rows_gets_what_the_lake_gives_them(
    server: Server, batch: dict[str, pl.DataFrame], small_lake: Path
) -> None:
    lake = Lake.open(small_lake)
    for customer_id in ["C0000", "C0001", "C0002", "C0099", *sorted(batch)[100:120]]:
        tables = lake.customers([customer_id])
        mine = {name: rows_of(frame) for name, frame in tables.items() if name not in ("products", "campaigns")}
        answer = server.recommend({"customer": {name: rows for name, rows in mine.items() if rows}})
        assert answer.status_code == 200, answer.text
        assert same(answer.json()["items"], batch[customer_id]), customer_id


def rows_of(frame: pl.DataFrame) -> list[dict[str, object]]:
    def plain(value: object) -> object:
        return value.isoformat() if isinstance(value, date | datetime) else value

    return [{name: plain(value) for name, value in row.items()} for row in frame.to_dicts()]


def test_k_exclude_and_candidates_decide_before_the_ranking(server: Server, batch: dict[str, pl.DataFrame]) -> None:
    scored = batch["C0099"]
    first, second, third = scored["product_id"].to_list()[:3]
    answer = server.recommend({"customer_id": "C0099", "k": 2, "exclude": [first]}).json()
    assert [item["product_id"] for item in answer["items"]] == [second, third]
    assert [item["rank"] for item in answer["items"]] == [1, 2]
    answer = server.recommend({"customer_id": "C0099", "candidates": [third, first], "exclude": [first]}).json()
    assert [item["product_id"] for item in answer["items"]] == [third]
    assert server.recommend({"customer_id": "C0099", "candidates": [first], "exclude": [first]}).json()["items"] == []


def test_a_customer_with_nothing_gets_an_answer(server: Server) -> None:
    answer = server.recommend({"customer": {"customers": [{"customer_id": "new"}]}, "k": 4}).json()
    assert (answer["customer_id"], len(answer["items"])) == ("new", 4)


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"customer_id": "nobody"}, 404, "customer_id"),
        ({"customer_id": "C0001", "k": 0}, 422, "k"),
        ({"customer_id": "C0001", "exclude": ["P99"]}, 422, "exclude[0]"),
        ({"customer_id": "C0001", "candidates": ["P01"] * 100}, 422, "candidates"),
        ({"customer_id": "C0001", "top": 3}, 422, "top"),
        ({"customer": {"customers": [{}]}}, 422, "customer.customers[0].customer_id"),
        (b'{"customer_id": "C0001", "k": NaN}', 422, "k"),
        (b"not json", 400, "body"),
        (b"", 400, "body"),
    ],
)
def test_bad_input_is_refused_by_its_field(
    server: Server, body: dict[str, object] | bytes, status: int, field: str
) -> None:
    answer = server.recommend(body)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    problem = answer.json()
    assert set(problem) == {"type", "title", "status", "detail", "field", "request_id"}
    assert (problem["status"], problem["field"]) == (status, field)
    assert problem["type"].startswith("urn:recsys:problem:") and problem["title"]
    assert len(problem["detail"]) > len(field) + 10
    assert problem["request_id"] == answer.headers["x-request-id"]


def test_a_well_formed_request_id_is_kept_and_any_other_replaced(server: Server) -> None:
    kept = server.recommend({"customer_id": "C0001"}, **{"X-Request-Id": "order-2025_0001"})
    assert kept.headers["x-request-id"] == kept.json()["request_id"] == "order-2025_0001"
    assert kept.headers["x-bundle-id"] == kept.json()["bundle_id"]
    for bad in ("short", "x" * 65, "a b c d e f g", "drop;table--"):
        made = server.recommend({"customer_id": "nobody"}, **{"X-Request-Id": bad})
        assert made.json()["request_id"] == made.headers["x-request-id"] != bad
        assert len(made.json()["request_id"]) == 32
    ids = {httpx.get(f"{server.url}/nowhere").headers["x-request-id"] for _ in range(3)}
    assert len(ids) == 3


def test_a_million_candidates_are_refused(server: Server) -> None:
    body = json.dumps({"customer_id": "C0001", "candidates": [f"P{i:07d}" for i in range(1_000_000)]}).encode()
    answer = server.recommend(body)
    assert answer.status_code == 413
    assert answer.json()["field"] == "body"


def test_a_body_without_a_length_is_bounded_too(server: Server) -> None:
    chunks = (b" " * 65_536 for _ in range(200))
    answer = httpx.post(
        f"{server.url}/recommend", content=chunks, headers={"Content-Type": "application/json"}, timeout=60
    )
    assert (answer.status_code, answer.json()["field"]) == (413, "body")


def test_other_paths_methods_and_content_types_are_refused_in_json(server: Server) -> None:
    for path in ("/", "/docs.json", "/schema.json", "/recommend/", "/recommend/C0001", "/static_content/index.css"):
        answer = httpx.get(server.url + path)
        assert (answer.status_code, answer.json()["field"]) == (404, "path"), path
        assert answer.headers["x-content-type-options"] == "nosniff"
    answer = httpx.get(f"{server.url}/recommend")
    assert (answer.status_code, answer.json()["field"], answer.headers["allow"]) == (405, "method", "POST")
    assert httpx.post(f"{server.url}/healthz").status_code == 405
    answer = server.recommend(b"customer_id=C0001", **{"Content-Type": "application/x-www-form-urlencoded"})
    assert (answer.status_code, answer.json()["field"]) == (415, "content-type")


def test_health_readiness_and_metrics(server: Server) -> None:
    assert httpx.get(f"{server.url}/healthz").status_code == 200
    ready = httpx.get(f"{server.url}/readyz")
    assert (ready.status_code, ready.headers["cache-control"]) == (200, "no-store")
    server.recommend({"customer_id": "C0001"})
    metrics = httpx.get(f"{server.url}/metrics").text
    assert 'recsys_requests_total{endpoint="/recommend",status="200"}' in metrics
    assert 'recsys_request_seconds_count{endpoint="/recommend"}' in metrics


def test_it_listens_on_the_loopback_only(server: Server) -> None:
    port = int(server.url.rsplit(":", 1)[1])
    listening = [
        line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines()[1:] if line.split()[3] == "0A"
    ]
    assert [address for address in listening if address.endswith(f":{port:04X}")] == [f"0100007F:{port:04X}"]


def test_no_log_and_no_metric_holds_anything_of_a_request(server: Server) -> None:
    canary = "CANARY7f3a"
    bodies: list[dict[str, object] | bytes] = [
        {"customer_id": canary},
        {"customer_id": "C0001", "exclude": [canary]},
        {"customer_id": "C0001", "candidates": [canary]},
        {"customer_id": "C0001", canary: 1},
        {"customer_id": "C0001", "k": canary},
        {"customer": canary},
        {"customer": {canary: []}},
        {"customer": {"customers": [{"customer_id": canary, "region": canary}]}},
        {"customer": {"customers": [{"customer_id": canary, "income": canary}]}},
        {"customer": {"customers": [{"customer_id": canary, "born": canary}]}},
        {"customer": {"customers": [{"customer_id": "x"}], "interactions": [{"kind": canary, "at": "2024-01-01"}]}},
        {"customer": {"customers": [{"customer_id": "x"}], "transactions": [{"event_id": canary, "amount": canary}]}},
        canary.encode(),
        f'{{"customer_id": "{canary}", "customer_id": "{canary}"}}'.encode(),
        f'{{"customer_id": "{canary}", "k": NaN}}'.encode(),
    ]
    for body in bodies:
        answer = server.recommend(body, **{"X-Customer": canary, "User-Agent": canary})
        assert answer.status_code in (200, 400, 404, 422), answer.text
    server.recommend(b"{}", **{"Content-Type": canary})
    httpx.get(f"{server.url}/{canary}?customer={canary}")
    httpx.post(f"{server.url}/recommend?customer={canary}", json={"customer_id": canary})
    httpx.request(canary, f"{server.url}/recommend")
    time.sleep(0.5)
    log = server.log.read_text()
    assert "endpoint=/recommend method=POST status=422" in log
    assert canary not in log
    assert "C0001" not in log
    assert canary not in httpx.get(f"{server.url}/metrics").text


def test_callers_who_come_before_it_is_warm_wait_and_get_their_answer(
    small_bundle: Path, small_lake: Path, tmp_path: Path
) -> None:
    """Started among decoys that bear the names of our packages, of BentoML's files and of its settings."""
    for name in ("serving.py", "recsys.py", "training.py", "service.py", "polars.py", "starlette.py"):
        (tmp_path / name).write_text("raise SystemExit('the decoy was imported')\n")
    (tmp_path / "serving").mkdir()
    (tmp_path / "serving" / "__init__.py").write_text("raise SystemExit('the decoy was imported')\n")
    (tmp_path / "bentofile.yaml").write_text("service: service.py:decoy\n")
    early: list[int] = []

    def call(url: str) -> None:
        for _ in range(600):
            try:
                early.append(httpx.post(f"{url}/recommend", json={"customer_id": "C0001"}, timeout=60).status_code)
                return
            except httpx.ConnectError:
                time.sleep(0.05)

    port = free_port()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(call, f"http://127.0.0.1:{port}")
        options = ("--lake", str(small_lake), "--workers", "2", "--as-of", "2025-01-01")
        with serving(small_bundle, *options, folder=tmp_path, port=port) as server:
            waiting.result(120)
            assert early == [200]
            assert "decoy" not in server.log.read_text()
            after = {"customers": [{"customer_id": "x"}], "interactions": [{"kind": "login", "at": "2025-01-01"}]}
            assert "as_of 2025-01-01" in server.recommend({"customer": after}).json()["detail"]
    assert server.process.returncode == 0
    assert "Traceback" not in server.log.read_text()


def test_without_a_lake_only_own_data_are_answered(small_bundle: Path, tmp_path: Path) -> None:
    with serving(small_bundle, folder=tmp_path) as server:
        answer = server.recommend({"customer_id": "C0001"})
        assert (answer.status_code, answer.json()["field"]) == (404, "customer_id")
        assert "no lake" in answer.json()["detail"]
        answer = server.recommend({"customer": {"customers": [{"customer_id": "C0001", "region": "north"}]}, "k": 1})
        assert len(answer.json()["items"]) == 1


def test_workers_send_no_telemetry_and_write_nothing_at_home(server: Server) -> None:
    workers = psutil.Process(server.process.pid).children()
    assert workers
    for worker in workers:
        told = worker.environ()
        assert told["BENTOML_DO_NOT_TRACK"] == "True"
        assert "recsys-serve-" in told["BENTOML_HOME"]


class Failing:
    """Answers nothing, and quotes the caller while it fails."""

    bundle = SimpleNamespace(bundle_id="b" * 16)


def fail(current: Failing, body: bytes, path: Mapping[str, str]) -> dict[str, Any]:
    raise ValueError(f"cannot convert {body.decode()}")


def ask_in_process(body: dict[str, object], most: int = 64) -> httpx.Response:
    """What the application answers without a server around it, when its handler fails and so many may wait."""
    endpoint = Endpoint("POST", "/fail", "score", f"{__name__}:fail", "Fails.", request=Who)

    async def nothing(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("BentoML was asked")

    async def ask() -> httpx.Response:
        app = application.Application()
        turns = {"score": Turns("test", most=most)}
        app.state = application.State(Current(Failing()), turns)  # type: ignore[arg-type]
        transport = httpx.ASGITransport(app=Guard(nothing, app, (endpoint,)))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.post("/fail", json=body)

    return anyio.run(ask)


def test_an_unforeseen_error_is_logged_by_its_place_alone(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(application.logger, "propagate", True)
    answer = ask_in_process({"customer_id": "CANARY"})
    assert (answer.status_code, answer.json()["field"]) == (500, None)
    (failed,) = [record for record in caplog.records if record.getMessage() == "failed"]
    line = json.loads(Lines("json").format(failed))
    assert line["error"] == "ValueError" and line["place"].startswith("test_service.py:")
    assert line["request_id"] == answer.json()["request_id"]
    assert "CANARY" not in json.dumps(line) + answer.text


def test_too_many_waiting_callers_are_told_to_come_back() -> None:
    answer = ask_in_process({"customer_id": "C1"}, most=0)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.json()["type"] == "urn:recsys:problem:unavailable"
