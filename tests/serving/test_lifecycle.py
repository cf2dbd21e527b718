"""A running server: it follows its registry, mixes nothing while bundles are swapped, stops without losing anybody."""

import json
import os
import signal
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from recsys.bundle import Bundle
from serving.answers import Answers
from serving.registry import Registry
from tests.serving.conftest import Server, serving
from tests.serving.test_commands import recsys
from tests.serving.test_deploy import awaited

CUSTOMERS = [f"C{number:04}" for number in range(1, 11)]


def lists(bundle: Path, lake: Path) -> dict[str, object]:
    """What the bundle recommends to each customer, asked without a server."""
    answers = Answers.open(bundle, lake, None)
    return {name: answers.recommend({"customer_id": name, "k": 5})["items"] for name in CUSTOMERS}


def answering(server: Server) -> str:
    """The bundle that answers at this moment, in one of the workers."""
    return str(server.recommend({"customer_id": CUSTOMERS[0], "k": 5}).json()["bundle_id"])


def test_bundles_are_swapped_under_load_and_no_answer_fails_or_mixes_two(
    two: tuple[Registry, str, str], small_lake: Path, tmp_path: Path
) -> None:
    registry, first, second = two
    right = {bundle_id: lists(registry.where(bundle_id), small_lake) for bundle_id in (first, second)}
    assert right[first] != right[second]
    registry.promote(first, by="ann")
    seen: Counter[str] = Counter()
    wrong: list[str] = []
    stop = threading.Event()

    def call(url: str, offset: int) -> None:
        with httpx.Client(base_url=url, timeout=60) as client:
            number = offset
            while not stop.is_set():
                customer = CUSTOMERS[number % len(CUSTOMERS)]
                answer = client.post("/recommend", json={"customer_id": customer, "k": 5})
                told = answer.json() if answer.status_code == 200 else {"bundle_id": "", "status": answer.status_code}
                if answer.status_code != 200 or told["items"] != right[told["bundle_id"]][customer]:
                    wrong.append(answer.text)
                elif answer.headers["x-bundle-id"] != told["bundle_id"]:
                    wrong.append(f"header {answer.headers['x-bundle-id']}, body {told['bundle_id']}")
                seen[told["bundle_id"]] += 1
                number += 1

    options = ("--registry", str(registry.path), "--lake", str(small_lake), "--workers", "2")
    with serving(*options, folder=tmp_path) as server, ThreadPoolExecutor(3) as pool:
        callers = [pool.submit(call, server.url, offset) for offset in (0, 3, 7)]
        try:
            loose = ("--overlap", 0, "--slower", 100)
            words = ("deploy", registry.where(second), "--registry", registry.path)
            done = recsys(*words, *loose, folder=tmp_path)
            assert done.returncode == 0, done.stderr
            assert json.loads(done.stdout)["bundle_id"] == second
            assert len(json.loads(done.stdout)["workers"]) == 2
            assert answering(server) == second  # a deployment that has ended is in force everywhere
            assert registry.rollback(by="ann") == first
            awaited(lambda: answering(server) == first)
            refused = recsys(*words, "--overlap", 1, *loose[2:], folder=tmp_path)
            assert (refused.returncode, "at least 1 is asked" in refused.stderr) == (1, True), refused.stderr
            assert answering(server) == first
            registry.promote(second, by="ann")
            awaited(lambda: answering(server) == second)
            until = time.monotonic() + 60
            while sum(seen.values()) < 300 and time.monotonic() < until:
                time.sleep(0.1)
        finally:
            stop.set()
        for caller in callers:
            caller.result(60)
    assert not wrong, wrong[:3]
    assert sum(seen.values()) >= 300
    assert set(seen) == {first, second}
    assert "Traceback" not in server.log.read_text()


def test_a_stopping_server_is_not_ready_before_it_ceases_to_answer(
    small_bundle: Path, small_lake: Path, tmp_path: Path
) -> None:
    with serving(small_bundle, "--lake", str(small_lake), "--drain", "8", folder=tmp_path) as server:
        with httpx.Client(base_url=server.url, timeout=60) as kept:
            assert kept.get("/readyz").status_code == 200
            os.kill(server.process.pid, signal.SIGTERM)
            until = time.monotonic() + 7
            while (ready := httpx.get(f"{server.url}/readyz")).status_code == 200:
                assert time.monotonic() < until
            assert (ready.status_code, ready.json()["status"]) == (503, 503)
            answer = kept.post("/recommend", json={"customer_id": "C0001"})  # asked after readiness ended
            assert (answer.status_code, answer.headers["connection"]) == (200, "close")
            assert httpx.get(f"{server.url}/healthz").status_code == 200
        assert server.process.wait(30) == 0
    assert Bundle.load(small_bundle).bundle_id == answer.json()["bundle_id"]
