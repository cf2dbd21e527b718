"""Traces: what a collector of OpenTelemetry is told of some requests and of their stages, and nothing about whom.

A request's spans are made when it has been answered, of the times that its metrics take anyway, and sent by a thread.
Nobody waits for the collector: what it does not take in time is dropped and counted.
"""

import logging
import random
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import version
from threading import Thread
from time import time_ns

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import SpanKind, Status, StatusCode, Tracer, get_current_span, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from serving.metrics import STAGED, Staged, spans
from serving.problem import header

SHARE = 0.01
"""Of the requests about which their caller has not decided, the share that is traced unless told otherwise."""
QUEUE = 2048
"""Spans that wait to be sent, at most; a span is about a kilobyte."""
BATCH = 512
"""Spans sent at once, at most."""
EVERY = 2.0
"""Seconds after which fewer are sent, too."""
FLUSH = 5.0
"""Seconds that a stopping worker gives the collector to take the last ones."""
MOST = 32
"""Stages of one request that become spans; an answer about a hundred customers has hundreds."""

logger = logging.getLogger("recsys")
_PARENT = TraceContextTextMapPropagator()


class Traces:
    """Decides which requests of a worker are traced, and sends their spans."""

    def __init__(self, url: str, share: float, draw: Callable[[], float] = random.random) -> None:
        """`url` is where the collector takes spans by OTLP over HTTP, `share` that of requests nobody decided about.

        The exporter's other settings (headers, certificates, compression) are OpenTelemetry's environment variables.
        """
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # it would write a line for each attempt
        self._share, self._draw = share, draw
        self._queue = _Queue(_Exporter(OTLPSpanExporter(endpoint=url)))
        ours = Resource.create({"service.name": "recsys", "service.version": version("recsys")})
        resource = ours.merge(OTELResourceDetector().detect())  # what the environment says counts more
        self._provider = TracerProvider(ALWAYS_ON, resource, shutdown_on_exit=False)
        self._provider.add_span_processor(self._queue)
        self._tracer = self._provider.get_tracer("recsys")

    def begin(self, headers: Iterable[tuple[bytes, bytes]], started: float) -> "Trace | None":
        """The trace of a request that began at `started` (`perf_counter`); None if it is not to be traced.

        A caller who traces says in `traceparent` (W3C Trace Context) whether this request is, and under what.
        """
        said = header(headers, b"traceparent")
        if said is None:
            return Trace(self._tracer, Context(), started) if self._draw() < self._share else None
        context = _PARENT.extract({"traceparent": said})
        caller = get_current_span(context).get_span_context()
        sampled = caller.trace_flags.sampled if caller.is_valid else self._draw() < self._share
        return Trace(self._tracer, context, started) if sampled else None

    def close(self) -> None:
        """Send what waits, for `FLUSH` seconds at most."""
        sending = Thread(target=self._provider.shutdown, name="last spans", daemon=True)
        sending.start()
        sending.join(FLUSH)
        self._queue.give_up()


class Trace:
    """One request that is traced; from its creation on its stages are noted, in whatever thread they are."""

    def __init__(self, tracer: Tracer, context: Context, started: float) -> None:
        self._tracer, self._context, self._started = tracer, context, started
        self._zero = time_ns() - int(started * 1e9)
        self._staged: list[Staged] = []
        STAGED.set(self._staged)

    def end(self, method: str, route: str, request_id: str, bundle_id: str | None, status: int, ended: float) -> None:
        """Hand over its spans; names and values are those of OpenTelemetry's semantic conventions for HTTP."""
        attributes: dict[str, str | int] = {
            "http.request.method": method,
            "http.route": route,
            "http.response.status_code": status,
        }
        attributes |= {"recsys.request_id": request_id}
        if bundle_id is not None:
            attributes["recsys.bundle_id"] = bundle_id
        if status >= 500:
            attributes["error.type"] = str(status)
        if len(self._staged) > MOST:
            attributes["recsys.stages_left_out"] = len(self._staged) - MOST
        start = self._at(self._started)
        span = self._tracer.start_span(
            f"{method} {route}", self._context, SpanKind.SERVER, attributes, start_time=start
        )
        inside = set_span_in_context(span, Context())
        for name, began, over in self._staged[:MOST]:
            self._tracer.start_span(name, inside, start_time=self._at(began)).end(self._at(over))
        if status >= 500:
            span.set_status(Status(StatusCode.ERROR))
        span.end(self._at(ended))

    def _at(self, seconds: float) -> int:
        """Nanoseconds of the calendar at a time of `perf_counter`."""
        return self._zero + int(seconds * 1e9)


class _Exporter(SpanExporter):
    """Sends to the collector, counts, and says once when it ceases to take spans, and once when it takes them again."""

    def __init__(self, to: SpanExporter) -> None:
        self._to = to
        self._takes = True
        self.taken = 0
        """Spans out of the queue."""
        self.ended = 0
        """Those of them that were sent or dropped."""

    def export(self, batch: Sequence[ReadableSpan]) -> SpanExportResult:
        """As OpenTelemetry has it, in its thread."""
        self.taken += len(batch)
        result = self._to.export(batch)
        self.ended += len(batch)
        takes = result is SpanExportResult.SUCCESS
        spans("sent" if takes else "refused", len(batch))
        if takes and not self._takes:
            logger.info("traces: the collector takes spans again")
        elif self._takes and not takes:
            logger.warning("traces: the collector takes no spans; they are dropped until it does")
        self._takes = takes
        return result

    def shutdown(self) -> None:
        """Nothing more comes."""
        self._to.shutdown()


class _Queue(SpanProcessor):
    """OpenTelemetry's queue and thread; a span for which there is no room is dropped and counted, which it does not.

    Spans come from the event loop alone.
    """

    def __init__(self, exporter: _Exporter) -> None:
        self._exporter, self._came = exporter, 0
        self._to = BatchSpanProcessor(exporter, QUEUE, 1000 * EVERY, BATCH)

    def on_end(self, span: ReadableSpan) -> None:
        """Let a span wait to be sent."""
        if self._came - self._exporter.taken >= QUEUE:
            spans("no_room", 1)
            return
        self._came += 1
        self._to.on_end(span)

    def shutdown(self) -> None:
        """Send what waits."""
        self._to.shutdown()

    def give_up(self) -> None:
        """Count what was not sent before the end."""
        if left := self._came - self._exporter.ended:
            spans("refused", left)
