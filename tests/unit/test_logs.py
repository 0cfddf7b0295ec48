"""What a line of the log tells, and what it does not."""

import ast
import logging
import re
import sys
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from mercato.kernel import tracing
from mercato.kernel.acting import acting
from mercato.kernel.passing import passing
from mercato.kernel.subject import concerning
from mercato.runtime import logs
from mercato.runtime.settings import Settings
from mercato.runtime.storms import FIRST, Storms

ROOT = Path(__file__).parents[2]
OURS = logging.getLogger("mercato.tests")
SECRET = "nobody-must-know-this-of-the-cluster"


class About(msgspec.Struct):
    """What a task is about."""

    names: dict[str, str | None]

    def named(self) -> dict[str, str | None]:
        return self.names


def fail(words: str) -> None:
    raise ValueError(words)


class Logged:
    """Logging as a process sets it up, into a text."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.stream = StringIO()
        self._monkeypatch = monkeypatch

    def set_up(self, log_format: Literal["json", "pretty"]) -> None:
        self.registry = CollectorRegistry()
        # Between a fixture and its test pytest takes it back.
        self._monkeypatch.setattr(sys, "stderr", self.stream)
        settings = Settings(
            log_format=log_format, cluster_secret=SECRET, broker_url="amqp://shop:rabbit%40night@broker/"
        )
        logs.set_up(settings, self.registry, "orders")

    @property
    def text(self) -> str:
        return self.stream.getvalue()

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [msgspec.json.decode(line) for line in self.text.splitlines()]


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> Iterator[Logged]:
    root, hook, raises = logging.getLogger(), sys.excepthook, logging.raiseExceptions
    handlers, level = root.handlers, root.level
    made = Logged(monkeypatch)
    made.set_up("json")
    yield made
    logs.tell_rest()
    root.handlers, sys.excepthook, logging.raiseExceptions = handlers, hook, raises
    root.setLevel(level)


def test_a_line_tells_what_the_task_is_about(logged: Logged) -> None:
    about = About({"request_id": "r-1", "tenant": "lamps", "user": None})
    place = tracing.current()
    tracing.enter(tracing.TraceContext("ab" * 16, "cd" * 8, sampled=False))
    with concerning(about):
        about.names["user"] = "u-1"
        OURS.warning("something is odd", extra={"service": "orders"})
    tracing.enter(place)
    with passing("r-2", None), acting("lamps"):  # type: ignore[arg-type]
        OURS.warning("something is odd")
    OURS.warning("something is odd")
    first, second, third = logged.lines
    assert (
        first.items()
        >= {
            "process": "orders",
            "level": "warning",
            "event": "something is odd",
            "logger": "mercato.tests",
            "request_id": "r-1",
            "tenant": "lamps",
            "user": "u-1",
            "trace_id": "ab" * 16,
            "service": "orders",
        }.items()
    )
    assert {name: second[name] for name in ("request_id", "tenant")} == {
        "request_id": "r-2",
        "tenant": "lamps",
    }
    assert not {"request_id", "tenant", "user", "trace_id"} & third.keys()


def test_a_terminal_is_told_the_same_of_what_is_wrong(logged: Logged) -> None:
    logged.set_up("pretty")
    with concerning(About({"request_id": "r-1"})):
        OURS.warning("something is odd", extra={"cause": "amqp://a:night@b"})
        OURS.info("all is well")
    odd, well = logged.text.splitlines()
    assert odd.endswith("warning something is odd request_id=r-1 cause=amqp://a:[hidden]@b")
    assert well.endswith("info all is well")


@pytest.mark.parametrize("log_format", ["json", "pretty"])
def test_secrets_are_hidden_wherever_they_come_from(
    logged: Logged, log_format: Literal["json", "pretty"]
) -> None:
    logged.set_up(log_format)
    theirs = logging.getLogger("library")
    theirs.warning("cannot reach %s with %s", "amqp://shop:night@broker", {"password": "night"})
    theirs.warning("Authorization: Bearer night")
    theirs.warning("handshake with rabbit@night failed")
    OURS.warning("refused", extra={"cause": f"the call signed by {SECRET} was refused", "token": "night"})
    OURS.warning("refused", extra={"cause": {"nested": ["4111111111111111"]}})
    try:
        fail(f"Login(password='night') by {SECRET} of ann@lamps.example")
    except ValueError:
        OURS.exception("failed")
    sys.excepthook(OSError, OSError("no way to redis://:night@cache"), None)
    text = logged.text
    assert not re.search(f"night|{SECRET}|4111|ann@", text), text
    assert text.count("[hidden]") == 11
    assert "Traceback" not in text


def test_a_storm_is_told_by_its_number_and_counted_whole(logged: Logged) -> None:
    for number in range(5_000):
        OURS.warning("database cannot be used", extra={"database": "orders", "cause": f"try {number}"})
    OURS.warning("database cannot be used", extra={"database": "users"})
    assert len(logged.lines) == FIRST + 1
    logs.tell_rest()
    last = logged.lines[-1]
    assert (last["repeated"], last["cause"]) == (5_000 - FIRST, "try 4999")
    counted = logged.registry.get_sample_value(
        "mercato_failures_total",
        {"level": "warning", "logger": "mercato.tests", "event": "database cannot be used"},
    )
    assert counted == 5_001


def test_a_storm_that_goes_on_is_a_line_now_and_then_until_it_is_over() -> None:
    now = 0.0
    told: list[Any] = []
    storms = Storms(told.append, every_s=1_000, clock=lambda: now)

    def log(kind: str = "") -> bool:
        return not storms.holds_back(logging.makeLogRecord({"msg": f"odd{kind}", "name": "n"}))

    assert [log() for _ in range(FIRST + 5)] == [True] * FIRST + [False] * 5
    for _ in range(3):
        storms.tell()
        assert [log() for _ in range(7)] == [False] * 7
        now += 1_000
    storms.tell()
    assert [each.repeated for each in told] == [5, 7, 7, 7]
    now += 1_000
    assert log()
    kept = [log(str(number)) for number in range(3_000)]
    assert sum(kept) < 1_100, "what is never the same is bounded, too"
    storms.tell()


def fields_told() -> Iterator[tuple[str, str]]:
    """Yield what is told with lines of the log: in which file, and by what name."""
    for path in (ROOT / "src").rglob("*.py"):
        module = ast.parse(path.read_text())
        named: dict[str, ast.AST] = {}
        for node in ast.walk(module):
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                named[node.targets[0].id] = node.value
            if isinstance(node, ast.FunctionDef):
                named[node.name] = node
        for node in ast.walk(module):
            if not isinstance(node, ast.Call) or getattr(node.func, "attr", "") == "Meta":
                continue
            for told in (each.value for each in node.keywords if each.arg == "extra"):
                parts = [told, *(named[name] for name in names_in(told) if name in named)]
                dicts = [each for part in parts for each in ast.walk(part) if isinstance(each, ast.Dict)]
                keys = [key for each in dicts for key in each.keys if isinstance(key, ast.Constant)]
                yield from ((path.name, str(key.value)) for key in keys)


def names_in(node: ast.AST) -> list[str]:
    return [each.id for each in ast.walk(node) if isinstance(each, ast.Name)]


def test_every_field_is_told_of_in_the_docs() -> None:
    documented = set(re.findall(r"`([a-z_]+)`", (ROOT / "docs" / "logs.md").read_text()))
    told = set(fields_told())
    assert len(told) > 50
    unknown = {(where, name) for where, name in told if name not in documented}
    assert unknown == set(), "tell of them in docs/logs.md"


def test_a_message_is_a_constant() -> None:
    """It is a label of a metric, and what is put into it would not be told by a name."""
    odd = [
        f"{path.name}:{node.lineno}"
        for path in (ROOT / "src").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "log"
        and node.func.attr in {"debug", "info", "warning", "error", "exception", "critical"}
        and not (len(node.args) == 1 and isinstance(node.args[0], ast.Constant | ast.Name))
    ]
    assert odd == []
