"""How the usual ways to start are read, and that all others are left to the command line's library."""

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mercato.cli import serving, starting
from mercato.cli.app import app

_COMMANDS = ["up", "serve", "orders", "users", "nothing", "--help", "--"]
_OPTIONS = ["--host", "::1", "--port", "8080", "-1", "x", "--data", "d", "--demo", "--port=1", "0x10", "٣"]
WORDS = st.sampled_from([*_COMMANDS, *_OPTIONS])


def calls(monkeypatch: pytest.MonkeyPatch, run: Any) -> list[Any]:
    """Return how serving was called when `run` ran."""
    found: list[Any] = []
    monkeypatch.setattr(serving, "serve_all", lambda **options: found.append(("up", options)))
    monkeypatch.setattr(serving, "serve_one", lambda service, **options: found.append((service, options)))
    try:
        run()
    except SystemExit as end:
        assert not end.code, end.code
    return found


@given(words=st.lists(WORDS, max_size=6))
def test_what_is_read_here_means_what_the_library_reads(words: list[str]) -> None:
    start = starting.usual(words)
    if start is None:
        return
    with pytest.MonkeyPatch.context() as patch:
        here = calls(patch, start)
    with pytest.MonkeyPatch.context() as patch:
        assert calls(patch, lambda: app(words)) == here


@pytest.mark.parametrize(
    "words",
    ["up", "up --demo", "up --port 1 --data d --host h", "serve orders", "serve payments --port 80 --data d"],
)
def test_the_usual_ways_are_known(words: str) -> None:
    assert starting.usual(words.split()) is not None


@pytest.mark.parametrize(
    "words", ["", "up --help", "up --prot 1", "up --port", "up x", "serve", "serve x", "demo"]
)
def test_help_mistakes_and_other_commands_are_left_alone(words: str) -> None:
    assert starting.usual(words.split()) is None


def test_starting_imports_no_command_line_library() -> None:
    code = "import mercato.__main__, mercato.cli.serving, sys; sys.exit('cyclopts' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
