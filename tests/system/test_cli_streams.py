"""Standard input and output that are closed, full, or of few letters; and places that are no files."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands import Ended, environment, mercato, serving
from tests.modes import DATA_FOLDER

pytestmark = DATA_FOLDER

COMMANDS = (
    "version",
    "config",
    "tenants list",
    "reconcile --json",
    "completion bash",
    "export --out new.gz",
    "tenants create-operator --email new@example.com",
    "dlq drop --all",
    "nonsense",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a platform has run."""
    made = tmp_path_factory.mktemp("streams")
    with serving("up", folder=made):
        pass
    return made


def redirected(line: str, redirection: str, folder: Path, **variables: str) -> Ended:
    """Run a command as a shell does that redirects its files."""
    ended = subprocess.run(
        ["sh", "-c", f'exec "$@" {redirection}', "sh", sys.executable, "-m", "mercato", *line.split()],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        cwd=folder,
        env=environment(variables),
        timeout=60,
        check=False,
    )
    return Ended(ended.returncode, ended.stdout.decode(), ended.stderr.decode())


@pytest.mark.parametrize("line", COMMANDS)
def test_closed_files_change_nothing(line: str, folder: Path) -> None:
    plain = redirected(line, "", folder)
    for redirection in ("<&-", ">&-", "2>&-", "<&- >&- 2>&-"):
        ended = redirected(line, redirection, folder)
        assert "Traceback" not in ended.err, (redirection, ended)
        assert ended.code == plain.code, (redirection, ended)
        if "2>&-" in redirection:
            assert "mercato: " not in ended.out, (redirection, ended)


@pytest.mark.parametrize("line", COMMANDS)
def test_a_full_disk_behind_the_output_is_said_in_a_sentence(line: str, folder: Path) -> None:
    plain, ended = redirected(line, "", folder), redirected(line, ">/dev/full", folder)
    if plain.out:
        assert ended.refusal == "A file, or the output, cannot be used: No space left on device."
    else:
        assert (ended.code, ended.err) == (plain.code, plain.err)


def test_what_is_no_text_is_refused_or_shown_as_it_can_be(folder: Path) -> None:
    odd = os.fsdecode(b"a\xff")
    assert mercato("dlq", "replay", odd, folder=folder).refusal.startswith("Something on the command line")
    exported = mercato("export", "--out", odd, folder=folder)
    assert exported.code == 0, exported
    assert exported.out.startswith("a\\udcff: ")
    assert mercato("doctor", folder=folder, PYTHONIOENCODING="ascii").code == 0


def test_an_export_takes_no_devices_place(folder: Path) -> None:
    pipe = folder / "pipe"
    os.mkfifo(pipe)
    for words in (["export"], ["export", "--tenant", "default"]):
        ended = mercato(*words, "--out", str(pipe), folder=folder)
        assert ended.refusal == f"{pipe} is no regular file; --out names a file."
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_databases_are_their_owners_alone_in_whosevers_folder(tmp_path: Path) -> None:
    data = tmp_path / "mercato-data"
    data.mkdir()
    data.chmod(0o755)
    with serving("up", folder=tmp_path):
        files = [each for each in data.iterdir() if each.is_file()]
        assert len([each for each in files if each.suffix == ".db"]) == 6
        assert [each.name for each in files if each.stat().st_mode & 0o077] == []
