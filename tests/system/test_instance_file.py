"""What may be wrong with an instance's file, or the place it is imported into: one sentence, and no trace."""

import asyncio
import gzip
import hashlib
import random
import re
import sqlite3
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mercato.cli.common import Refused
from mercato.cli.instance import read, write
from mercato.runtime.instance import databases
from mercato.runtime.instance.form import MAX_LINE
from tests.commands import mercato, serving
from tests.modes import DATA_FOLDER
from tests.running import Platform, add_product, open_store, order_of

pytestmark = DATA_FOLDER


@dataclass(frozen=True)
class Sample:
    """An export of an instance in which something has been bought."""

    path: Path

    @property
    def raw(self) -> bytes:
        return self.path.read_bytes()

    @property
    def lines(self) -> list[bytes]:
        return gzip.decompress(self.raw).splitlines(keepends=True)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    folder = tmp_path_factory.mktemp("sample")
    platform = Platform(folder)
    platform.start()
    try:
        asyncio.run(purchase(platform))
        ended = platform.command("export", "--out", "sample.gz")
        assert ended.returncode == 0, ended.stderr
    finally:
        platform.stop()
    return Sample(folder / "sample.gz")


async def purchase(platform: Platform) -> None:
    store = await open_store(platform, "sample")
    async with platform.client(store.customer) as shop:
        product = await add_product(shop, store, "LAMP", stock=5)
        order = (await shop.post("/api/v1/orders", order_of(product))).data["id"]
        wanted = {"order_id": order, "method": "card"}
        payment = (await shop.post("/api/v1/payments", wanted)).data["id"]
        await shop.post(f"/api/v1/payments/{payment}/process", {})
        await shop.until(f"/api/v1/orders/{order}", "status", "confirmed")


def refusal(content: bytes, folder: Path) -> str:
    """Return why a file is refused; nothing of it is left behind."""
    path = folder / "file.gz"
    path.write_bytes(content)
    with pytest.raises(Refused) as refused:
        read(str(path), data=str(folder / "new"), json=True)
    assert sorted(each.name for each in folder.iterdir()) == ["file.gz"]
    sentence = str(refused.value)
    assert sentence.endswith(".")
    assert "\n" not in sentence
    return sentence


def packed(lines: list[bytes]) -> bytes:
    """Return lines as a file whose end is right."""
    *kept, end = lines
    last = msgspec.json.decode(end) | {"sha256": hashlib.sha256(b"".join(kept)).hexdigest()}
    return gzip.compress(b"".join(kept) + msgspec.json.encode(last) + b"\n")


def changed(sample: Sample, kind: str, change: Callable[[dict[str, Any]], object]) -> bytes:
    """Return the sample with its first line of a kind changed, and its end made right."""
    lines = sample.lines
    place = next(at for at, line in enumerate(lines) if f'"kind":"{kind}"'.encode() in line)
    line = msgspec.json.decode(lines[place])
    change(line)
    lines[place] = msgspec.json.encode(line) + b"\n"
    return packed(lines)


def test_the_same_lines_make_the_same_instance(sample: Sample, tmp_path: Path) -> None:
    (tmp_path / "file.gz").write_bytes(packed(sample.lines))

    ended = mercato("import", "file.gz", "--data", "new", "--json", folder=tmp_path)

    assert ended.json["balanced"]
    assert mercato("export", "--data", "new", "--out", "again.gz", folder=tmp_path).code == 0
    again = gzip.decompress((tmp_path / "again.gz").read_bytes()).splitlines(keepends=True)
    assert rows_of_others(again) == rows_of_others(sample.lines)
    assert (tmp_path / "again.gz").stat().st_mode & 0o777 == 0o600
    private = {
        each.name for each in (tmp_path / "new" / "keys").iterdir() if each.stat().st_mode & 0o077 == 0
    }
    assert "hash.secret" in private
    assert len(private) == 2
    assert (tmp_path / "new").stat().st_mode & 0o077 == 0


def rows_of_others(lines: list[bytes]) -> list[bytes]:
    """Return the lines but the header, the end, and what tells of the import itself."""
    outbox = b'{"kind":"table","database":"users","name":"outbox",'
    return [
        line for line in lines[1:-1] if b"default/audit/instance:" not in line and not line.startswith(outbox)
    ]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True))
def test_a_file_that_is_cut_short_is_refused(
    sample: Sample, tmp_path_factory: pytest.TempPathFactory, place: float
) -> None:
    sentence = refusal(sample.raw[: int(len(sample.raw) * place)], tmp_path_factory.mktemp("cut"))

    assert "is cut short" in sentence or "is not an export" in sentence


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_file_with_a_flipped_bit_is_refused(
    sample: Sample, tmp_path_factory: pytest.TempPathFactory, place: float, bit: int
) -> None:
    content = bytearray(sample.raw)
    content[int(len(content) * place)] ^= 1 << bit
    try:
        harmless = gzip.decompress(bytes(content)) == b"".join(sample.lines)
    except (OSError, EOFError, ValueError, gzip.zlib.error):  # type: ignore[attr-defined]
        harmless = False

    if not harmless:  # a bit of gzip's own header that says nothing
        refusal(bytes(content), tmp_path_factory.mktemp("flip"))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 1 << 32))
def test_a_changed_byte_within_is_refused_even_where_it_is_packed_anew(
    sample: Sample, tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    chance = random.Random(seed)
    content = bytearray(b"".join(sample.lines))
    place = chance.randrange(len(content))
    content[place] ^= 1 << chance.randrange(8)

    refusal(gzip.compress(bytes(content)), tmp_path_factory.mktemp("byte"))


@pytest.mark.parametrize(
    "kind, change, said",
    [
        ("instance", lambda line: line.update(format=2), "written by a newer Mercato, in format 2"),
        ("instance", lambda line: line.update(kind="else"), "is not an export of an instance"),
        ("instance", lambda line: line["databases"].update(users="users_9999"), "does not know"),
        ("instance", lambda line: line["databases"].update(users="head"), "is no revision of it"),
        ("instance", lambda line: line["databases"].update(users="users_0001:head"), "does not know"),
        ("instance", lambda line: line["databases"].update(warehouse=None), "'warehouse'"),
        ("instance", lambda line: line["databases"].update({"../../x": None}), "'../../x'"),
        ("instance", lambda line: line["databases"].pop("users"), "database 'users'"),
        ("instance", lambda line: line.update(extra=1), "unknown field `extra`"),
        ("key", lambda line: line.update(name="../escaped"), "a name that no key has"),
        ("key", lambda line: line.update(modified_at="0001-01-01T00:00:00+14:00"), "at no time"),
        ("key", lambda line: line.update(modified_at="0001-01-01T00:00:00"), "at no time"),
        ("key", lambda line: line.update(content="x" * 100_000), "longer than a key"),
        ("key", lambda line: line.update(name="signing-0001.jwk.json"), "is there twice"),
        ("table", lambda line: line.update(name="sqlite_master"), "no table 'sqlite_master'"),
        ("table", lambda line: line.update(name="alembic_version"), "no table 'alembic_version'"),
        ("table", lambda line: line.update(name="user_words"), "no table 'user_words'"),
        ("table", lambda line: line.update(name='x" (a) VALUES (1); --'), "no table"),
        ("table", lambda line: line["columns"].update({"a) VALUES (1); --": "text"}), "no column"),
        ("table", lambda line: line.update(columns={}), "has no columns"),
        ("table", lambda line: line.update(database="nowhere"), "'nowhere'"),
        ("end", lambda line: line["rows"].update({"users.users": 99}), "counts other rows"),
        ("end", lambda line: line.update(keys=0), "counts other rows"),
    ],
)
def test_what_this_version_does_not_know_is_refused_by_name(
    kind: str, change: Callable[[dict[str, Any]], object], said: str, sample: Sample, tmp_path: Path
) -> None:
    assert said in refusal(changed(sample, kind, change), tmp_path)


def rows_of(sample: Sample, table: str) -> int:
    """Return the place of a table's first row."""
    mark = f'"name":"{table}"'.encode()
    return next(at for at, line in enumerate(sample.lines) if mark in line) + 1


@pytest.mark.parametrize(
    "row, said",
    [
        (b"[]", "`array` of length 8"),
        (b'["sample"]', "`array` of length 8"),
        (b"[1, 2, 3, 4, 5, 6, 7, 8]", "Expected `str | null`"),
        (b'["a", "b", "c", "d", "e", 1.5, 7, 8]', "Expected `int | null`"),
        (b'["a", "b", "c", "d", "e", 99999999999999999999, 7, 8]', "refuses a row"),
        (b'["default", "b", "c", "d", "e", 6, 7, 8]', "UNIQUE constraint failed"),
        (b'["a", null, "c", "d", "e", 6, 7, 8]', "NOT NULL constraint failed"),
        (b'["\\ud800", "b", "c", "d", "e", 6, 7, 8]', "in users.tenants"),
        (b"[" * 100_000, "in users.tenants"),
        (b'{"kind":"else"}', "Invalid value 'else'"),
        (b"nonsense", "malformed"),
    ],
)
def test_a_row_that_cannot_be_one_is_refused_with_its_place(
    row: bytes, said: str, sample: Sample, tmp_path: Path
) -> None:
    lines, place = sample.lines, rows_of(sample, "tenants")
    lines.insert(place, row + b"\n")

    sentence = refusal(packed(lines), tmp_path)

    assert said in sentence
    assert ": line " in sentence


def test_rows_and_tables_out_of_their_place_are_refused(sample: Sample, tmp_path: Path) -> None:
    lines = sample.lines
    header, *rest, end = lines
    table = rows_of(sample, "tenants") - 1
    for wrong, said in (
        ([header, b"[1]\n", *rest, end], "before the first table"),
        ([*lines[:-1], lines[table], end], "is there twice"),
        ([header, header, *rest, end], "Invalid value 'instance'"),
        ([*rest, end], "is not an export"),
        ([header, *rest], "is cut short"),
    ):
        kept = wrong if wrong[-1] is not end else None
        content = gzip.compress(b"".join(kept)) if kept else packed(wrong)
        assert said in refusal(content, tmp_path)
    more = gzip.compress(b"".join(lines) + b'{"kind":"end"}\n')
    assert "something after the end" in refusal(more, tmp_path)
    assert "something after the end" in refusal(sample.raw + gzip.compress(b"more"), tmp_path)


def test_a_line_without_end_takes_no_more_memory_than_a_line_may_have(sample: Sample, tmp_path: Path) -> None:
    header = sample.lines[0]
    bomb = gzip.compress(header + b"[" + b"1," * (40 * MAX_LINE // 2))
    tracemalloc.start()
    try:
        assert f"longer than {MAX_LINE} bytes" in refusal(bomb, tmp_path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 5 * MAX_LINE + len(bomb)


def test_a_large_instance_takes_no_more_memory_than_a_small_one(tmp_path: Path) -> None:
    assert mercato("migrate", "up", folder=tmp_path).code == 0
    with closing(sqlite3.connect(tmp_path / "mercato-data" / "orders.db")) as orders, orders:
        orders.executemany(
            "INSERT INTO outbox (event_id, key, sequence, type, tenant_id, body, created_at, sent_at)"
            " VALUES (?, 'default/order/x', ?, 'order.created', 'default', ?, 0, 0)",
            ((f"event-{n}", n, random.Random(n).randbytes(2_000)) for n in range(20_000)),
        )
    out = str(tmp_path / "large.gz")
    tracemalloc.start()
    try:
        write(out=out, data=str(tmp_path / "mercato-data"), json=True)
        read(out, data=str(tmp_path / "new"), json=True)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert Path(out).stat().st_size > 30 * 1024 * 1024
    assert peak < 16 * 1024 * 1024


@pytest.mark.parametrize("content", [b"", b"\0" * 1000, b"PK\3\4", b"{}\n", gzip.compress(b"{}\n", mtime=0)])
def test_a_file_that_is_something_else_is_refused(content: bytes, tmp_path: Path) -> None:
    assert "is not an export of an instance" in refusal(content, tmp_path) or not content


def test_a_damaged_export_is_said_to_be_damaged_and_not_something_else(
    sample: Sample, tmp_path: Path
) -> None:
    # Some damage unpacks to other words, which are nonsense in many ways.
    for part in range(2, 40):
        content = bytearray(sample.raw)
        content[len(content) * part // 40] ^= 255
        assert re.search("is damaged|is cut short", refusal(bytes(content), tmp_path)), part


def test_a_database_that_is_none_is_named(sample: Sample, tmp_path: Path) -> None:
    assert mercato("import", str(sample.path), "--data", "new", folder=tmp_path).code == 0
    (tmp_path / "new" / "orders.db").write_text("nonsense" * 1_000)
    assert (
        "orders.db cannot be read as a database"
        in mercato("export", "--data", "new", folder=tmp_path).refusal
    )


def test_a_folder_that_holds_data_is_left_alone(sample: Sample, tmp_path: Path) -> None:
    for name in ("users.db", "notes.txt"):
        (tmp_path / "new").mkdir(exist_ok=True)
        (tmp_path / "new" / name).write_text("mine")
        sentence = mercato("import", str(sample.path), "--data", "new", folder=tmp_path).refusal
        assert "new already holds data (" in sentence
        assert (tmp_path / "new" / name).read_text() == "mine"
    (tmp_path / "file").write_text("mine")
    assert "is a file" in mercato("import", str(sample.path), "--data", "file", folder=tmp_path).refusal


def test_a_folder_in_use_is_said_to_be_in_use(sample: Sample, tmp_path: Path) -> None:
    with serving("up", folder=tmp_path):
        sentence = mercato("import", str(sample.path), folder=tmp_path).refusal
        assert sentence.startswith("Another Mercato is serving ")


def test_an_empty_folder_is_filled(sample: Sample, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()

    assert mercato("import", str(sample.path), "--data", "new", folder=tmp_path).code == 0

    assert {each.name for each in tmp_path.iterdir()} == {"new"}


def test_a_file_may_come_through_a_pipe(sample: Sample, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "mercato", "import", "/dev/stdin", "--data", "new", "--json"]

    ended = subprocess.run(
        words, input=sample.raw, capture_output=True, cwd=tmp_path, timeout=60, check=False
    )

    assert ended.returncode == 0, ended.stderr
    assert msgspec.json.decode(ended.stdout)["balanced"]


def test_what_is_not_there_or_cannot_be_used_is_said_in_a_sentence(sample: Sample, tmp_path: Path) -> None:
    assert mercato("import", "nowhere.gz", folder=tmp_path).refusal == (
        "nowhere.gz cannot be used: No such file or directory."
    )
    assert "cannot be used: Is a directory" in mercato("import", ".", folder=tmp_path).refusal
    assert "There is no Mercato data in" in mercato("export", folder=tmp_path).refusal
    assert mercato("import", str(sample.path), "--data", "new", folder=tmp_path).code == 0
    out = mercato("export", "--data", "new", "--out", "no/where.gz", folder=tmp_path)
    assert out.refusal == "no/where.gz cannot be written: No such file or directory."
    assert "is a folder" in mercato("export", "--data", "new", "--out", "new", folder=tmp_path).refusal
    assert {each.name for each in tmp_path.iterdir()} == {"new"}


def test_a_full_disk_is_said_and_leaves_nothing(sample: Sample, tmp_path: Path) -> None:
    """A limit on the size of files is as a disk that is full."""
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000));"
        "sys.argv[1:] = {words!r}; from mercato.__main__ import main; main()"
    )
    words = ["import", str(sample.path), "--data", "new"]
    ended = subprocess.run(
        [sys.executable, "-c", code.format(words=words)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ended.returncode == 2, ended.stderr
    assert ended.stderr.count("\n") == 1, ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_part_of_the_instance_is_named(sample: Sample, tmp_path: Path) -> None:
    assert mercato("import", str(sample.path), "--data", "new", folder=tmp_path).code == 0
    (tmp_path / "new" / "notes.txt").write_text("mine")

    assert mercato("export", "--data", "new", "--json", folder=tmp_path).json["left_out"] == ["notes.txt"]
    assert "notes.txt" in mercato("export", "--data", "new", folder=tmp_path).out


def test_whatever_a_running_platform_keeps_is_exported(own_platform: Platform) -> None:
    own_platform.start()

    ended = own_platform.command("export", "--json")

    exported = msgspec.json.decode(ended.stdout)
    assert exported["left_out"] == [], "runtime.instance.databases must know it"
    found = databases.found_in(own_platform.data)
    assert {name.partition(".")[0] for name in exported["rows"]} == set(found)
    assert {path.name for path in own_platform.data.glob("*.db")} == {each.name for each in found.values()}
    for name, path in found.items():
        assert not databases.virtual_tables(path) or name in databases.REINDEX, (
            f"{name} has a full-text index, and runtime.instance.databases does not say what writes it anew"
        )
