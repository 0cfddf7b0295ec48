"""Export for development: to a file, as collectors can read it, and to the console, for people."""

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from mercato.adapters.tracing import otlp
from mercato.adapters.tracing.batches import NotExported
from mercato.kernel.tracing import Recorded, Value

MOST_BYTES = 32 * 1024 * 1024
"""Of one file; the one before it is kept too."""


class File:
    """Writes OTLP in JSON, one request a line. See batches.Exporter."""

    def __init__(self, path: Path, resource: Mapping[str, Value], version: str) -> None:
        """Append to a file, whose folder is made if need be."""
        self._path = path
        self._resource = resource
        self._version = version

    async def export(self, spans: Sequence[Recorded]) -> None:
        """Write a batch, in a thread."""
        line = otlp.to_json(otlp.document(self._resource, self._version, spans)) + b"\n"
        try:
            await asyncio.to_thread(self._append, line)
        except OSError as error:
            raise NotExported(f"{self._path} cannot be written: {error.strerror}", again=False) from None

    def _append(self, line: bytes) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self._path.exists() and self._path.stat().st_size + len(line) > MOST_BYTES:
            self._path.replace(self._path.with_suffix(".1.jsonl"))
        with self._path.open("ab") as file:
            file.write(line)

    async def close(self) -> None:
        """Nothing is held."""


class Console:
    """Writes a line for each span to standard error, those within another below it. See batches.Exporter."""

    async def export(self, spans: Sequence[Recorded]) -> None:
        """Write a batch at once."""
        os.write(sys.stderr.fileno(), "".join(_lines(spans)).encode("utf-8", "replace"))

    async def close(self) -> None:
        """Nothing is held."""


def _lines(spans: Sequence[Recorded]) -> list[str]:
    """Return the batch's spans, each after the one that it is within, as far as that is among them."""
    within: dict[str, list[Recorded]] = {}
    ids = {span.context.span_id for span in spans}
    for span in sorted(spans, key=lambda each: each.started_ns):
        within.setdefault(span.parent_id if span.parent_id in ids else "", []).append(span)
    lines: list[str] = []
    left = [(0, span) for span in reversed(within.get("", ()))]
    while left:
        depth, span = left.pop()
        lines.append(_line(span, depth))
        left += [(depth + 1, each) for each in reversed(within.get(span.context.span_id, ()))]
    return lines


def _line(span: Recorded, depth: int) -> str:
    at = datetime.fromtimestamp(span.started_ns / 1e9, UTC)
    failed = f" failed: {span.error_type}" if span.error_type else ""
    told = "".join(f" {key}={value}" for key, value in span.attributes.items())
    name = f"{'  ' * depth}{span.name} {span.duration_ns / 1e6:.2f} ms"
    return f"{at:%H:%M:%S.%f} {span.context.trace_id[:8]} {name}{failed}{told}\n"
