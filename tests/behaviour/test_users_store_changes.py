"""What operators do with stores, and what it means to those who are in them."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from mercato.contracts.stores import Store
from mercato.kernel.tenancy import DEFAULT_TENANT, StoreStatus, TenantId, Tier
from mercato.users.domain import RESERVED_IDS, Tenant
from mercato.users.service.directory import CachedDirectory
from tests.asgi_client import Answer
from tests.behaviour.users_platform import Platform, bearer, start, store
from tests.clock import FakeClock
from tests.conftest import OpenDatabase

TENANTS = "/api/v1/tenants"
SHOP = f"{TENANTS}/shop"


@pytest.fixture
async def platform(open_database: OpenDatabase, tmp_path: Path) -> Platform:
    return await start(await open_database("users"), tmp_path, default_tier=Tier.BASIC)


@pytest.fixture
async def operator(platform: Platform) -> dict[str, str]:
    return bearer(await platform.operator())


async def change(platform: Platform, operator: dict[str, str], **fields: object) -> Answer:
    return await platform.send("PATCH", SHOP, fields, headers=operator)


async def test_an_operator_changes_name_tier_and_status(platform: Platform, operator: dict[str, str]) -> None:
    opened = (await platform.onboard("shop"))["tenant"]
    platform.clock.forward(minutes=1)
    changed = await change(platform, operator, name="Emporium", tier="premium", status="suspended")
    assert (changed.status, changed.headers["etag"]) == (200, '"2"')
    assert changed.json["data"] == opened | {
        "name": "Emporium",
        "tier": "premium",
        "status": "suspended",
        "updated_at": "2026-01-01T12:01:00Z",
        "version": 2,
    }
    assert (await platform.send("GET", SHOP, headers=operator)).json == changed.json
    assert (await platform.events())[-1] == "tenant.updated"


async def test_a_change_to_what_is_so_already_is_none(platform: Platform, operator: dict[str, str]) -> None:
    await platform.onboard("shop")
    before = await platform.events()
    same = await change(platform, operator, name="Shop", tier="basic", status="active")
    assert (same.status, same.json["data"]["version"]) == (200, 1)
    assert await platform.events() == before


async def test_nobody_but_an_operator_changes_lists_or_closes_stores(platform: Platform) -> None:
    shop = await platform.onboard("shop")
    customer = await platform.register(tenant="shop")
    for token in (shop["token"], customer["token"]):
        for method, path in (("PATCH", SHOP), ("DELETE", SHOP), ("GET", TENANTS), ("DELETE", f"{TENANTS}/x")):
            answer = await platform.send(method, path, headers=bearer(token))
            assert (answer.status, answer.code) == (403, "FORBIDDEN")


@pytest.mark.parametrize(
    "fields, named",
    [
        ({}, "body"),
        ({"name": " "}, "name"),
        ({"name": "a\r\nb"}, "name"),
        ({"tier": "gold"}, "tier"),
        ({"status": "offboarded"}, "status"),
        ({"id": "other"}, "id"),
        ({"currency": "EUR"}, "currency"),
        ({"version": 7}, "version"),
    ],
)
async def test_what_cannot_be_changed_is_named(
    platform: Platform, operator: dict[str, str], fields: dict[str, object], named: str
) -> None:
    await platform.onboard("shop")
    refused = await change(platform, operator, **fields)
    assert (refused.status, refused.code) == (400, "VALIDATION_ERROR")
    assert [each["field"] for each in refused.json["error"]["details"]] == [named]


async def test_of_twenty_changes_to_one_version_one_is_made(
    platform: Platform, operator: dict[str, str]
) -> None:
    await platform.onboard("shop")
    answers = await asyncio.gather(
        *(
            platform.send("PATCH", SHOP, {"name": f"N{n}"}, headers=operator | {"If-Match": '"1"'})
            for n in range(20)
        )
    )
    assert sorted(each.status for each in answers) == [200] + [412] * 19
    assert {each.code for each in answers if each.status == 412} == {"VERSION_MISMATCH"}
    stale = await platform.send("DELETE", SHOP, headers=operator | {"If-Match": '"1"'})
    assert stale.code == "VERSION_MISMATCH"
    assert (await platform.send("DELETE", SHOP, headers=operator | {"If-Match": '"2"'})).status == 200


async def test_what_is_no_store_is_not_there(platform: Platform, operator: dict[str, str]) -> None:
    for tenant in ("nowhere", "NO SLUG", "shop%0a", "x" * 64):
        for method in ("PATCH", "DELETE"):
            body = {"name": "x"} if method == "PATCH" else None
            answer = await platform.send(method, f"{TENANTS}/{tenant}", body, headers=operator)
            assert (answer.status, answer.code) == (404, "NOT_FOUND")


async def test_a_suspended_store_lets_nobody_in_until_it_is_active_again(
    platform: Platform, operator: dict[str, str]
) -> None:
    shop, other = await platform.onboard("shop"), await platform.onboard("other")
    customer = await platform.register(tenant="shop")
    inside = [bearer(shop["token"]), bearer(customer["token"])]
    me = "/api/v1/users/me"
    assert {(await platform.send("GET", me, headers=each)).status for each in inside} == {200}

    await change(platform, operator, status="suspended")
    for each in inside:
        refused = await platform.send("GET", me, headers=each)
        assert (refused.status, refused.code) == (403, "FORBIDDEN")
    assert (await platform.login("boss@example.com", tenant="shop")).status == 403
    renewed = {"refresh_token": customer["refresh_token"]}
    named = {"X-Tenant-Id": "shop"}
    refresh = "/api/v1/users/token/refresh"
    assert (await platform.send("POST", refresh, renewed, headers=named)).status == 403
    # The operator works there, and the neighbours notice nothing.
    assert (await platform.send("GET", "/api/v1/users", headers=operator | named)).status == 200
    assert (await platform.send("GET", me, headers=bearer(other["token"]))).status == 200
    assert (await platform.login("boss@example.com", tenant="other")).status == 200

    await change(platform, operator, status="active")
    assert {(await platform.send("GET", me, headers=each)).status for each in inside} == {200}
    assert (await platform.send("POST", refresh, renewed, headers=named)).status == 200


async def test_a_closed_store_is_gone_for_all_but_operators(
    platform: Platform, operator: dict[str, str]
) -> None:
    shop = await platform.onboard("shop")
    customer = await platform.register(tenant="shop")
    assert (await platform.send("GET", "/api/v1/users/me", headers=bearer(shop["token"]))).status == 200
    closed = await platform.send("DELETE", SHOP, headers=operator)
    assert (closed.status, closed.json["data"]["status"]) == (200, "offboarded")
    for token in (shop["token"], customer["token"]):
        assert (await platform.send("GET", "/api/v1/users/me", headers=bearer(token))).code == "UNAUTHORIZED"
    assert (await platform.login("boss@example.com", tenant="shop")).status == 404
    renewed = {"refresh_token": customer["refresh_token"]}
    answer = await platform.send(
        "POST", "/api/v1/users/token/refresh", renewed, headers={"X-Tenant-Id": "shop"}
    )
    assert answer.status == 404
    assert (await platform.send("GET", SHOP, headers=operator)).json["data"]["status"] == "offboarded"
    assert (await platform.events())[-1] == "tenant.offboarded"
    # Its id is not free, and closing it again changes nothing.
    assert (await platform.send("POST", TENANTS, store("shop"))).code == "CONFLICT"
    events = await platform.events()
    again = await platform.send("DELETE", SHOP, headers=operator)
    assert (again.status, again.json) == (200, closed.json)
    assert await platform.events() == events


@pytest.mark.parametrize("fields", [{"status": "active"}, {"status": "suspended"}, {"name": "N"}])
async def test_a_closed_store_stays_closed(
    platform: Platform, operator: dict[str, str], fields: dict[str, Any]
) -> None:
    await platform.onboard("shop")
    await platform.send("DELETE", SHOP, headers=operator)
    refused = await change(platform, operator, **fields)
    assert (refused.status, refused.code) == (409, "INVALID_TRANSITION")


async def test_the_default_store_stays_open(platform: Platform, operator: dict[str, str]) -> None:
    default = f"{TENANTS}/default"
    for method, body in (("PATCH", {"status": "suspended"}), ("DELETE", None)):
        refused = await platform.send(method, default, body, headers=operator)
        assert (refused.status, refused.code) == (409, "CONFLICT")
    assert (await platform.send("PATCH", default, {"name": "Ours"}, headers=operator)).status == 200
    assert (await platform.login("root@example.com")).status == 200


async def test_of_closing_and_suspending_at_once_closing_wins(
    platform: Platform, operator: dict[str, str]
) -> None:
    await platform.onboard("shop")
    calls = [change(platform, operator, status=("suspended", "active")[n % 2]) for n in range(19)]
    await asyncio.gather(*calls, platform.send("DELETE", SHOP, headers=operator))
    assert (await platform.send("GET", SHOP, headers=operator)).json["data"]["status"] == "offboarded"


async def test_stores_are_listed_by_id_and_filtered(platform: Platform, operator: dict[str, str]) -> None:
    for tenant in ("c-shop", "a-shop", "b-shop"):
        await platform.onboard(tenant)
    await platform.send("PATCH", f"{TENANTS}/b-shop", {"status": "suspended"}, headers=operator)
    await platform.send("PATCH", f"{TENANTS}/c-shop", {"tier": "premium"}, headers=operator)

    async def listed(query: str) -> tuple[list[str], Any]:
        answer = await platform.send("GET", f"{TENANTS}?{query}", headers=operator)
        assert answer.status == 200, answer.body
        return [each["id"] for each in answer.json["data"]], answer.json["meta"]

    first, meta = await listed("limit=2")
    assert (first, meta["total_count"], meta["has_more"]) == (["a-shop", "b-shop"], 4, True)
    # A store that opens meanwhile moves nothing.
    await platform.onboard("aa-shop")
    rest, meta = await listed(f"limit=2&after={meta['next_cursor']}")
    assert (rest, meta["has_more"]) == (["c-shop", "default"], False)
    assert (await listed("status=suspended"))[0] == ["b-shop"]
    assert (await listed("tier=premium"))[0] == ["c-shop"]
    assert (await listed("tier=basic&status=active"))[0] == ["a-shop", "aa-shop"]
    assert (await listed("page=2&page_size=3"))[0] == ["c-shop", "default"]
    for query in ("status=open", "tier=gold", "after=%00", "after=QUJD", "name=x"):
        answer = await platform.send("GET", f"{TENANTS}?{query}", headers=operator)
        assert (answer.status, answer.code) == (400, "VALIDATION_ERROR")


@pytest.mark.parametrize("tenant", [*sorted(RESERVED_IDS), "xn--shop", "ab--cd"])
async def test_ids_that_would_be_hosts_of_the_platform_are_refused(platform: Platform, tenant: str) -> None:
    refused = await platform.send("POST", TENANTS, store(tenant))
    assert (refused.status, refused.code) == (400, "VALIDATION_ERROR")
    (detail,) = refused.json["error"]["details"]
    assert detail["field"] == "id"


class SlowTenants:
    """A TenantStore whose answer takes until it is told to come."""

    def __init__(self, tenant: Tenant) -> None:
        self.tenant = tenant
        self.asked, self.may_answer = asyncio.Event(), asyncio.Event()

    async def find(self, tenant: TenantId) -> Tenant:  # noqa: ARG002  it knows one
        found = self.tenant
        self.asked.set()
        await self.may_answer.wait()
        return found


async def test_what_was_read_before_a_change_is_not_remembered_after_it(platform: Platform) -> None:
    await platform.onboard("shop")
    shop = TenantId("shop")
    slow = SlowTenants(await platform.service.stores.store(shop))
    directory = CachedDirectory(slow, clock=FakeClock())  # type: ignore[arg-type]  # it is asked for one thing
    early = asyncio.create_task(directory.find(shop))
    await slow.asked.wait()
    slow.tenant = Tenant(
        id=shop,
        name="Shop",
        currency="USD",
        tier=Tier.BASIC,
        status=StoreStatus.SUSPENDED,
        created_at=platform.clock(),
        updated_at=platform.clock(),
    )
    directory.forget(shop)
    slow.may_answer.set()
    before, after = await early, await directory.find(shop)
    assert isinstance(before, Store)
    assert isinstance(after, Store)
    assert (before.status, after.status) == (StoreStatus.ACTIVE, StoreStatus.SUSPENDED)


async def test_a_change_by_another_process_is_seen_within_a_second(platform: Platform) -> None:
    shop = await platform.onboard("shop")
    me, headers = "/api/v1/users/me", bearer(shop["token"])
    assert (await platform.send("GET", me, headers=headers)).status == 200
    await platform.set("UPDATE tenants SET status = 'suspended' WHERE tenant_id = 'shop'")
    platform.clock.forward(seconds=1)
    assert (await platform.send("GET", me, headers=headers)).status == 403


async def test_the_default_store_is_the_one_without_a_name(platform: Platform) -> None:
    found = await platform.service.directory.find(DEFAULT_TENANT)
    assert found is not None
    assert found.status is StoreStatus.ACTIVE
