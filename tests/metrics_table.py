"""What docs/metrics.md says of each metric."""

import re
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "metrics.md"
_ROW = re.compile(r"^\| `(\w+)` \|(.*)\|$", re.MULTILINE)
_BY_ALL, _BY_SERVICES, _BY_GATEWAY = "all", "services", "gateway"
SERVICES = ("users", "products", "orders", "payments", "notifications")


@dataclass(frozen=True)
class Described:
    """One metric, by its whole name: that of a counter ends in `_total`."""

    name: str
    kind: str
    labels: frozenset[str]
    unit: str
    told_by: str
    meaning: str


def described() -> dict[str, Described]:
    """Return every metric that the page knows."""
    found: dict[str, Described] = {}
    for name, rest in _ROW.findall(PAGE.read_text()):
        kind, labels, unit, told_by, meaning = (part.strip() for part in rest.split(" |"))
        assert name not in found, f"{name} is in the tables twice"
        of = frozenset(re.findall(r"`(\w+)`", labels))
        found[name] = Described(name, kind, of, unit, told_by, meaning)
    return found


def told_by(process: str, *has: str) -> set[str]:
    """Return the names of what a process tells: `mercato` or one of separate ones.

    It `has` what only some have: `PostgreSQL`, `RabbitMQ`, `Redis`, `workers`.
    """
    told = {_BY_ALL, process, *(each for each in has if each in {"Redis", "workers"})}
    if process == "mercato":
        told |= {_BY_SERVICES, _BY_GATEWAY, *SERVICES}
    if process != _BY_GATEWAY:
        told |= {_BY_SERVICES, *(each for each in has if each in {"PostgreSQL", "RabbitMQ"})}
    return {each.name for each in described().values() if not told.isdisjoint(each.told_by.split(", "))}
