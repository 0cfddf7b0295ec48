"""Completing commands and options, in the shells themselves."""

import shutil
import sys
from pathlib import Path

import pytest

from tests.commands import environment, mercato
from tests.modes import DATA_FOLDER
from tests.terminal import Terminal

pytestmark = DATA_FOLDER

SHELLS = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], "source mercato.bash"),
    "zsh": (["zsh", "-f", "-i"], "fpath=($PWD $fpath); autoload -U compinit; compinit -u -D"),
    "zsh, sourced": (
        ["zsh", "-f", "-i"],
        "autoload -U compinit; compinit -u -D; source mercato.zsh",
    ),
    "fish": (["fish", "--no-config", "-i"], "source mercato.fish"),
}
FILES = {
    "bash": "mercato.bash",
    "zsh": "_mercato",
    "zsh, sourced": "mercato.zsh",
    "fish": "mercato.fish",
}


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if shutil.which(name.partition(",")[0]) is None:
        pytest.skip(f"{name} is not installed")
    return name


def test_words_are_completed_as_they_are_typed(shell: str, tmp_path: Path) -> None:
    (tmp_path / FILES[shell]).write_text(mercato("completion", shell.partition(",")[0], folder=tmp_path).out)
    command, load = SHELLS[shell]
    variables = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": str(tmp_path), "PS1": "> "}
    with Terminal(command, folder=tmp_path, environ=environment(variables)) as terminal:
        terminal.press(f"{load}\r")
        terminal.press("echo rea''dy\r")
        terminal.wait_for("ready")
        for typed, completed in (
            ("mercato ten\t", "mercato tenants"),
            ("mercato tenants set\t", "mercato tenants set-tier"),
            ("mercato dlq rep\t", "mercato dlq replay"),
            ("mercato up --rel\t", "mercato up --reload"),
            ("mercato serve pay\t", "mercato serve payments"),
        ):
            terminal.press(typed)
            terminal.wait_for(completed)
            terminal.press("\x15")


def test_a_script_is_whole_and_for_shells_that_are_known(tmp_path: Path) -> None:
    for name in ("bash", "zsh", "fish"):
        out = mercato("completion", name, folder=tmp_path).out
        assert "set-tier" in out
        assert str(Path.home()) not in out
    assert '"bash", "zsh", "fish"' in mercato("completion", "tcsh", folder=tmp_path).refusal
