"""Schemas: a new database is at head at once, an old one gets there wholly or not at all."""

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from importlib import resources
from pathlib import Path

import pytest
import sqlalchemy.exc

from mercato.adapters.sql.schema import (
    BASE,
    SNAPSHOT,
    Schema,
    SchemaTooNew,
    current,
    downgrade,
    dump,
    migrated_snapshot,
    prepare,
    upgrade,
)

SERVICES = sorted(
    folder.name
    for folder in Path(str(resources.files("mercato"))).iterdir()
    if (folder / "migrations" / SNAPSHOT).is_file()
)
ORDERS = Schema("orders", "mercato.orders.migrations")

FIRST = """
import sqlalchemy as sa
from alembic import op
revision, down_revision = "toy_0001", None
def upgrade():
    op.create_table("toys", sa.Column("id", sa.Integer, primary_key=True))
    op.execute("INSERT INTO toys VALUES (1)")
def downgrade():
    op.drop_table("toys")
"""
SECOND = """
import sqlalchemy as sa
from alembic import op
revision, down_revision = "toy_0002", "toy_0001"
def upgrade():
    op.create_table("boxes", sa.Column("id", sa.Integer, primary_key=True))
    op.execute("UPDATE toys SET id = 2")
    {last}
def downgrade():
    op.drop_table("boxes")
"""


@pytest.fixture
def toys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Make a service with one migration and return the folder that holds its versions."""
    versions = tmp_path / "toys_migrations" / "versions"
    versions.mkdir(parents=True)
    (versions.parent / "__init__.py").touch()
    (versions / "0001.py").write_text(FIRST)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield versions
    sys.modules.pop("toys_migrations", None)


def tables(path: Path) -> set[str]:
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    return {name for (name,) in rows if not name.startswith("sqlite_")}


@pytest.mark.parametrize("service", SERVICES)
def test_a_snapshot_is_what_the_migrations_make(service: str, tmp_path: Path) -> None:
    schema = Schema(service, f"mercato.{service}.migrations")
    assert schema.snapshot() == migrated_snapshot(tmp_path / "migrated.db", schema), "run `make snapshot`"
    prepare(tmp_path / "fresh.db", schema)
    assert dump(tmp_path / "fresh.db", schema.head) == schema.snapshot()


@pytest.mark.parametrize("service", SERVICES)
def test_migrations_go_down_to_nothing_and_up_again(service: str, tmp_path: Path) -> None:
    path, schema = tmp_path / "x.db", Schema(service, f"mercato.{service}.migrations")
    prepare(path, schema)
    downgrade(path, schema, BASE)
    assert tables(path) == {"alembic_version"}
    assert current(path) == BASE
    prepare(path, schema)
    assert current(path) == schema.head
    assert dump(path, schema.head) == schema.snapshot()


def test_preparing_twice_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    assert current(path) is None
    prepare(path, ORDERS)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("INSERT INTO outbox_sequences VALUES ('kept', 1)")
        connection.commit()
    prepare(path, ORDERS)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT * FROM outbox_sequences").fetchall() == [("kept", 1)]
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_start_that_was_killed_before_its_schema_was_there_is_repeated(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    path.touch()
    prepare(path, ORDERS)
    assert current(path) == ORDERS.head


def test_a_fresh_database_needs_no_alembic(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from mercato.adapters.sql.schema import Schema, prepare;"
        f"prepare(Path({str(tmp_path / 'x.db')!r}), Schema('orders', 'mercato.orders.migrations'));"
        "assert not {'alembic', 'sqlalchemy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_schema_from_a_newer_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    prepare(path, ORDERS)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'orders_9999'")
        connection.commit()
    with pytest.raises(SchemaTooNew, match="orders"):
        prepare(path, ORDERS)
    assert current(path) == "orders_9999"


def test_an_upgrade_keeps_what_is_there(toys: Path, tmp_path: Path) -> None:
    path, schema = tmp_path / "x.db", Schema("toys", "toys_migrations")
    upgrade(path, schema)
    (toys / "0002.py").write_text(SECOND.format(last=""))
    upgrade(path, schema)
    assert (current(path), tables(path)) == ("toy_0002", {"alembic_version", "toys", "boxes"})
    downgrade(path, schema, "-1")
    assert (current(path), tables(path)) == ("toy_0001", {"alembic_version", "toys"})


def test_an_upgrade_that_fails_leaves_nothing_of_itself(toys: Path, tmp_path: Path) -> None:
    path, schema = tmp_path / "x.db", Schema("toys", "toys_migrations")
    upgrade(path, schema)
    (toys / "0002.py").write_text(SECOND.format(last="op.execute('UPDATE nowhere SET id = 3')"))
    with pytest.raises(sqlalchemy.exc.OperationalError):
        upgrade(path, schema)
    assert (current(path), tables(path)) == ("toy_0001", {"alembic_version", "toys"})
    (toys / "0002.py").write_text(SECOND.format(last=""))
    upgrade(path, schema)
    assert current(path) == "toy_0002"


def test_an_upgrade_that_is_killed_leaves_nothing_of_itself(toys: Path, tmp_path: Path) -> None:
    path, schema = tmp_path / "x.db", Schema("toys", "toys_migrations")
    upgrade(path, schema)
    kill = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    (toys / "0002.py").write_text(SECOND.format(last=kill))
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from pathlib import Path;"
        "from mercato.adapters.sql.schema import Schema, upgrade;"
        f"upgrade(Path({str(path)!r}), Schema('toys', 'toys_migrations'))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -9
    assert (current(path), tables(path)) == ("toy_0001", {"alembic_version", "toys"})
