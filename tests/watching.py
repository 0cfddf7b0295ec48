"""What is deployed to watch a platform, as the tests read it: rules, dashboards, and the pages for them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import yaml

ROOT = Path(__file__).parents[1]
PROMETHEUS = ROOT / "deploy" / "prometheus"
DASHBOARDS = ROOT / "deploy" / "grafana" / "dashboards"
PAGES = ROOT / "docs" / "operations"

_STRINGS = re.compile(r'"(?:[^"\\]|\\.)*"')
_SELECTOR = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)\{([^}]*)\}")
_LABELS_OF = re.compile(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)")
_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*(?!\w|\s*\()")
_WORDS = {
    "and",
    "or",
    "unless",
    "bool",
    "offset",
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
}
_SPAN = re.compile(r"\[[^\]]*\]|\boffset\s+\w+|\b[\d.]+(?:[eE]\d+|[a-z]+)?\b")
_VARIABLES = {"$__rate_interval": "1m", "$__range": "5m", "$__interval": "15s"}


def rules() -> Iterator[dict[str, Any]]:
    """Return every rule, as it is written."""
    for path in sorted((PROMETHEUS / "rules").glob("*.yml")):
        for group in yaml.safe_load(path.read_text())["groups"]:
            yield from group["rules"]


def alerts() -> list[dict[str, Any]]:
    return [rule for rule in rules() if "alert" in rule]


def dashboards() -> dict[str, dict[str, Any]]:
    """Return the dashboards, by their files' names."""
    return {path.stem: msgspec.json.decode(path.read_bytes()) for path in sorted(DASHBOARDS.glob("*.json"))}


def panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the panels that show something: rows are headings."""
    return [panel for panel in dashboard["panels"] if panel["type"] not in {"row", "text"}]


@dataclass(frozen=True)
class Query:
    """What a panel asks, with the variables of its dashboard replaced: everything is chosen."""

    dashboard: str
    panel: str
    expression: str


def queries() -> Iterator[Query]:
    """Return every query of every panel of every dashboard."""
    for name, dashboard in dashboards().items():
        chosen = {f"${each['name']}": ".*" for each in dashboard["templating"]["list"]}
        for panel in panels(dashboard):
            for target in panel["targets"]:
                yield Query(name, panel["title"], _replaced(target["expr"], _VARIABLES | chosen))


def choices() -> Iterator[tuple[str, str]]:
    """Return what variables are chosen from: a selector of series, and the label whose values they are."""
    for dashboard in dashboards().values():
        for variable in dashboard["templating"]["list"]:
            if variable["type"] == "query":
                found = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"])
                assert found is not None, variable["query"]
                yield found[1].replace("$process", ".*"), found[2]


def _replaced(expression: str, values: dict[str, str]) -> str:
    for variable in sorted(values, key=len, reverse=True):
        expression = expression.replace(variable, values[variable])
    assert "$" not in expression, expression
    return expression


def names(expression: str) -> set[str]:
    """Return the metrics that an expression names."""
    bare = _STRINGS.sub("", expression)
    bare = re.sub(r"\{[^}]*\}", "", bare)
    bare = _SPAN.sub("", _LABELS_OF.sub("", bare))
    return set(_NAME.findall(bare)) - _WORDS


def selected(expression: str) -> Iterator[tuple[str, set[str]]]:
    """Return the metrics that an expression selects by labels, each with the labels' names."""
    for name, matchers in _SELECTOR.findall(_STRINGS.sub('""', expression)):
        yield name, set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers))
