"""A collector of traces for tests: a real server on the loopback that takes OTLP over HTTP and decodes it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Collector(ThreadingHTTPServer):
    """Keeps what came; with `hold` set it takes calls and does not answer, with a `status` it refuses them."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/v1/traces"
        self.raw: list[bytes] = []
        self.paths: list[str] = []
        self.status = 200
        self.called, self.hold = threading.Event(), threading.Event()

    def resources(self) -> list[dict[str, Any]]:
        """Of whom the spans are, one of each."""
        found = (values(group.resource) for sent in self._sent() for group in sent.resource_spans)
        return list({str(sorted(one.items())): one for one in found}.values())

    def spans(self) -> list[Span]:
        """All spans, in order of arrival."""
        groups = [group for sent in self._sent() for group in sent.resource_spans]
        return [span for group in groups for scope in group.scope_spans for span in scope.spans]

    def _sent(self) -> list[ExportTraceServiceRequest]:
        return [ExportTraceServiceRequest.FromString(body) for body in self.raw]


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.called.set()
        if self.server.hold.is_set():
            threading.Event().wait(30)
            return
        if self.server.status == 200:
            self.server.paths.append(self.path)
            self.server.raw.append(body)
        self.send_response(self.server.status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector that takes spans until the block ends."""
    with Collector() as collector:
        threading.Thread(target=collector.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        try:
            yield collector
        finally:
            collector.shutdown()


def values(attributed: Any) -> dict[str, Any]:
    """The attributes of a span or a resource, by name."""
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributed.attributes}
