"""The command line teaches: every command says what it does, what it reads, and gives an example."""

import re
import sys
from pathlib import Path

import pytest

from tests.commands import environment, mercato, serving
from tests.every_command import ARGUMENTS, commands, groups, run_all
from tests.modes import DATA_FOLDER
from tests.running import free_port
from tests.terminal import Terminal

pytestmark = DATA_FOLDER

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"
WITHOUT_JSON = {"up", "serve", "openapi", "graphql-schema", "completion"}
PROGRAM = [sys.executable, "-m", "mercato"]


def test_each_command_has_an_example_and_names_the_variables_it_reads(tmp_path: Path) -> None:
    for line, ended in run_all([f"{each} --help" for each in commands()], folder=tmp_path).items():
        command = line.removesuffix(" --help")
        assert ended.code == 0, ended
        assert f"mercato {command}" in ended.out.partition("Usage:")[2].partition("\n\n")[2], ended.out
        for option in ("data", "host", "port"):
            if f"--{option} " in ended.out:
                assert f"MERCATO_{option.upper()}" in ended.out, ended.out
        assert ("--json" in ended.out) == (command not in WITHOUT_JSON), command


def test_help_is_one_page_with_groups_for_the_program_and_each_group(tmp_path: Path) -> None:
    for line, ended in run_all([f"{group} --help".strip() for group in groups()], folder=tmp_path).items():
        assert ended.code == 0
        assert "Examples:" in ended.out, line
    whole = mercato(folder=tmp_path).out
    assert whole == mercato("--help", folder=tmp_path).out
    titles = ["Run", "Data, stores and keys", "Look after it", "Know it", "Options"]
    found = [whole.index(f"─ {title} ─") for title in titles]
    assert found == sorted(found)


def test_the_page_of_the_command_line_names_every_command_there_is() -> None:
    told = re.findall(r"^### `mercato ((?:[a-z-]+ ?)+)", PAGE.read_text(), re.MULTILINE)
    assert sorted(each.partition(" --")[0].strip() for each in told) == sorted(commands())


def test_examples_of_the_page_are_written_as_the_program_reads_them(tmp_path: Path) -> None:
    lines = re.findall(r"^mercato ([^\n#]+)", PAGE.read_text(), re.MULTILINE)
    assert len(lines) > len(ARGUMENTS)
    for line in lines:
        words = re.sub(r"\s*[|<>].*", "", line).split()
        known = [each for each in commands() if words[: len(each.split())] == each.split()]
        assert known, line
    asked = [re.sub(r"\s*[|<>].*", "", line).strip() + " --help" for line in lines]
    assert all(ended.code == 0 for ended in run_all(asked, folder=tmp_path).values())


def test_nothing_is_coloured_that_no_terminal_shows(tmp_path: Path) -> None:
    with serving("up", folder=tmp_path) as server:
        lines = [f"{each} {ARGUMENTS[each]}" for each in commands() if each not in {"up", "serve", "demo"}]
        lines += ["--help", "upp", f"demo --url {server.url}"]
        for ended in run_all(lines, folder=tmp_path).values():
            assert "\x1b" not in ended.out + ended.err, ended


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_a_terminal_of_any_width_gets_whole_lines(columns: int, tmp_path: Path) -> None:
    assert mercato("migrate", "up", folder=tmp_path).code == 0
    for words in ("--help", "config", "doctor", "migrate status", "tenants list", "dlq list"):
        with Terminal(
            [*PROGRAM, *words.split()], folder=tmp_path, environ=environment({}), columns=columns
        ) as terminal:
            terminal.wait()
            lines = terminal.shown.splitlines()
        assert lines, words
        assert max(len(line) for line in lines) <= columns, (words, columns)


def test_no_color_is_heeded(tmp_path: Path) -> None:
    with Terminal([*PROGRAM, "doctor"], folder=tmp_path, environ=environment({})) as terminal:
        terminal.wait()
        assert b"\x1b[32m" in terminal.raw
    plain = environment({"NO_COLOR": "1"})
    with Terminal([*PROGRAM, "doctor"], folder=tmp_path, environ=plain) as terminal:
        terminal.wait()
        assert b"\x1b[32m" not in terminal.raw


def test_on_a_terminal_the_demo_shows_how_far_it_is_and_leaves_the_summary(tmp_path: Path) -> None:
    port = str(free_port())
    command = [*PROGRAM, "up", "--demo", "--port", port]
    with Terminal(command, folder=tmp_path, environ=environment({})) as terminal:
        terminal.wait_for("demo-shop: orders")
        shown = terminal.wait_for("Try:")
        assert " POST /api/v1/" not in shown
        terminal.press("\x03")
        assert terminal.wait() == 0
