"""What was measured, beside its ceiling and its target, and how that is told."""

import platform
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec


@dataclass(frozen=True)
class Target:
    """The number to hold: of the value itself or, where it is a ratio, of value to ceiling."""

    limit: float
    at_least: bool
    ratio: bool = False

    def held(self, figure: "Figure") -> bool:
        """Say whether a figure holds it."""
        measured = figure.ratio if self.ratio else figure.value
        if measured is None:
            return False
        return measured >= self.limit if self.at_least else measured <= self.limit


class Figure(msgspec.Struct, frozen=True):
    """One measured number. `ceiling` has the same unit and was measured in the same run."""

    name: str
    value: float
    unit: str
    target: Target | None = None
    ceiling: float | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """The value as a part, or a multiple, of its ceiling."""
        return None if self.ceiling is None else self.value / self.ceiling


_COLUMNS = ("", "measured", "ceiling", "ratio", "target", "", "note")


def table(figures: Sequence[Figure]) -> str:
    """Return the figures as a Markdown table."""
    rows = [_COLUMNS, *(_cells(figure) for figure in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    rows.insert(1, tuple("-" * width for width in widths))
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    )


def as_json(figures: Sequence[Figure]) -> str:
    """Return the figures and the machine as JSON."""
    told = [
        {**msgspec.structs.asdict(figure), "ratio": figure.ratio, "held": _held(figure)} for figure in figures
    ]
    return msgspec.json.format(msgspec.json.encode({"machine": machine(), "figures": told})).decode()


def machine() -> str:
    """Say in one line what was measured on."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    model = f"{len(models)} x {models[0]}" if models else platform.processor()
    return f"{model}, Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}"


def _held(figure: Figure) -> bool | None:
    return None if figure.target is None else figure.target.held(figure)


def _cells(figure: Figure) -> tuple[str, ...]:
    unit = figure.unit
    ceiling = "" if figure.ceiling is None else f"{_number(figure.ceiling)} {unit}"
    ratio = "" if figure.ratio is None else _number(figure.ratio)
    verdict = {None: "", True: "held", False: "falls short"}[_held(figure)]
    return (
        figure.name,
        f"{_number(figure.value)} {unit}",
        ceiling,
        ratio,
        _words(figure.target, unit),
        verdict,
        figure.note,
    )


def _words(target: Target | None, unit: str) -> str:
    if target is None:
        return ""
    sign = "≥" if target.at_least else "≤"
    return f"{sign} {target.limit:g} {'x ceiling' if target.ratio else unit}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
