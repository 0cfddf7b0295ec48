"""A span per request, named after its endpoint. It tells a method and a template, and no values."""

from mercato.kernel.tracing import Recorded, Span, SpanKind, TraceContext, Tracing, current, read_context
from mercato.web.endpoint import Endpoint
from mercato.web.http import Request

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_OTHER = "_OTHER"
"""What OpenTelemetry calls a method that anybody may have made up."""


def begin(tracing: Tracing, request: Request, *, trusted: bool, worth: bool) -> Span:
    """Begin a request's span: within where the task is, if it is part of another one, or where it comes from.

    Whoever is `trusted` has decided whether it is recorded.
    """
    here = current()
    if here is not None:
        return tracing.begin("HTTP", SpanKind.SERVER, here, trusted=True, worth=worth)
    parent: TraceContext | None = None
    given = request.headers.get("traceparent")
    if given is not None:
        parent = read_context(given, request.headers.get("tracestate"))
    return tracing.begin("HTTP", SpanKind.SERVER, parent, trusted=trusted, worth=worth)


def end(span: Recorded, request: Request, endpoint: Endpoint | None, status: int, code: str) -> None:
    """Tell what a request was and what became of it, and end its span."""
    method = request.method if request.method in _METHODS else _OTHER
    span.set("http.request.method", method)
    span.set("url.scheme", "https" if request.secure else "http")
    if endpoint is None:
        span.rename(method)
    else:
        span.rename(endpoint.route)
        span.set("http.route", endpoint.path)
    span.set("http.response.status_code", status)
    if status >= 500:
        span.fail(code or str(status))
    elif code:
        span.set("mercato.refused", code)
    span.end()
