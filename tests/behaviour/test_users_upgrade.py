"""A database of before there were lists and searches is brought to where they work."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from mercato.adapters.sql.schema import Schema, current, downgrade, upgrade
from mercato.kernel.ids import UserId, uuid7
from mercato.kernel.paging import Window
from mercato.kernel.principal import Principal, Role
from mercato.kernel.tenancy import TenantId
from mercato.users.ports import UserFilter
from tests.behaviour.users_platform import start
from tests.conftest import OpenDatabase
from tests.engines import SQLITE

USERS = Schema("users", "mercato.users.migrations")
SHOP = TenantId("shop")
BOSS = Principal(UserId(uuid7()), "", Role.ADMIN, SHOP)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A database at the first schema with 2,500 users of two stores, and one who was deleted."""
    path = tmp_path / "users.db"
    upgrade(path, USERS, "users_0001")
    rows: list[tuple[object, ...]] = []
    for n in range(2500):
        email = f"user{n}@mail.example"
        names = (email, email, "Zoë", f"Name{n}")
        rows.append(
            (("shop", "other")[n % 2], uuid7(), *names, "admin" if n < 10 else "customer", int(n % 4 > 0))
        )
    rows.append(("shop", uuid7(), "gone@mail.example", None, "Zoë", "Gone", "customer", 0))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executemany(
            "INSERT INTO users (tenant_id, id, email, email_key, first_name, last_name, role, is_active,"
            " password_hash, created_at, updated_at, version) VALUES (?, ?, ?, ?, ?, ?, ?, ?, '', 0, 0, 1)",
            rows,
        )
    return path


@SQLITE
async def test_users_of_before_are_counted_listed_and_found(
    old: Path, tmp_path: Path, open_database: OpenDatabase
) -> None:
    assert current(old) == "users_0001"
    platform = await start(await open_database("users"), tmp_path)
    users = platform.service.service
    seen = await users.search(
        BOSS, UserFilter(operators=False, search="zoe"), Window(100, 0, None, counted=True)
    )
    assert [each.last_name for each in seen[:3]] == ["Name2498", "Name2496", "Name2494"]
    assert not any(each.email_verified for each in seen)
    for wanted, many in (
        (UserFilter(operators=False), 1250),
        (UserFilter(operators=False, search="ZOË mail"), 1250),
        (UserFilter(operators=False, search="name7"), 0),
        (UserFilter(operators=False, search="name8", active=False), 1),
        (UserFilter(operators=False, search="gone"), 0),
        (UserFilter(operators=False, role=Role.ADMIN), 5),
        (UserFilter(operators=False, search="zoe", role=Role.ADMIN, active=True), 2),
        (UserFilter(operators=False, active=False), 625),
    ):
        assert await users.count(BOSS, wanted) == many, wanted


def test_the_way_back_keeps_the_users(old: Path) -> None:
    upgrade(old, USERS)
    downgrade(old, USERS, "users_0001")
    with closing(sqlite3.connect(old)) as connection:
        assert connection.execute("SELECT count(*) FROM users").fetchone() == (2501,)
        tables = connection.execute("SELECT name FROM sqlite_master WHERE name LIKE 'user_%'").fetchall()
        assert all(name.startswith("users") for (name,) in tables)
