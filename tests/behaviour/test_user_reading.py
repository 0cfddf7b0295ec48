"""Users are read by whoever may see them, in one process and over HTTP, in one statement each time."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mercato.adapters.sql.steps import Steps
from mercato.clients.user_reading import UserReaderClient, serve_user_reading
from mercato.contracts.user_reading import UserReader, UsersWanted
from mercato.kernel.cause import BySystem
from mercato.kernel.errors import Forbidden, ValidationFailed
from mercato.kernel.ids import UserId, uuid7
from mercato.kernel.principal import Principal, Role
from mercato.kernel.tenancy import DEFAULT_TENANT, TenantId
from mercato.kernel.versions import ANY_VERSION
from mercato.users import views
from mercato.users.domain import NewUser, UserChange
from mercato.users.service.reading import UserReading
from mercato.users.stores.reading import SqlUserReads
from mercato.users.stores.sql_users import SqlUsers
from mercato.web.envelope import encode
from tests.behaviour.readers import (
    MANY_IDS,
    NO_IDS,
    WAYS,
    Counting,
    Way,
    machine,
    reached,
    shown_otherwise,
    window,
)
from tests.behaviour.users_platform import PASSWORD, Platform, start
from tests.conftest import OpenDatabase

TEA = TenantId("tea")
ALL = UsersWanted()
BY = BySystem("test")


@pytest.fixture
async def users(open_database: OpenDatabase, tmp_path: Path) -> Platform:
    users = await start(await open_database("users"), tmp_path)
    await users.onboard(TEA)
    return users


@pytest.fixture(params=WAYS)
async def reader(request: pytest.FixtureRequest, users: Platform) -> AsyncIterator[UserReader]:
    async with AsyncExitStack() as stack:
        way: Way = request.param
        yield await reached(way, users.service.reader, "users", serve_user_reading, UserReaderClient, stack)


async def registered(users: Platform, name: str, tenant: TenantId = DEFAULT_TENANT) -> Principal:
    user = (await users.register(f"{name}@example.com", tenant))["user"]
    return Principal(UserId(user["id"]), user["email"], Role.CUSTOMER, tenant)


async def admin_of(users: Platform, tenant: TenantId) -> Principal:
    new = NewUser(email=f"admin@{tenant}.example", password=PASSWORD, first_name="Ada", last_name="Min")
    made = await users.service.service.create_admin(tenant, new, UserId(uuid7()), at=users.clock(), by=BY)
    return made.principal


async def operator(users: Platform) -> Principal:
    new = NewUser(email="root@example.com", password=PASSWORD, first_name="Olga", last_name="Op")
    made = await users.service.service.create_operator(new, UserId(uuid7()), at=users.clock(), by=BY)
    return made.principal


# Rights


async def test_everybody_sees_whom_they_may_see(users: Platform, reader: UserReader) -> None:
    ann, bob = await registered(users, "ann"), await registered(users, "bob")
    admin, olga = await admin_of(users, DEFAULT_TENANT), await operator(users)
    tim, rival = await registered(users, "tim", TEA), await admin_of(users, TEA)
    everybody = [each.user_id for each in (ann, bob, admin, olga, tim, rival)]
    here = {ann.user_id, bob.user_id, admin.user_id}
    there = {tim.user_id, rival.user_id}
    seen: dict[str, tuple[Principal, set[UserId]]] = {
        "a customer": (ann, {ann.user_id}),
        "a customer of another store": (tim, {tim.user_id}),
        "an admin": (admin, here),
        "another store's admin": (rival, there),
        "an operator at home": (olga, here | {olga.user_id}),
        "an operator in another store": (
            msgspec.structs.replace(olga, tenant=TEA),
            there | {olga.user_id},
        ),
        "a machine": (machine("users:read"), here),
        "a machine in another store": (machine("users:read", tenant=TEA), there),
    }
    for name, (who, visible) in seen.items():
        found = await reader.many(who, everybody)
        assert (name, set(found)) == (name, visible)
        assert {each.id for each in found.values()} == visible
        # Of machines nobody has an account.
        assert await reader.many(machine("users:read"), [machine().user_id]) == {}


async def test_a_list_is_for_staff_and_has_the_users_of_its_store(
    users: Platform, reader: UserReader
) -> None:
    ann, admin = await registered(users, "ann"), await admin_of(users, DEFAULT_TENANT)
    olga, rival = await operator(users), await admin_of(users, TEA)
    tim = await registered(users, "tim", TEA)

    async def listed(who: Principal) -> set[str]:
        part = await reader.page(who, ALL, window())
        assert part.total == len(part.items)
        return {each.id for each in part.items}

    assert await listed(admin) == {ann.user_id, admin.user_id}
    assert await listed(olga) == {ann.user_id, admin.user_id, olga.user_id}
    assert await listed(machine("users:read")) == {ann.user_id, admin.user_id}
    assert {tim.user_id, rival.user_id} <= await listed(rival)
    assert await listed(msgspec.structs.replace(olga, tenant=TEA)) == await listed(rival)
    for who in (ann, tim, machine(), machine("orders:read", "users:write")):
        for part in (window(), window(0), window(after="x")):
            with pytest.raises(Forbidden):
                await reader.page(who, ALL, part)


async def test_a_machine_without_the_scope_is_refused_whatever_it_asks_for(reader: UserReader) -> None:
    for who in (machine(), machine("orders:read", "users:write")):
        for sought in ([who.user_id], [], NO_IDS, MANY_IDS):
            with pytest.raises(Forbidden):
                await reader.many(who, sought)


# What is read


async def test_a_user_is_read_as_rest_shows_them(users: Platform, reader: UserReader) -> None:
    ann = await registered(users, "ann")

    read = (await reader.many(ann, [ann.user_id]))[ann.user_id]

    kept = await users.service.service.me(ann)
    assert shown_otherwise(read, encode(views.user_view(kept))) == set()
    assert (read.full_name, read.role, read.is_active) == ("Ada Lovelace", Role.CUSTOMER, True)
    assert "password" not in str(msgspec.to_builtins(read))


async def test_a_change_is_read_at_once(users: Platform, reader: UserReader) -> None:
    ann, admin = await registered(users, "ann"), await admin_of(users, DEFAULT_TENANT)
    await reader.many(admin, [ann.user_id])
    change = UserChange(first_name="Augusta", is_active=False)
    await users.service.service.change(
        admin, ann.user_id, change, expected=ANY_VERSION, at=users.clock(), by=BY
    )

    read = (await reader.many(admin, [ann.user_id]))[ann.user_id]

    assert (read.full_name, read.is_active, read.version) == ("Augusta Lovelace", False, 2)


async def test_a_deleted_user_is_not_there(users: Platform, reader: UserReader) -> None:
    ann, admin = await registered(users, "ann"), await admin_of(users, DEFAULT_TENANT)
    await users.service.service.delete(admin, ann.user_id, expected=ANY_VERSION, at=users.clock(), by=BY)

    assert set(await reader.many(admin, [ann.user_id, admin.user_id])) == {admin.user_id}
    assert await reader.many(ann, [ann.user_id]) == {}
    listed = await reader.page(admin, ALL, window())
    assert ([each.id for each in listed.items], listed.total) == ([admin.user_id], 1)


async def test_what_cannot_be_an_id_finds_nobody(users: Platform, reader: UserReader) -> None:
    admin = await admin_of(users, DEFAULT_TENANT)

    assert set(await reader.many(admin, [*NO_IDS, admin.user_id, admin.user_id])) == {admin.user_id}
    assert await reader.many(admin, []) == {}


# Lists


async def test_a_list_goes_on_where_it_ended_whoever_comes_meanwhile(
    users: Platform, reader: UserReader
) -> None:
    admin = await admin_of(users, DEFAULT_TENANT)
    there = [admin.user_id, *[(await registered(users, f"u{number}")).user_id for number in range(4)]]
    walked: list[str] = []
    after: str | None = None
    while True:
        part = await reader.page(admin, ALL, window(2, after=after, counted=False))
        walked += [each.id for each in part.items]
        assert part.total is None
        after = part.end
        if not part.has_more:
            break
        await registered(users, f"late{len(walked)}")

    assert walked == there[::-1]
    counted = await reader.page(admin, ALL, window(2, 2))
    assert (len(counted.items), counted.total, counted.has_more) == (2, 7, True)


async def test_users_are_found_by_words_role_and_standing(users: Platform, reader: UserReader) -> None:
    admin = await admin_of(users, DEFAULT_TENANT)
    ann, bob = await registered(users, "ann"), await registered(users, "bob")
    await users.service.service.change(
        admin, bob.user_id, UserChange(is_active=False), expected=ANY_VERSION, at=users.clock(), by=BY
    )

    async def found(wanted: UsersWanted) -> list[str]:
        part = await reader.page(admin, wanted, window())
        assert part.total == len(part.items)
        return [each.id for each in part.items]

    assert await found(UsersWanted(search="LOVELACE bob")) == [bob.user_id]
    assert await found(UsersWanted(search="lovelace")) == [bob.user_id, ann.user_id]
    assert await found(UsersWanted(search="lovelace", active=True)) == [ann.user_id]
    assert await found(UsersWanted(search="-")) == []
    assert await found(UsersWanted(role=Role.ADMIN)) == [admin.user_id]
    assert await found(UsersWanted(role=Role.OPERATOR)) == []
    assert await found(UsersWanted(active=False)) == [bob.user_id]
    first = await reader.page(admin, UsersWanted(search="lovelace"), window(1))
    then = await reader.page(admin, UsersWanted(search="lovelace"), window(1, after=first.end))
    assert (first.items[0].id, first.total, then.items[0].id) == (bob.user_id, 2, ann.user_id)


async def test_what_is_out_of_bounds_is_refused(users: Platform, reader: UserReader) -> None:
    admin = await admin_of(users, DEFAULT_TENANT)
    assert await reader.many(admin, MANY_IDS[1:]) == {}
    for reading in (
        reader.many(admin, MANY_IDS),
        reader.page(admin, ALL, window(0)),
        reader.page(admin, ALL, window(101)),
        reader.page(admin, ALL, window(1, -1)),
        reader.page(admin, ALL, window(after="x")),
        reader.page(admin, UsersWanted(search="x" * 201), window()),
    ):
        with pytest.raises(ValidationFailed):
            await reading


# Cost


async def test_each_reading_is_one_statement_however_many_are_read(users: Platform) -> None:
    admin, olga = await admin_of(users, DEFAULT_TENANT), await operator(users)
    everybody = [(await registered(users, f"u{number}")).user_id for number in range(8)]
    counting: Any = Counting(users.db)
    store = SqlUsers(Steps(counting, source="/test", clock=users.clock), users.service.cuts)
    reader = UserReading(SqlUserReads(counting), store)

    async def statements(who: Principal) -> int:
        counting.statements.clear()
        await reader.many(who, [*everybody, olga.user_id])
        return len(counting.statements)

    assert await statements(admin) == 1
    assert await statements(olga) == 1
    assert counting.stores == {DEFAULT_TENANT}
    # One's own account is in another store.
    assert await statements(msgspec.structs.replace(olga, tenant=TEA)) == 2
    assert counting.stores == {DEFAULT_TENANT, TEA}
    counting.statements.clear()
    await reader.page(admin, ALL, window(5))
    assert len(counting.statements) == 2
