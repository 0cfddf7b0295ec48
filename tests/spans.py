"""Recorded spans, kept where tests can see them."""

from dataclasses import dataclass, field

from mercato.kernel.tracing import Recorded, SpanKind, TraceContext


@dataclass
class Kept:
    """Keeps spans. See kernel.tracing.Recorder."""

    spans: list[Recorded] = field(default_factory=list)

    def record(self, span: Recorded) -> None:
        self.spans.append(span)


def some_spans(count: int) -> list[Recorded]:
    """Return spans that have ended."""
    kept = Kept()
    for number in range(count):
        context = TraceContext(f"{number + 1:032x}", f"{number + 1:016x}", sampled=True, recorder=kept)
        span = Recorded(f"span {number}", SpanKind.CLIENT, parent=None, context=context)
        span.set("number", number)
        span.end()
    return kept.spans
