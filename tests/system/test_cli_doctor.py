"""`mercato doctor` finds what is wrong, says what to do, and changes nothing."""

import hashlib
import os
import shutil
import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.buried import dead_letter
from tests.commands import Ended, mercato, serving, wait_until
from tests.modes import DATA_FOLDER
from tests.running import free_port

pytestmark = DATA_FOLDER


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder as a platform leaves it."""
    folder = tmp_path_factory.mktemp("sound")
    with serving("up", folder=folder) as server:
        assert server.ask("GET", "/.well-known/jwks.json")[0] == 200
    return folder / "mercato-data"


@pytest.fixture
def folder(sound: Path, tmp_path: Path) -> Path:
    """A working directory with a copy of it."""
    shutil.copytree(sound, tmp_path / "mercato-data")
    return tmp_path


ORDINARY_TABLES = "SELECT name FROM sqlite_master WHERE type = 'table' AND sql NOT LIKE '%VIRTUAL%'"


def doctor(folder: Path, *words: str, **variables: str) -> Ended:
    return mercato("doctor", *(words or ("--port", str(free_port()))), folder=folder, **variables)


def findings(folder: Path, *words: str) -> dict[str, Any]:
    """Return what was found, by check; a check's last finding if it has several."""
    port = ("--port", str(free_port()))
    ended = doctor(folder, "--json", *(words or port))
    report = read(ended)
    assert report["ok"] is (ended.code == 0)
    return {each["check"]: each for each in report["findings"]}


def read(ended: Ended) -> Any:
    assert ended.code in {0, 1}, ended
    return msgspec.json.decode(ended.out)


def state(folder: Path, check: str, *words: str) -> tuple[str, str, str]:
    found = findings(folder, *words)[check]
    return found["state"], found["told"], found["next"] or ""


def test_where_nothing_is_yet_it_says_how_to_begin(tmp_path: Path) -> None:
    ended = doctor(tmp_path)

    assert ended.code == 0
    assert f"there is nothing in {tmp_path / 'mercato-data'} yet  → mercato up\n" in ended.out
    assert ended.out.endswith("\nNo problems, no warnings.\n")
    assert list(tmp_path.iterdir()) == []


def test_a_sound_folder_is_found_so_and_left_as_it_is(folder: Path) -> None:
    before = contents(folder)
    found = findings(folder)

    assert {each["state"] for each in found.values()} == {"ok"}, found
    for name in ("users", "products", "orders", "payments"):
        assert found[f"{name}.db"]["told"].startswith("sound, ")
        assert found[f"{name} events"]["told"] == "none is stuck, parked or dead"
    assert "1 signing" in found["keys"]["told"]
    assert found["books"]["told"] == "0 orders and 0 payments balance"
    assert contents(folder) == before


def contents(folder: Path) -> dict[str, str]:
    """Return a digest of each file, of databases what they say."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix == ".db":
            with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
                tables = connection.execute(ORDINARY_TABLES)
                names = sorted(name for (name,) in tables if name != "sqlite_sequence" and " " not in name)
                rows = [connection.execute(f"SELECT * FROM {name}").fetchall() for name in names]
                content = repr(rows).encode()
        elif path.is_dir() or path.name.endswith(("-wal", "-shm")):
            continue
        else:
            content = path.read_bytes()
        found[path.name] = hashlib.sha256(content).hexdigest()
    return found


def test_a_running_platform_is_recognised_at_its_address_and_by_its_folder(folder: Path) -> None:
    with serving("up", folder=folder) as server:
        there = ("--port", str(server.port))
        assert state(folder, "server", *there)[0] == "ok"
        assert f"is serving at 127.0.0.1:{server.port}, process " in state(folder, "server", *there)[1]
        verdict, told, _ = state(folder, "server")
        assert (verdict, "but not at 127.0.0.1" in told) == ("warning", True)
        verdict, told, _ = state(folder, "server", *there, "--data", str(folder / "elsewhere"))
        assert (verdict, "but not on this data folder" in told) == ("warning", True)
        assert doctor(folder, *there).code == 0


def test_somebody_elses_server_is_told_apart(folder: Path) -> None:
    with answering(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello") as port:
        verdict, told, then = state(folder, "server", "--port", str(port))
    assert (verdict, then) == ("warning", "choose another with --port")
    assert told == f"what listens at 127.0.0.1:{port} is no Mercato"


def test_a_server_that_never_answers_does_not_hold_it_up(folder: Path) -> None:
    with answering(None) as port:
        verdict, told, _ = state(folder, "server", "--port", str(port))
    assert (verdict, "does not answer within" in told) == ("problem", True)


class answering:  # noqa: N801  a context manager, read like a function
    """Listen on a free port, and answer every request with these bytes, or never."""

    def __init__(self, answer: bytes | None) -> None:
        self._answer = answer
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._kept: list[socket.socket] = []

    def __enter__(self) -> int:
        threading.Thread(target=self._serve, daemon=True).start()
        return int(self._socket.getsockname()[1])

    def _serve(self) -> None:
        while True:
            try:
                taken, _ = self._socket.accept()
            except OSError:
                return
            self._kept.append(taken)
            if self._answer is not None:
                taken.recv(65_536)
                taken.sendall(self._answer)

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for each in self._kept:
            each.close()


def test_events_that_wait_are_parked_or_dead_are_told(folder: Path) -> None:
    dead_letter(folder)
    data = folder / "mercato-data"
    sql(
        data / "users.db",
        "INSERT INTO outbox (event_id, key, sequence, type, tenant_id, body, created_at)"
        " VALUES ('old', 'default/user/x', 1, 'user.created', 'default', X'7B', 1700000000000000)",
    )
    sql(
        data / "products.db",
        "INSERT INTO inbox_parked (event_id, tenant_id, type, key, sequence, body, state, attempts, reason,"
        " next_try_at, first_seen_at) VALUES ('e', 'default', 't', 'k', 2, X'7B', 'waiting', 1, 'r', 0, 0)",
    )

    ended = doctor(folder)

    assert ended.code == 0, ended
    assert "1 events have waited since 2023-11-14 22:13:20 UTC  → start the platform: mercato up" in ended.out
    assert "1 dead letters: events that had no effect, the oldest since 20" in ended.out
    assert " UTC  → mercato dlq list" in ended.out
    assert "parked events: 1 waiting" in ended.out
    assert ended.out.endswith("\nNo problems, 3 warnings.\n")


def test_a_clock_that_is_behind_its_own_past_is_a_problem(folder: Path) -> None:
    sql(
        folder / "mercato-data" / "orders.db",
        "INSERT INTO outbox (event_id, key, sequence, type, tenant_id, body, created_at, sent_at)"
        " VALUES ('new', 'default/order/x', 1, 'order.created', 'default', X'7B', 4100000000000000, 1)",
    )
    verdict, told, _ = state(folder, "clock")
    assert (verdict, "which is still to come" in told) == ("problem", True)
    assert doctor(folder).code == 1


def sql(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement)


def readable_keys(data: Path) -> None:
    next((data / "keys").glob("signing-*")).chmod(0o644)


def no_key(data: Path) -> None:
    next((data / "keys").glob("signing-*")).write_text("{}")


def oddly_named_key(data: Path) -> None:
    (data / "keys" / "signing-new.jwk.json").write_text("{}")


def old_keys(data: Path) -> None:
    os.utime(next((data / "keys").glob("signing-*")), (1_600_000_000, 1_600_000_000))


@pytest.mark.parametrize(
    "harm, verdict, words",
    [
        (readable_keys, "problem", "others may read signing-0001.jwk.json"),
        (no_key, "problem", "is no JSON Web Key"),
        (oddly_named_key, "problem", "is not named as a key file is"),
        (old_keys, "warning", "the newest made 2020-09-13"),
    ],
)
def test_keys_that_are_open_broken_or_old_are_told(
    harm: Callable[[Path], None], verdict: str, words: str, folder: Path
) -> None:
    harm(folder / "mercato-data")

    found = [each for each in all_findings(folder) if each["check"] == "keys"]

    assert found[0]["state"] == verdict
    assert words in found[0]["told"]
    assert found[0]["next"]


def all_findings(folder: Path) -> Iterator[Any]:
    yield from read(doctor(folder, "--json", "--port", str(free_port())))["findings"]


@pytest.mark.parametrize(
    "revision, verdict, then",
    [
        ("orders_0001", "warning", "mercato migrate up"),
        ("orders_9999", "problem", "use the newer version that wrote it"),
    ],
)
def test_another_schema_is_told_and_not_touched(revision: str, verdict: str, then: str, folder: Path) -> None:
    path = folder / "mercato-data" / "orders.db"
    sql(path, f"UPDATE alembic_version SET version_num = '{revision}'")
    before = path.read_bytes()

    found = findings(folder)

    assert (found["orders schema"]["state"], found["orders schema"]["next"]) == (verdict, then)
    assert "books" not in found
    assert path.read_bytes() == before


def test_damage_inside_a_database_is_found(folder: Path) -> None:
    path = folder / "mercato-data" / "payments.db"
    with path.open("r+b") as file:
        file.seek(4096 * 3)
        file.write(b"\xa5" * 4096 * 4)

    verdict, _, then = state(folder, "payments.db")

    assert verdict == "problem"
    assert "backup" in then


def test_books_that_do_not_balance_are_a_problem(folder: Path) -> None:
    with serving("up", folder=folder) as server:
        assert mercato("demo", "--url", server.url, folder=folder).code == 0
    sql(folder / "mercato-data" / "orders.db", "UPDATE orders SET total_amount = total_amount + 1")

    verdict, told, then = state(folder, "books")

    assert (verdict, then) == ("problem", "mercato reconcile")
    assert "differ in" in told


def test_a_wrong_setting_is_told_and_the_rest_is_looked_at(folder: Path) -> None:
    ended = doctor(folder, "--json", MERCATO_PROT="1")

    found = {each["check"]: each for each in read(ended)["findings"]}
    assert ended.code == 1
    assert found["settings"]["state"] == "problem"
    assert "MERCATO_PROT" in found["settings"]["told"]
    assert found["orders.db"]["state"] == "ok"


def test_a_folder_that_others_may_look_into_is_a_warning(folder: Path) -> None:
    (folder / "mercato-data").chmod(0o755)
    verdict, _, then = state(folder, "data folder")
    assert (verdict, then) == ("warning", f"chmod 700 {folder / 'mercato-data'}")


def test_beside_a_busy_platform_it_finds_no_fault(folder: Path) -> None:
    with serving("up", "--demo", folder=folder) as server:
        wait_until(lambda: (folder / f"{server.port}.err").read_bytes().count(b"\n") > 50)
        ended = doctor(folder, "--port", str(server.port))
        assert (ended.code, "problem " in ended.out) == (0, False), ended.out
