"""Opening stores, and finding them."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from mercato.adapters.sql.schema import Schema, migrated_snapshot
from mercato.kernel.cause import BySystem
from mercato.kernel.errors import NotFound, ValidationFailed
from mercato.kernel.ids import UserId, uuid7
from mercato.kernel.tenancy import StoreStatus, TenantId, Tier
from mercato.users.domain import DuplicateEmail, NewUser
from tests.behaviour.users_platform import PASSWORD, Platform, bearer, person, start, store
from tests.conftest import OpenDatabase

TENANTS = "/api/v1/tenants"
SHOP = TenantId("shop")
BY = BySystem("test")


@pytest.fixture
async def platform(open_database: OpenDatabase, tmp_path: Path) -> Platform:
    return await start(await open_database("users"), tmp_path, default_tier=Tier.BASIC)


def somebody(email: str = "ada@example.com", **changed: Any) -> NewUser:
    fields = {"email": email, "password": PASSWORD, "first_name": "A", "last_name": "L"}
    return NewUser(**(fields | changed))


async def test_anybody_may_open_a_store(platform: Platform) -> None:
    answer = await platform.send("POST", TENANTS, store("shop", currency="EUR"))
    assert answer.status == 201
    assert answer.headers["cache-control"] == "no-store"
    data = answer.json["data"]
    assert data["tenant"] == {
        "id": "shop",
        "name": "Shop",
        "currency": "EUR",
        "tier": "basic",
        "status": "active",
        "created_at": "2026-01-01T12:00:00Z",
        "updated_at": "2026-01-01T12:00:00Z",
        "version": 1,
    }
    assert (data["user"]["role"], data["user"]["tenant_id"]) == ("admin", "shop")
    shown = await platform.send("GET", f"{TENANTS}/shop", headers=bearer(data["token"]))
    assert shown.json["data"] == data["tenant"]
    assert await platform.events() == ["tenant.onboarded", "tenant.onboarded", "user.created"]
    assert (await platform.login("boss@example.com", tenant="shop")).status == 200


async def test_of_twenty_stores_with_one_id_one_opens(platform: Platform) -> None:
    answers = await asyncio.gather(
        *(platform.send("POST", TENANTS, store("shop", f"boss{n}@example.com")) for n in range(20))
    )
    assert sorted(a.status for a in answers) == [201] + [409] * 19
    refused = next(a for a in answers if a.status == 409)
    assert refused.code == "CONFLICT"
    assert refused.json["error"]["details"] == [{"field": "id", "message": "is taken"}]
    assert await platform.count("users") == 1
    assert await platform.count("refresh_tokens") == 1
    assert await platform.events() == ["tenant.onboarded", "tenant.onboarded", "user.created"]


async def test_a_repeated_opening_answers_with_fresh_tokens(platform: Platform) -> None:
    headers = {"Idempotency-Key": "k"}
    first = await platform.send("POST", TENANTS, store("shop"), headers=headers)
    again = await platform.send("POST", TENANTS, store("shop"), headers=headers)
    assert (again.status, again.headers["idempotent-replayed"]) == (201, "true")
    one, other = first.json["data"], again.json["data"]
    assert (one["tenant"], one["user"]) == (other["tenant"], other["user"])
    assert one["refresh_token"] != other["refresh_token"]


async def test_only_an_operator_chooses_the_tier(platform: Platform) -> None:
    admin = (await platform.onboard("first"))["token"]
    for headers in ({}, bearer(admin)):
        answer = await platform.send("POST", TENANTS, store("shop", tier="premium"), headers=headers)
        assert (answer.status, answer.code) == (403, "FORBIDDEN")
    operator = bearer(await platform.operator())
    answer = await platform.send("POST", TENANTS, store("shop", tier="premium"), headers=operator)
    assert answer.json["data"]["tenant"]["tier"] == "premium"
    answer = await platform.send("POST", TENANTS, store("other"), headers=operator)
    assert answer.json["data"]["tenant"]["tier"] == "basic"


async def test_where_operators_open_stores_nobody_else_does(
    open_database: OpenDatabase, tmp_path: Path
) -> None:
    platform = await start(await open_database("users"), tmp_path, onboarding="operator")
    customer = (await platform.register())["token"]
    assert (await platform.send("POST", TENANTS, store("shop"))).code == "UNAUTHORIZED"
    assert (await platform.send("POST", TENANTS, store("shop"), headers=bearer(customer))).code == "FORBIDDEN"
    operator = bearer(await platform.operator())
    assert (await platform.send("POST", TENANTS, store("shop"), headers=operator)).status == 201


@pytest.mark.parametrize(
    "body, fields",
    [
        (store("Not A Slug", name="", admin={"email": "x"}), {"id", "name", "admin.email", "admin.password"}),
        (store("shop", currency="usd"), {"currency"}),
        (store("shop\n", admin=person("a,b@c")), {"id", "admin.email"}),
        (store("shop", tier="gold"), {"tier"}),
        (store("shop", status="active", admin=person(role="operator")), {"status", "admin.role"}),
    ],
)
async def test_bad_fields_are_named(platform: Platform, body: dict[str, object], fields: set[str]) -> None:
    answer = await platform.send("POST", TENANTS, body)
    assert (answer.status, answer.code) == (400, "VALIDATION_ERROR")
    assert fields <= {detail["field"] for detail in answer.json["error"]["details"]}
    assert await platform.count("tenants") == 1


async def test_a_store_is_shown_to_its_own_people_and_to_operators(platform: Platform) -> None:
    shop = await platform.onboard("shop")
    customer = await platform.register(tenant="shop")
    operator = await platform.operator()
    for token in (shop["token"], customer["token"], operator):
        shown = await platform.send("GET", f"{TENANTS}/shop", headers=bearer(token))
        assert shown.json["data"] == shop["tenant"]
    for tenant in ("default", "nowhere", "NO SLUG", "shop\n"):
        shown = await platform.send("GET", f"{TENANTS}/{tenant}", headers=bearer(shop["token"], tenant))
        assert (shown.status, shown.code) == (404, "NOT_FOUND")
    assert (await platform.send("GET", f"{TENANTS}/nowhere", headers=bearer(operator))).status == 404
    assert (await platform.send("GET", f"{TENANTS}/shop")).status == 401


async def test_the_default_store_opens_once(platform: Platform) -> None:
    service, at = platform.service.stores, platform.clock()
    await platform.set("DELETE FROM tenants")
    await asyncio.gather(*(service.ensure_default_store(at=at) for _ in range(20)))
    await service.ensure_default_store(at=at)
    (default,) = await service.list_stores()
    assert (default.id, default.tier, default.currency) == ("default", Tier.UNLIMITED, "USD")
    assert await platform.events() == ["tenant.onboarded"] * 2


async def test_all_stores_are_listed(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mercato.users.service.stores._PAGE", 2)
    for tenant in ("c", "a", "b"):
        await platform.onboard(tenant)
    assert [s.id for s in await platform.service.stores.list_stores()] == ["a", "b", "c", "default"]


async def test_an_admin_is_made_for_a_store_that_exists(platform: Platform) -> None:
    service, at = platform.service.service, platform.clock()
    await platform.onboard("shop")
    made = await service.create_admin(SHOP, somebody(), UserId(uuid7()), at=at, by=BY)
    assert (made.role, made.tenant_id) == ("admin", "shop")
    with pytest.raises(DuplicateEmail):
        await service.create_admin(SHOP, somebody("ADA@example.com"), UserId(uuid7()), at=at, by=BY)
    with pytest.raises(NotFound):
        await service.create_admin(TenantId("nowhere"), somebody(), UserId(uuid7()), at=at, by=BY)
    with pytest.raises(ValidationFailed):
        await service.create_operator(somebody(password="short"), UserId(uuid7()), at=at, by=BY)


async def test_a_store_is_found_as_soon_as_it_opens(platform: Platform) -> None:
    directory = platform.service.directory
    assert await directory.find(SHOP) is None
    await platform.onboard("shop")
    found = await directory.find(SHOP)
    assert found is not None
    assert (found.currency, found.status) == ("USD", StoreStatus.ACTIVE)


@pytest.mark.parametrize("status", list(StoreStatus))
async def test_a_change_of_status_is_seen_within_a_second(platform: Platform, status: StoreStatus) -> None:
    await platform.onboard("shop")
    assert await platform.service.find_store(SHOP) is not None
    await platform.set("UPDATE tenants SET status = ? WHERE tenant_id = 'shop'", status)
    platform.clock.forward(seconds=1)
    found = await platform.service.directory.find(SHOP)
    assert found is not None
    assert found.status is status


async def test_made_up_names_take_no_memory(platform: Platform) -> None:
    for number in range(50):
        assert await platform.service.directory.find(TenantId(f"made-up-{number}")) is None
    remembered: dict[str, object] = platform.service.directory._remembered  # type: ignore[attr-defined]  # inside
    assert set(remembered) <= {"default"}


def test_the_snapshot_is_what_the_migrations_make(tmp_path: Path) -> None:
    schema = Schema("users", "mercato.users.migrations")
    assert migrated_snapshot(tmp_path / "scratch.db", schema) == schema.snapshot()
