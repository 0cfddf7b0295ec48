"""The care of accounts: who makes, changes, lists and deletes whom."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from mercato.kernel.ids import UserId, uuid7
from mercato.kernel.principal import Principal, Role
from mercato.kernel.tenancy import TenantId
from tests.asgi_client import Answer
from tests.behaviour.users_platform import Platform, bearer, person, start
from tests.conftest import OpenDatabase

USERS = "/api/v1/users"


@pytest.fixture
async def platform(open_database: OpenDatabase, tmp_path: Path) -> Platform:
    return await start(await open_database("users"), tmp_path)


class Shop:
    """A store, its admin and one customer, and those who call it."""

    def __init__(self, platform: Platform, opened: Any, ada: Any) -> None:
        self.platform = platform
        self.boss, self.admin = opened["user"], opened["token"]
        self.ada, self.customer = ada["user"], ada["token"]

    async def call(self, method: str, path: str, body: object = None, **options: Any) -> Answer:
        headers = bearer(options.get("token", self.admin), options.get("tenant"))
        headers |= options.get("headers", {})
        return await self.platform.send(method, path, body, headers=headers)

    async def create(self, email: str, **changed: Any) -> Answer:
        token, tenant = changed.pop("token", self.admin), changed.pop("tenant", None)
        return await self.call("POST", USERS, person(email, **changed), token=token, tenant=tenant)

    async def change(self, user: Any, token: str | None = None, **changes: object) -> Answer:
        return await self.call("PUT", f"{USERS}/{user['id']}", changes, token=token or self.admin)

    async def machine(self, *scopes: str) -> str:
        """Return a machine's token."""
        machine = Principal(UserId(uuid7()), "", Role.SERVICE, TenantId("shop"), frozenset(scopes))
        issuer = self.platform.service.tokens
        return await issuer.issue(machine, token_id=uuid7(), at=self.platform.clock())


@pytest.fixture
async def shop(platform: Platform) -> Shop:
    opened = await platform.onboard("shop")
    return Shop(platform, opened, await platform.register(tenant="shop"))


async def test_an_admin_makes_customers_and_admins_of_their_store(shop: Shop) -> None:
    for email, extra, role in (
        ("one@example.com", {}, "customer"),
        ("two@example.com", {"role": "customer", "is_active": False}, "customer"),
        ("three@example.com", {"role": "admin"}, "admin"),
    ):
        answer = await shop.create(email, **extra)
        assert answer.status == 201, answer.body
        made = answer.json["data"]
        assert (made["tenant_id"], made["role"]) == ("shop", role)
        assert made["is_active"] is extra.get("is_active", True)
        assert made["email_verified"] is False
        status = (await shop.platform.login(email, tenant="shop")).status
        assert status == (200 if made["is_active"] else 403)
    assert (await shop.platform.events()).count("user.created") == 5


@pytest.mark.parametrize(
    "changed",
    [
        {"role": "service"},
        {"role": "root"},
        {"role": None},
        {"id": "x"},
        {"tenant_id": "default"},
        {"email_verified": True},
        {"version": 9},
        {"is_active": "yes"},
    ],
)
async def test_what_nobody_may_write_is_refused_by_name(shop: Shop, changed: dict[str, Any]) -> None:
    made = await shop.create("new@example.com", **changed)
    put = await shop.change(shop.ada, **{"first_name": "New"} | changed)
    for answer in (made, put):
        if answer is put and changed == {"role": None}:
            assert answer.json["data"]["role"] == "customer"
            continue
        assert (answer.status, answer.code) == (400, "VALIDATION_ERROR")
        assert [each["field"] for each in answer.json["error"]["details"]] == list(changed)


async def test_no_admin_makes_an_operator_and_operators_live_in_one_store(
    platform: Platform, shop: Shop
) -> None:
    assert (await shop.create("op@example.com", role="operator")).status == 403
    assert (await shop.change(shop.ada, role="operator")).status == 403
    operator = await platform.operator()
    elsewhere = await shop.create("op@example.com", role="operator", token=operator, tenant="shop")
    assert [each["field"] for each in elsewhere.json["error"]["details"]] == ["role"]
    at_home = await shop.create("op@example.com", role="operator", token=operator)
    assert (at_home.status, at_home.json["data"]["tenant_id"]) == (201, "default")


async def test_no_admin_of_the_default_store_gets_at_an_operator(platform: Platform, shop: Shop) -> None:
    operator = await platform.operator()
    olga = (await shop.call("GET", f"{USERS}/me", token=operator)).json["data"]
    await shop.create("low@example.com", role="admin", token=operator)
    admin = (await platform.login("low@example.com")).json["data"]["token"]
    path = f"{USERS}/{olga['id']}"
    for method, body in (("GET", None), ("PUT", {"email": "mine@example.com"}), ("DELETE", None)):
        assert (await shop.call(method, path, body, token=admin)).status == 404
    for query in ("", "?role=operator", "?search=Olga", "?search=root&role=operator", "?active=true"):
        listed = (await shop.call("GET", USERS + query, token=admin)).json
        assert olga["id"] not in {each["id"] for each in listed["data"]}
        assert listed["meta"]["total_count"] == len(listed["data"])
    seen = (await shop.call("GET", f"{USERS}?search=olga", token=operator)).json["data"]
    assert [each["id"] for each in seen] == [olga["id"]]
    assert (await shop.call("PUT", path, {"last_name": "O"}, token=operator)).status == 200


async def test_a_keyed_creation_makes_one_user(shop: Shop) -> None:
    answers = [
        await shop.call("POST", USERS, person("new@example.com"), headers={"Idempotency-Key": "k"})
        for _ in range(2)
    ]
    assert [each.status for each in answers] == [201, 201]
    assert answers[0].body == answers[1].body
    assert answers[1].headers["idempotent-replayed"] == "true"


async def test_everybody_changes_their_own_names_and_email(shop: Shop) -> None:
    answer = await shop.change(shop.ada, shop.customer, first_name="Augusta", email="king@example.com")
    assert answer.status == 200
    changed = answer.json["data"]
    assert changed == shop.ada | {
        "first_name": "Augusta",
        "full_name": "Augusta Lovelace",
        "email": "king@example.com",
        "version": 2,
    }
    assert answer.headers["etag"] == '"2"'
    assert (await shop.platform.login("ada@example.com", tenant="shop")).status == 401
    assert (await shop.platform.login("KING@example.com", tenant="shop")).status == 200
    assert (await shop.platform.events()).count("user.updated") == 1


async def test_what_is_so_already_changes_nothing(shop: Shop) -> None:
    answer = await shop.change(shop.ada, shop.customer, first_name="Ada", role="customer", is_active=True)
    assert answer.json["data"] == shop.ada
    assert "user.updated" not in await shop.platform.events()


async def test_a_change_must_name_a_field(shop: Shop) -> None:
    answer = await shop.change(shop.ada)
    assert (answer.status, answer.code) == (400, "VALIDATION_ERROR")


async def test_nobody_changes_their_own_role_or_standing(platform: Platform, shop: Shop) -> None:
    operator = await platform.operator()
    olga = (await shop.call("GET", f"{USERS}/me", token=operator)).json["data"]
    for user, token in ((shop.ada, shop.customer), (shop.boss, shop.admin), (olga, operator)):
        for changes in ({"role": "customer", "is_active": False}, {"is_active": False}, {"role": "admin"}):
            if changes == {"role": user["role"]}:
                continue
            answer = await shop.change(user, token, **changes)
            assert (answer.status, answer.code) == (403, "FORBIDDEN")
        found = await shop.call("GET", f"{USERS}/{user['id']}", token=token)
        assert found.json["data"] == user


@pytest.mark.parametrize("text", ["a\r\nBcc: all@example.com", "a\nb", "", " ", "a\u2028b", "x" * 101])
async def test_a_hostile_name_is_refused_wherever_it_is_written(shop: Shop, text: str) -> None:
    for answer in (
        await shop.create("new@example.com", first_name=text),
        await shop.change(shop.ada, first_name=text),
    ):
        assert (answer.status, answer.code) == (400, "VALIDATION_ERROR")
        assert [each["field"] for each in answer.json["error"]["details"]] == ["first_name"]


@pytest.mark.parametrize("email", ["a@b\r\nBcc: c@d", "a,b@c", "<a@b>", "nobody", "a@b\n", ""])
async def test_a_hostile_email_is_refused_wherever_it_is_written(shop: Shop, email: str) -> None:
    for answer in (await shop.create(email), await shop.change(shop.ada, email=email)):
        assert [each["field"] for each in answer.json["error"]["details"]] == ["email"]


async def test_a_stale_version_changes_and_deletes_nothing(shop: Shop) -> None:
    path = f"{USERS}/{shop.ada['id']}"
    stale, fresh = {"If-Match": '"7"'}, {"If-Match": '"1"'}
    for method, body in (("PUT", {"first_name": "B"}), ("DELETE", None)):
        answer = await shop.call(method, path, body, headers=stale)
        assert (answer.status, answer.code) == (412, "VERSION_MISMATCH")
    assert (await shop.call("PUT", path, {"first_name": "B"}, headers=fresh)).status == 200
    assert (await shop.call("DELETE", path, headers=fresh)).status == 412
    assert (await shop.call("DELETE", path, headers={"If-Match": '"2"'})).status == 204


async def test_of_twenty_writers_of_one_version_one_wins(shop: Shop) -> None:
    path = f"{USERS}/{shop.ada['id']}"
    answers = await asyncio.gather(
        *(shop.call("PUT", path, {"first_name": f"Name {n}"}, headers={"If-Match": '"1"'}) for n in range(20))
    )
    assert sorted(each.status for each in answers) == [200] + [412] * 19


async def test_of_twenty_who_want_one_email_one_gets_it(shop: Shop) -> None:
    users = [(await shop.create(f"u{n}@example.com")).json["data"] for n in range(20)]
    answers = await asyncio.gather(
        *(
            shop.change(user, email=email)
            for user, email in zip(users, ["one@example.com", "ONE@Example.com"] * 10, strict=True)
        )
    )
    assert sorted(each.status for each in answers) == [200] + [409] * 19
    assert {each.code for each in answers if each.status == 409} == {"DUPLICATE_EMAIL"}


async def test_deleting_a_user_ends_everything_at_once(shop: Shop) -> None:
    path = f"{USERS}/{shop.ada['id']}"
    assert (await shop.call("DELETE", path, token=shop.customer)).status == 204
    assert (await shop.call("GET", f"{USERS}/me", token=shop.customer)).status == 401
    for method, body in (("GET", None), ("PUT", {"first_name": "B"}), ("DELETE", None)):
        assert (await shop.call(method, path, body)).status == 404
    assert (await shop.platform.login("ada@example.com", tenant="shop")).status == 401
    for query in ("", "?search=ada"):
        listed = (await shop.call("GET", USERS + query)).json
        assert [each["id"] for each in listed["data"]] == [shop.boss["id"]]
        assert listed["meta"]["total_count"] == 1
    again = await shop.platform.register(tenant="shop")
    assert again["user"]["id"] != shop.ada["id"]
    assert (await shop.platform.events())[-2:] == ["user.deleted", "user.created"]
    row = await shop.platform.db.fetch_one("SELECT password_hash FROM users WHERE id = ?", (shop.ada["id"],))
    assert row == ("",)


async def test_of_twenty_deletions_one_finds_somebody(shop: Shop) -> None:
    answers = await asyncio.gather(*(shop.call("DELETE", f"{USERS}/{shop.ada['id']}") for _ in range(20)))
    assert sorted(each.status for each in answers) == [204] + [404] * 19
    assert (await shop.platform.events()).count("user.deleted") == 1


async def test_a_store_keeps_its_last_active_admin(platform: Platform, shop: Shop) -> None:
    operator = await platform.operator()
    await shop.create("idle@example.com", role="admin", is_active=False)
    path = f"{USERS}/{shop.boss['id']}"
    for method, body in (("PUT", {"role": "customer"}), ("PUT", {"is_active": False}), ("DELETE", None)):
        answer = await shop.call(method, path, body, token=operator, tenant="shop")
        assert (answer.status, answer.code) == (409, "CONFLICT")
    assert (await shop.call("DELETE", path)).status == 409
    await shop.create("second@example.com", role="admin")
    assert (await shop.call("DELETE", path)).status == 204


async def test_of_twenty_admins_who_leave_at_once_one_stays(shop: Shop) -> None:
    tokens = {shop.boss["id"]: shop.admin}
    for n in range(19):
        made = (await shop.create(f"boss{n}@example.com", role="admin")).json["data"]
        signed_in = await shop.platform.login(f"boss{n}@example.com", tenant="shop")
        tokens[made["id"]] = signed_in.json["data"]["token"]
    answers = await asyncio.gather(
        *(shop.call("DELETE", f"{USERS}/{user}", token=token) for user, token in tokens.items())
    )
    assert sorted(each.status for each in answers) == [204] * 19 + [409]
    row = await shop.platform.db.fetch_one(
        "SELECT users FROM user_counts WHERE tenant_id = 'shop' AND role = 'admin' AND is_active = 1"
    )
    assert row == (1,)


async def test_another_stores_staff_sees_nobody(platform: Platform, shop: Shop) -> None:
    other = await platform.onboard("other")
    path = f"{USERS}/{shop.ada['id']}"
    for method, body in (("GET", None), ("PUT", {"first_name": "B"}), ("DELETE", None)):
        answer = await shop.call(method, path, body, token=other["token"], tenant="shop")
        assert answer.status == 404
    listed = await shop.call("GET", USERS, token=other["token"], tenant="shop")
    assert [each["tenant_id"] for each in listed.json["data"]] == ["other"]


async def test_customers_neither_list_nor_make_users(shop: Shop) -> None:
    assert (await shop.call("GET", USERS, token=shop.customer)).status == 403
    assert (await shop.create("x@example.com", token=shop.customer)).status == 403
    for method, body in (("PUT", {"first_name": "B"}), ("DELETE", None)):
        for target in (shop.boss["id"], uuid7(), "x"):
            answer = await shop.call(method, f"{USERS}/{target}", body, token=shop.customer)
            assert answer.status == 404


async def test_a_machine_cares_for_customers_alone(shop: Shop) -> None:
    machine = await shop.machine("users:read", "users:write")
    assert (await shop.create("new@example.com", token=machine)).status == 201
    assert (await shop.create("boss2@example.com", role="admin", token=machine)).status == 403
    assert (await shop.change(shop.ada, machine, first_name="B")).status == 200
    assert (await shop.change(shop.ada, machine, role="admin")).status == 403
    assert (await shop.change(shop.boss, machine, email="mine@example.com")).status == 403
    assert (await shop.call("DELETE", f"{USERS}/{shop.boss['id']}", token=machine)).status == 403
    assert (await shop.call("GET", USERS, token=machine)).status == 200
    reader = await shop.machine("users:read")
    assert (await shop.create("no@example.com", token=reader)).status == 403


async def test_counts_stay_true_whatever_happens(shop: Shop) -> None:
    users = [(await shop.create(f"u{n}@example.com", is_active=n % 2 == 0)).json["data"] for n in range(6)]
    await shop.change(users[0], role="admin")
    await shop.change(users[1], is_active=True, role="admin")
    await shop.change(users[0], is_active=False)
    await shop.call("DELETE", f"{USERS}/{users[2]['id']}")
    await shop.change(users[3], email="ada@example.com")
    for role in ("", "&role=admin", "&role=customer"):
        for active in ("", "&active=true", "&active=false"):
            for search in ("", "&search=lovelace"):
                listed = (await shop.call("GET", f"{USERS}?limit=100{role}{active}{search}")).json
                assert listed["meta"]["total_count"] == len(listed["data"])
                for each in listed["data"]:
                    assert role in ("", f"&role={each['role']}")
                    assert active in ("", f"&active={str(each['is_active']).lower()}")
