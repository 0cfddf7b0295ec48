"""The picture of a trace, from the file that a process writes."""

from pathlib import Path
from xml.etree import ElementTree as ET

from mercato.adapters.tracing.local import File
from mercato.kernel.tracing import SpanKind, Tracing, span
from tests.spans import Kept
from tools.trace_picture import chosen, draw, read, rows


async def test_a_trace_is_drawn_as_its_spans_are_within_each_other(tmp_path: Path) -> None:
    kept = Kept()
    tracing = Tracing(kept, share=1.0)
    with tracing.begin("POST /orders", SpanKind.SERVER), span("first"), span("<inner> & more"):
        pass
    with tracing.begin("another trace", SpanKind.SERVER):
        pass
    file = File(tmp_path / "traces" / "orders.jsonl", {"service.name": "mercato-orders"}, "1.0")
    await file.export(kept.spans[:2])
    await file.export(kept.spans[2:])

    bars = chosen([*read(tmp_path / "traces")], "")

    assert [(depth, bar.name) for depth, bar in rows(bars)] == [
        (0, "POST /orders"),
        (1, "first"),
        (2, "<inner> & more"),
    ]
    assert {bar.service for bar in bars} == {"orders"}
    drawn = ET.fromstring(draw(bars))  # noqa: S314  our own picture
    texts = [each.text for each in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert "<inner> & more" in texts
    assert "another trace" not in texts
    other = chosen([*read(tmp_path / "traces")], kept.spans[-1].context.trace_id)
    assert [bar.name for bar in other] == ["another trace"]
