"""Every command in every bad place: one helpful sentence, never a trace."""

import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.commands import Ended, mercato, serving
from tests.every_command import ARGUMENTS, commands, groups, run_all
from tests.modes import DATA_FOLDER

pytestmark = DATA_FOLDER

LINES = {command: f"{command} {words}".strip() for command, words in ARGUMENTS.items()}
ABOUT_NO_DATA = {"demo", "config", "openapi", "graphql-schema", "completion", "version"}
"""They do not look into the data folder."""
TELLS_BY_ITSELF = {"doctor", "migrate status"}
SERVES = {"up", "serve"}
WITH_DATA = set(LINES) - ABOUT_NO_DATA


def test_this_knows_every_command() -> None:
    assert set(ARGUMENTS) == set(commands())


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder as a platform leaves it."""
    folder = tmp_path_factory.mktemp("sound")
    with serving("up", folder=folder):
        pass
    return folder / "mercato-data"


@pytest.fixture
def data(sound: Path, tmp_path: Path) -> Path:
    """A copy of one, to break."""
    return Path(shutil.copytree(sound, tmp_path / "mercato-data"))


def assert_a_sentence(line: str, ended: Ended) -> None:
    """Assert that a command was refused in one sentence for people."""
    assert "Traceback" not in ended.out + ended.err, (line, ended)
    assert ended.code in {1, 2}, (line, ended)
    told = [each for each in ended.err.splitlines() if not each.startswith('{"')]
    assert len(told) == 1, (line, ended)
    assert told[0].startswith("mercato: "), (line, ended)
    assert len(told[0].split()) > 4, (line, ended)


def test_misspelt_options_and_commands_are_told_what_was_meant(tmp_path: Path) -> None:
    lines = [f"{line} --jsn" for line in LINES.values()]
    lines += [f"{group} nonsense" for group in groups()]
    for line, ended in run_all(lines, folder=tmp_path).items():
        assert_a_sentence(line, ended)
        assert ended.code == 2
        assert "nknown" in ended.err, (line, ended)
    assert 'Did you mean "tenants"?' in mercato("tenant", "list", folder=tmp_path).refusal
    assert "Did you mean --port?" in mercato("up", "--prot", "1", folder=tmp_path).refusal


@pytest.mark.parametrize(
    "name, value", [("MERCATO_HOLD", "soon"), ("MERCATO_PROT", "1"), ("MERCATO_DATA", "")]
)
def test_a_wrong_setting_stops_every_command_that_reads_settings(
    name: str, value: str, tmp_path: Path
) -> None:
    reading = WITH_DATA - {"doctor"} | {"config"}
    told = run_all([LINES[each] for each in reading], folder=tmp_path, variables={name: value})
    for line, ended in told.items():
        assert_a_sentence(line, ended)
        assert name in ended.err, (line, ended)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_named_and_not_made(tmp_path: Path) -> None:
    making = SERVES | {"migrate up", "import"} | TELLS_BY_ITSELF
    for line, ended in run_all([LINES[each] for each in WITH_DATA - making], folder=tmp_path).items():
        assert_a_sentence(line, ended)
        assert str(tmp_path / "mercato-data") in ended.err, (line, ended)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "mercato-data").write_text("I am a file.")
    told = run_all([LINES[each] for each in WITH_DATA - TELLS_BY_ITSELF], folder=tmp_path)
    for line, ended in told.items():
        assert_a_sentence(line, ended)
        assert "mercato-data" in ended.err, (line, ended)


def not_a_database(path: Path) -> None:
    path.write_bytes(b"These are notes, and no database, though there are enough of them. " * 200)


def cut_off(path: Path) -> None:
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.truncate(size // 3)


def overwritten(path: Path) -> None:
    """Spoil all pages but the first."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * (size - 4096))


def from_the_future(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = 'orders_9999'")


BREAKS: list[Callable[[Path], None]] = [not_a_database, cut_off, overwritten, from_the_future]


@pytest.mark.parametrize("broken", BREAKS)
def test_a_broken_database_is_a_sentence_for_every_command_that_meets_it(
    broken: Callable[[Path], None], data: Path
) -> None:
    broken(data / "orders.db")
    lines = [LINES[each] for each in WITH_DATA - SERVES - TELLS_BY_ITSELF]
    for line, ended in run_all(lines, folder=data.parent).items():
        if ended.code != 0:
            assert_a_sentence(line, ended)
    # Those that read it must not pretend that nothing is wrong.
    for words in ("up", "reconcile", "migrate up", "serve orders"):
        assert_a_sentence(words, mercato(*words.split(), folder=data.parent))
    found = mercato("doctor", folder=data.parent)
    assert found.code == 1
    assert "Traceback" not in found.out + found.err
    assert "problem" in found.out


@pytest.fixture
def public(sound: Path) -> Iterator[Path]:
    """A folder that other users reach, with a data folder that they may read and not write."""
    folder = Path(tempfile.mkdtemp(prefix="mercato-public-"))
    folder.chmod(0o777)
    there = Path(shutil.copytree(sound, folder / "mercato-data"))
    for each in [there, *there.rglob("*")]:
        each.chmod(0o555 if each.is_dir() else 0o444)
    yield folder
    for each in [there, *there.rglob("*")]:
        each.chmod(0o755)
    shutil.rmtree(folder)


@pytest.mark.parametrize("may_read", [True, False])
def test_without_rights_to_the_data_every_command_says_so(may_read: bool, public: Path) -> None:  # noqa: FBT001  a parameter
    if not may_read:
        (public / "mercato-data").chmod(0o000 if os.geteuid() else 0o700)
    told = run_all([LINES[each] for each in WITH_DATA - {"doctor"}], folder=public, as_nobody=True)
    for line, ended in told.items():
        if ended.code != 0:
            assert_a_sentence(line, ended)
    for each in (*SERVES, "tenants create-operator", "migrate down", "keys rotate"):
        assert told[LINES[each]].code != 0, told[LINES[each]]
    doctor = run_all(["doctor"], folder=public, as_nobody=True)["doctor"]
    assert (doctor.code, "Traceback" in doctor.out + doctor.err) == (1, False), doctor
    assert "mercato-data cannot be written to by user" in doctor.out


def test_a_folder_in_use_is_no_hindrance_but_to_those_that_need_it_alone(data: Path) -> None:
    with serving("up", folder=data.parent):
        lines = [LINES[each] for each in WITH_DATA - {"keys rotate"}]
        told = run_all(lines, folder=data.parent)
    for line, ended in told.items():
        if ended.code != 0:
            assert_a_sentence(line, ended)
    alone = {"up", "serve", "migrate up", "migrate down", "tenants purge"}
    assert {each for each in alone if "Another Mercato is serving" in told[LINES[each]].err} == alone


def test_a_port_in_use_is_named_by_whoever_needs_it(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for words in ("up", "serve orders"):
            ended = mercato(*words.split(), "--port", str(port), folder=tmp_path)
            assert_a_sentence(words, ended)
            assert f"127.0.0.1:{port} is in use" in ended.err
    for port_text in ("0", "70000", "eighty", "-1"):
        ended = mercato("up", "--port", port_text, folder=tmp_path)
        assert_a_sentence(port_text, ended)
        assert "port" in ended.err.lower()


def test_whoever_reads_may_stop_reading(tmp_path: Path) -> None:
    for line in ("config --json", "openapi", "completion bash", "--help"):
        piped = f"set -o pipefail; {sys.executable} -m mercato {line} | head -c 1 >/dev/null"
        ended = subprocess.run(
            ["bash", "-c", piped], capture_output=True, text=True, cwd=tmp_path, check=False
        )
        assert ended.stderr == "", line
