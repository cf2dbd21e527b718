"""Traces: their shape, who decides about them, that they tell of nobody, and that no request waits for a collector."""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from recsys.__main__ import EXTRA_OF
from recsys.errors import ConfigError
from serving import traces
from serving.metrics import stage
from serving.served import Served
from serving.traces import MOST, Traces
from tests.ports import free_port
from tests.serving.collector import Collector, collecting, values
from tests.serving.conftest import ROOT, serving

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED, NOT_SAMPLED = f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-00"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as found:
        yield found


def asked(of: Traces, *headers: tuple[bytes, bytes], stages: int = 1, status: int = 200) -> bool:
    """One request; whether it was traced."""
    began = time.perf_counter()
    trace = of.begin(headers, began)
    for _ in range(stages):
        with stage("rank"):
            pass
    if trace is not None:
        trace.end("POST", "/recommend", "request-1", "bundle-1", status, time.perf_counter())
    return trace is not None


def fate(name: str) -> float:
    return REGISTRY.get_sample_value("recsys_spans_total", {"fate": name}) or 0.0


def test_a_request_is_a_span_and_its_stages_lie_within(collector: Collector) -> None:
    found, before = Traces(collector.url, 1), time.time_ns()
    assert asked(found, stages=2)
    found.close()
    first, second, server = sorted(collector.spans(), key=lambda span: not span.parent_span_id)
    assert (server.name, server.kind, server.parent_span_id) == ("POST /recommend", server.SPAN_KIND_SERVER, b"")
    assert values(server) == {
        **{"http.request.method": "POST", "http.route": "/recommend", "http.response.status_code": 200},
        **{"recsys.request_id": "request-1", "recsys.bundle_id": "bundle-1"},
    }
    assert server.status.code == server.status.STATUS_CODE_UNSET
    assert before <= server.start_time_unix_nano < server.end_time_unix_nano <= time.time_ns()
    for child in (first, second):
        assert (child.name, child.trace_id, child.parent_span_id) == ("rank", server.trace_id, server.span_id)
        assert server.start_time_unix_nano <= child.start_time_unix_nano <= child.end_time_unix_nano
        assert child.end_time_unix_nano <= server.end_time_unix_nano
    assert first.end_time_unix_nano <= second.start_time_unix_nano
    (resource,) = collector.resources()
    assert resource["service.name"] == "recsys" and resource["service.version"]
    assert collector.paths == ["/v1/traces"]


def test_the_environment_names_the_service(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.name=offers,deployment.environment.name=test")
    found = Traces(collector.url, 1)
    asked(found)
    found.close()
    (resource,) = collector.resources()
    assert (resource["service.name"], resource["deployment.environment.name"]) == ("offers", "test")


def test_the_caller_decides_and_is_the_parent(collector: Collector) -> None:
    found = Traces(collector.url, 0)
    assert asked(found, (b"host", b"here"), (b"traceparent", SAMPLED.encode()))
    assert not asked(found, (b"traceparent", NOT_SAMPLED.encode()))
    found.close()
    server = next(span for span in collector.spans() if span.kind == span.SPAN_KIND_SERVER)
    assert (server.trace_id.hex(), server.parent_span_id.hex()) == (TRACE, SPAN)
    assert len({span.trace_id for span in collector.spans()}) == 1


@pytest.mark.parametrize("nonsense", ["", "yes", f"00-{'0' * 32}-{SPAN}-01", f"ff-{TRACE}-{SPAN}-01", "é" * 300])
def test_a_traceparent_that_is_none_decides_nothing(collector: Collector, nonsense: str) -> None:
    header = (b"traceparent", nonsense.encode())
    never, always = Traces(collector.url, 0), Traces(collector.url, 1)
    assert not asked(never, header) and asked(always, header)
    for one in (never, always):
        one.close()
    server = next(span for span in collector.spans() if span.kind == span.SPAN_KIND_SERVER)
    assert server.parent_span_id == b"" and server.trace_id.hex() != TRACE


def test_of_the_others_a_share_is_traced(collector: Collector) -> None:
    drawn = iter([0.05, 0.3, 0.099, 0.1])
    found = Traces(collector.url, 0.1, lambda: next(drawn))
    assert [asked(found) for _ in range(4)] == [True, False, True, False]
    found.close()


def test_a_failed_answer_is_an_error_and_of_many_stages_the_first_are_told(collector: Collector) -> None:
    found = Traces(collector.url, 1)
    asked(found, stages=MOST + 3, status=503)
    found.close()
    server = next(span for span in collector.spans() if span.kind == span.SPAN_KIND_SERVER)
    assert server.status.code == server.status.STATUS_CODE_ERROR
    assert (values(server)["error.type"], values(server)["recsys.stages_left_out"]) == ("503", 3)
    assert len(collector.spans()) == 1 + MOST


def test_a_collector_that_is_down_costs_no_time_and_what_it_misses_is_counted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(traces, "QUEUE", 40)
    monkeypatch.setattr(traces, "BATCH", 20)
    monkeypatch.setattr(traces, "FLUSH", 0.5)
    monkeypatch.setattr(logging.getLogger("recsys"), "propagate", True)
    refused, no_room = fate("refused"), fate("no_room")
    found = Traces(f"http://127.0.0.1:{free_port()}/v1/traces", 1)
    before = time.process_time()
    for _ in range(200):
        asked(found)
    assert time.process_time() - before < 1, "nothing waits for the collector"
    assert fate("no_room") - no_room >= 400 - 40 - 20
    began = time.monotonic()
    found.close()
    assert time.monotonic() - began < 5
    assert (fate("refused") - refused) + (fate("no_room") - no_room) == 400, "every span is accounted for"


def test_a_collector_that_comes_back_is_told_of_what_happens_then(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(traces, "EVERY", 0.05)
    monkeypatch.setattr(logging.getLogger("recsys"), "propagate", True)
    caplog.set_level(logging.INFO, "recsys")
    found = Traces(collector.url, 1)
    collector.status = 400  # which is not tried again
    for wanted in ("takes no spans", "takes spans again"):
        until = time.monotonic() + 20
        while not any(wanted in record.getMessage() for record in caplog.records):
            assert time.monotonic() < until, wanted
            asked(found)
            time.sleep(0.05)
        collector.status = 200
    found.close()
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2 and "Failed to export" not in caplog.text, "said once, not with each attempt"
    assert collector.spans()


def test_a_collector_that_does_not_answer_is_given_a_while_at_the_end(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traces, "FLUSH", 0.3)
    collector.hold.set()
    refused = fate("refused")
    found = Traces(collector.url, 1)
    asked(found)
    began = time.monotonic()
    found.close()
    assert 0.3 <= time.monotonic() - began < 8, "the exporter alone would try for ten seconds"
    assert fate("refused") == refused + 2


def test_every_worker_traces_and_tells_of_nobody(
    collector: Collector, small_bundle: Path, small_lake: Path, tmp_path: Path
) -> None:
    options = ("--lake", str(small_lake), "--workers", "2", "--traces", collector.url, "--trace-share", "0")
    marked = {"x-request-id": "request-of-the-test", "traceparent": SAMPLED}
    with serving(small_bundle, *options, folder=tmp_path) as server:
        for _ in range(40):  # each on a connection of its own, so that both workers are asked
            answer = server.recommend({"customer_id": "C0001", "k": 3}, **marked)
            assert answer.status_code == 200
        assert server.recommend({"customer_id": "nobody-marked", "k": 3}, **marked).status_code == 404
        assert server.recommend({"customer_id": "C0002"}, traceparent=NOT_SAMPLED).status_code == 200
        assert server.recommend({"customer_id": "C0002"}).status_code == 200
    spans = collector.spans()  # the last came when the server stopped
    servers = [span for span in spans if span.kind == span.SPAN_KIND_SERVER]
    assert len(servers) == 41
    assert {span.trace_id.hex() for span in spans} == {TRACE}
    assert {span.parent_span_id.hex() for span in servers} == {SPAN}
    assert {values(span)["recsys.request_id"] for span in servers} == {"request-of-the-test"}
    assert {values(span)["recsys.bundle_id"] for span in servers} == {answer.json()["bundle_id"]}
    assert sorted(values(span)["http.response.status_code"] for span in servers) == [200] * 40 + [404]
    inside: dict[bytes, set[str]] = {span.span_id: set() for span in servers}
    for span in spans:
        if span.kind != span.SPAN_KIND_SERVER:
            inside[span.parent_span_id].add(span.name)
    worked_out = {"turn", "features", "network", "rank"}
    assert any(names >= worked_out for names in inside.values()), "on a thread"
    assert any(names == {"turn", "rank"} for names in inside.values()), "by the event loop, from memory"
    assert 1 <= len(collector.resources()) <= 2
    for personal in (b"C0001", b"nobody-marked", b"customer_id"):
        assert not any(personal in raw for raw in collector.raw)


def test_a_server_whose_collector_hangs_answers_and_stops(
    collector: Collector, small_bundle: Path, small_lake: Path, tmp_path: Path
) -> None:
    collector.hold.set()
    options = ("--lake", str(small_lake), "--traces", collector.url, "--trace-share", "1")
    with serving(small_bundle, *options, folder=tmp_path) as server:
        for _ in range(20):
            assert server.recommend({"customer_id": "C0001"}).status_code == 200
        assert collector.called.wait(20)
        assert server.recommend({"customer_id": "C0001"}).status_code == 200
        os.kill(server.process.pid, signal.SIGTERM)
        began = time.monotonic()
        assert server.process.wait(30) == 0
        assert time.monotonic() - began < 15
    assert "Traceback" not in server.log.read_text()


def test_without_traces_nothing_of_opentelemetry_is_imported() -> None:
    program = """if True:
        import sys
        import serving.service
        loaded = [name for name in sys.modules if name.startswith("opentelemetry")]
        serving.service.Recommendations.to_asgi()  # BentoML imports some of it for itself, nothing that sends
        print([*loaded, *(name for name in sys.modules if name.startswith("opentelemetry.exporter"))])
    """
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.stdout.splitlines()[-1:] == ["[]"], done.stderr
    assert Served(bundle="somewhere").tracing() is None


def test_where_the_exporter_is_not_installed_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "serving.traces")
    for name in [name for name in sys.modules if name.startswith("opentelemetry.exporter")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter", None)
    with pytest.raises(ModuleNotFoundError) as error:
        Served(bundle="somewhere", traces="http://collector:4318/v1/traces").tracing()
    assert EXTRA_OF[str(error.value.name).split(".")[0]] == "traces"


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("collector:4318", "not a URL of HTTP"),
        ("ftp://collector/v1/traces", "not a URL of HTTP"),
        ("http://:4318/v1/traces", "not a URL of HTTP"),
        ("http://collector:x/v1/traces", "not a URL;"),
        ("http://collector:4318", "no path"),
        ("http://me:secret@collector:4318/v1/traces", "OTEL_EXPORTER_OTLP_HEADERS"),
    ],
)
def test_a_collector_that_cannot_be_meant_is_refused(url: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as error:
        Served(bundle="somewhere", traces=url).check()
    assert "secret" not in str(error.value)


def test_a_share_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="--traces URL"):
        Served(bundle="somewhere", trace_share=0.5).check()
