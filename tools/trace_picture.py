"""Draw a trace as a picture, from the files that `MERCATO_TRACES=file` writes.

`python -m tools.trace_picture --data DIR [--trace ID] [--output FILE]` draws the longest trace of a data
folder, or the one of that id. `make trace-picture` buys something from a process per service first, and draws
that for the documentation.
"""

import argparse
import asyncio
import secrets
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import msgspec

_ROW, _LEFT, _WIDTH, _TOP, _MARGIN = 17, 360, 1180, 58, 12
_COLOURS = ("#3b6fb6", "#c2641b", "#3f8f4f", "#8a4fb0", "#b23a48", "#5d6d7e", "#a07d00")
_STEPS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 60_000)
"""Milliseconds between two lines of the scale."""
_MOST_LINES = 12
PARENT = "00f067aa0ba902b7"


@dataclass(frozen=True)
class Bar:
    """One span, as it is drawn."""

    trace: str
    id: str
    parent: str
    name: str
    service: str
    started: int
    ended: int
    failed: bool


def read(folder: Path) -> Iterator[Bar]:
    """Return every span that the files of a folder hold."""
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_bytes().splitlines():
            for process in msgspec.json.decode(line)["resourceSpans"]:
                service = _service(process["resource"]["attributes"])
                for scope in process["scopeSpans"]:
                    yield from (_bar(span, service) for span in scope["spans"])


def _service(attributes: list[dict[str, Any]]) -> str:
    (name,) = (each["value"]["stringValue"] for each in attributes if each["key"] == "service.name")
    return str(name).removeprefix("mercato-")


def _bar(span: dict[str, Any], service: str) -> Bar:
    return Bar(
        trace=span["traceId"],
        id=span["spanId"],
        parent=span.get("parentSpanId", ""),
        name=span["name"],
        service=service,
        started=int(span["startTimeUnixNano"]),
        ended=int(span["endTimeUnixNano"]),
        failed="status" in span,
    )


def rows(bars: Iterable[Bar]) -> list[tuple[int, Bar]]:
    """Return spans as they are within each other, with how deep, each level by its beginning."""
    told = sorted(bars, key=lambda each: each.started)
    ids = {each.id for each in told}
    within: dict[str, list[Bar]] = {}
    for each in told:
        within.setdefault(each.parent if each.parent in ids else "", []).append(each)
    found: list[tuple[int, Bar]] = []
    left = [(0, each) for each in reversed(within.get("", []))]
    while left:
        depth, bar = left.pop()
        found.append((depth, bar))
        left += [(depth + 1, each) for each in reversed(within.get(bar.id, []))]
    return found


def draw(bars: list[Bar]) -> str:
    """Return a trace as an SVG."""
    lines = rows(bars)
    began, ended = min(each.started for each in bars), max(each.ended for each in bars)
    per_ns = (_WIDTH - _LEFT - 90) / max(ended - began, 1)
    services = list(dict.fromkeys(bar.service for _, bar in lines))
    colour = {each: _COLOURS[number % len(_COLOURS)] for number, each in enumerate(services)}
    height = _TOP + _ROW * len(lines) + _MARGIN
    drawn = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}"'
            ' font-family="system-ui, sans-serif" font-size="11">'
        ),
        f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>',
        *_legend(services, colour),
        *_scale((ended - began) / 1e6, per_ns * 1e6, height),
    ]
    for number, (depth, bar) in enumerate(lines):
        y = _TOP + _ROW * number
        if number % 2:
            drawn.append(f'<rect y="{y}" width="{_WIDTH}" height="{_ROW}" fill="#000" opacity="0.03"/>')
        x = _LEFT + (bar.started - began) * per_ns
        width = max((bar.ended - bar.started) * per_ns, 1.5)
        fill = "#d00000" if bar.failed else colour[bar.service]
        ms = (bar.ended - bar.started) / 1e6
        drawn += [
            f'<text x="{_MARGIN + 12 * depth}" y="{y + 12.5}" fill="#222">{escape(bar.name)}</text>',
            (
                f'<rect x="{x:.1f}" y="{y + 3}" width="{width:.1f}" height="{_ROW - 6}" rx="2" fill="{fill}">'
                f"<title>{escape(f'{bar.name}: {bar.service}, {ms:.2f} ms')}</title></rect>"
            ),
            f'<text x="{x + width + 4:.1f}" y="{y + 12.5}" fill="#666">{ms:.1f} ms</text>',
        ]
    return "\n".join([*drawn, "</svg>", ""])


def _legend(services: list[str], colour: dict[str, str]) -> Iterator[str]:
    for number, service in enumerate(services):
        x = _MARGIN + 130 * number
        yield f'<rect x="{x}" y="12" width="12" height="12" rx="2" fill="{colour[service]}"/>'
        yield f'<text x="{x + 18}" y="22" fill="#222">{escape(service)}</text>'


def _scale(total_ms: float, per_ms: float, height: int) -> Iterator[str]:
    step = next((each for each in _STEPS if total_ms / each <= _MOST_LINES), _STEPS[-1])
    for number in range(int(total_ms / step) + 1):
        x = _LEFT + number * step * per_ms
        yield f'<line x1="{x:.1f}" y1="{_TOP - 8}" x2="{x:.1f}" y2="{height - _MARGIN}" stroke="#ddd"/>'
        yield f'<text x="{x:.1f}" y="{_TOP - 12}" fill="#666">{number * step} ms</text>'


def chosen(bars: list[Bar], trace: str) -> list[Bar]:
    """Return the spans of one trace; of the one with the most spans, where none is named."""
    by_trace: dict[str, list[Bar]] = {}
    for each in bars:
        by_trace.setdefault(each.trace, []).append(each)
    return by_trace.get(trace, []) if trace else max(by_trace.values(), key=len, default=[])


def buy(data: Path) -> str:
    """Buy something from a process per service, on servers that the tests start; return the trace's id."""
    from tests import rabbitmq_server  # noqa: PLC0415  a picture of what is there needs no servers
    from tests.running import add_product, open_store, order_of  # noqa: PLC0415
    from tests.system.test_split import split  # noqa: PLC0415

    trace = secrets.token_hex(16)
    told = {"traceparent": f"00-{trace}-{PARENT}-00"}
    settings = {"MERCATO_TRACES": "file", "MERCATO_TRACES_SAMPLE": "1"}

    async def shop() -> None:
        store = await open_store(running, "shop")
        async with running.client(store.customer, "shop") as shopper:
            product = await add_product(shopper, store, "MUG", stock=3)
            # What is asked for the first time is asked of every process anew.
            await shopper.post("/api/v1/orders", order_of(product))
            order = (await shopper.post("/api/v1/orders", order_of(product), headers=told)).data["id"]
            wanted = {"order_id": order, "method": "card"}
            payment = (await shopper.post("/api/v1/payments", wanted, headers=told)).data["id"]
            await shopper.post(f"/api/v1/payments/{payment}/process", headers=told)
            await shopper.until(f"/api/v1/orders/{order}", "status", "confirmed")
            # The mail is sent a moment later.
            await asyncio.sleep(2)

    with split(data, **settings, MERCATO_BROKER_URL=rabbitmq_server.shared().new_url()) as running:
        asyncio.run(shop())
    return trace


def main() -> int:
    """Draw what is asked for."""
    parser = argparse.ArgumentParser(prog="python -m tools.trace_picture", description=__doc__)
    parser.add_argument("--data", type=Path, help="data folder; without one, something is bought first")
    parser.add_argument("--trace", default="", help="id of the trace; otherwise the one with the most spans")
    parser.add_argument("--output", type=Path, help="file; otherwise it is printed")
    parser.add_argument("--all", action="store_true", help="draw single reads of databases, too")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mercato-trace-") as made:
        data, trace = asked.data, asked.trace
        if data is None:
            trace, data = buy(Path(made)), Path(made) / "data"
        found = chosen([*read(data / "traces")], trace)
    drawn = [each for each in found if asked.all or not each.name.startswith("SELECT")]
    if not drawn:
        print(
            f"There is no such trace in {data / 'traces'}; MERCATO_TRACES=file writes them.", file=sys.stderr
        )
        return 1
    if asked.output is None:
        print(draw(drawn))
    else:
        asked.output.write_text(draw(drawn), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
