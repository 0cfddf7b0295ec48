"""Spans of events on their way to a bus: each in the trace that the event was made in."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import msgspec

from mercato.kernel.tracing import NOT_RECORDED, Span, SpanKind, Tracing, read_context
from mercato.messaging.bus import Message


class _Made(msgspec.Struct, frozen=True):
    """What of an event says where it was made."""

    id: str
    traceparent: str = ""
    tracestate: str = ""


_read = msgspec.json.Decoder(_Made).decode


Sending = Callable[[Sequence[Message]], AbstractContextManager[None]]
"""Is entered while events are on their way."""


def untold(_: Sequence[Message]) -> AbstractContextManager[None]:
    """Tell nothing of events on their way."""
    return nullcontext()


def told_by(traces: Tracing, system: str) -> Sending:
    """Tell of events on their way by a messaging system, each in the trace that it was made in."""

    @contextmanager
    def sending(messages: Sequence[Message]) -> Iterator[None]:
        spans = [_span(traces, system, each) for each in messages]
        try:
            yield
        except BaseException as error:
            for span in spans:
                span.fail(type(error).__name__)
            raise
        finally:
            for span in spans:
                span.end()

    return sending if traces.records else untold


def _span(traces: Tracing, system: str, message: Message) -> Span:
    try:
        made = _read(message.body)
    except msgspec.MsgspecError:
        # It is sent all the same: nothing may depend on what is told of it.
        return NOT_RECORDED
    parent = read_context(made.traceparent, made.tracestate)
    span = traces.part(f"send {message.type}", SpanKind.PRODUCER, parent)
    if span.recorded:
        span.set("messaging.system", system)
        span.set("messaging.operation.type", "send")
        span.set("messaging.destination.name", message.type)
        span.set("messaging.message.id", made.id)
    return span
