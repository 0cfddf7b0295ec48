"""Spans of calls between processes, and what tells the other side of them."""

from mercato.kernel.tracing import Span, SpanKind, current, span
from mercato.web.http import Header


def calling(service: str, method: str, template: str = "") -> Span:
    """Begin the span of one attempt to call a service, for a `with`."""
    call = span(f"{method} {template or service}", SpanKind.CLIENT)
    if call.recorded:
        call.set("http.request.method", method)
        call.set("peer.service", service)
        if template:
            call.set("url.template", template)
    return call


def answered_with(call: Span, status: int) -> None:
    """Tell how a call was answered. To the caller a refusal is a failure, as OpenTelemetry has it."""
    call.set("http.response.status_code", status)
    if status >= 400:
        call.fail(str(status))


def trace_headers() -> list[Header]:
    """Return what tells a service, asked now, where in a trace it is."""
    here = current()
    if here is None:
        return []
    headers = [("traceparent", here.traceparent)]
    return [*headers, ("tracestate", here.state)] if here.state else headers
