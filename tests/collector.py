"""A collector of traces: takes OTLP over HTTP, as OpenTelemetry's own definitions decode it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

PATH = "/v1/traces"


@dataclass(frozen=True)
class Told:
    """One span, as it came."""

    trace: str
    id: str
    parent: str
    name: str
    kind: int
    state: str
    service: str
    attributes: dict[str, Any]
    started: int
    ended: int
    failed: bool


@dataclass
class Collector:
    """What came, and how it answers."""

    url: str = ""
    status: int = 200
    slow: threading.Event | None = None
    """Answers wait for it."""
    spans: list[Told] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    requests: int = 0

    def take(self, headers: dict[str, str], body: bytes) -> int:
        """Take a request; return the status of the answer."""
        self.requests += 1
        if self.slow is not None:
            self.slow.wait(30)
        if self.status == 200:
            self.headers.append(headers)
            self.raw.append(body)
            self.spans += spans_in(body)
        return self.status

    def of(self, trace: str) -> list[Told]:
        """Return one trace's spans, in the order in which they began."""
        return sorted((each for each in self.spans if each.trace == trace), key=lambda each: each.started)


def spans_in(body: bytes) -> list[Told]:
    """Return the spans of a request."""
    request = ExportTraceServiceRequest()
    request.ParseFromString(body)
    found = []
    for process in request.resource_spans:
        service = {each.key: _value(each.value) for each in process.resource.attributes}["service.name"]
        for scope in process.scope_spans:
            found += [
                Told(
                    trace=span.trace_id.hex(),
                    id=span.span_id.hex(),
                    parent=span.parent_span_id.hex(),
                    name=span.name,
                    kind=span.kind,
                    state=span.trace_state,
                    service=str(service),
                    attributes={each.key: _value(each.value) for each in span.attributes},
                    started=span.start_time_unix_nano,
                    ended=span.end_time_unix_nano,
                    failed=span.status.code == span.status.STATUS_CODE_ERROR,
                )
                for span in scope.spans
            ]
    return found


def _value(value: AnyValue) -> object:
    kind = value.WhichOneof("value")
    assert kind is not None
    return getattr(value, kind)


@contextmanager
def collecting() -> Iterator[Collector]:
    """Run a collector on a free port."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            status = collector.take({name.lower(): value for name, value in self.headers.items()}, body)
            self.send_response(status if self.path == PATH else 404)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    collector.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
