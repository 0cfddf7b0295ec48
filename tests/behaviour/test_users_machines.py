"""Machines: their logins, their tokens, and what they may do."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from mercato.kernel.ids import uuid7
from mercato.kernel.tenancy import Tier
from mercato.users import machines
from tests.asgi_client import Answer
from tests.behaviour.users_platform import Platform, bearer, start, store
from tests.conftest import OpenDatabase

CLIENTS, TOKEN = "/api/v1/api-clients", "/api/v1/auth/token"
READS = {"name": "Warehouse", "scopes": ["users:read"]}


@pytest.fixture
async def platform(open_database: OpenDatabase, tmp_path: Path) -> Platform:
    return await start(await open_database("users"), tmp_path, default_tier=Tier.BASIC)


@pytest.fixture
async def admin(platform: Platform) -> dict[str, str]:
    return bearer((await platform.onboard("shop"))["token"])


async def create(platform: Platform, headers: dict[str, str], **changed: object) -> Any:
    made = await platform.send("POST", CLIENTS, READS | changed, headers=headers)
    assert made.status == 201, made.body
    return made.json["data"]


async def sign_in(platform: Platform, client: Any, **changed: object) -> Answer:
    login = {"client_id": client["client_id"], "client_secret": client["client_secret"]}
    return await platform.send("POST", TOKEN, login | changed)


async def token(platform: Platform, client: Any, **changed: object) -> dict[str, str]:
    answer = await sign_in(platform, client, **changed)
    assert answer.status == 200, answer.body
    return bearer(answer.json["data"]["access_token"])


async def test_a_machine_gets_a_login_whose_secret_is_told_once(
    platform: Platform, admin: dict[str, str]
) -> None:
    made = await platform.send("POST", CLIENTS, READS, headers=admin)
    assert (made.status, made.headers["cache-control"]) == (201, "no-store")
    client = made.json["data"]
    assert client["client_id"] == f"shop.{client['id']}"
    assert (client["tenant_id"], client["scopes"], client["expires_at"]) == ("shop", ["users:read"], None)
    assert len(client["client_secret"]) == 43
    shown = await platform.send("GET", f"{CLIENTS}/{client['id']}", headers=admin)
    assert client == shown.json["data"] | {"client_secret": client["client_secret"]}
    listed = await platform.send("GET", CLIENTS, headers=admin)
    assert listed.json["data"] == [shown.json["data"]]
    row = await platform.db.fetch_one("SELECT * FROM api_clients")
    assert row is not None
    assert not any(client["client_secret"].encode() in str(each).encode() for each in row)


async def test_a_login_gives_a_token_with_its_scopes(platform: Platform, admin: dict[str, str]) -> None:
    client = await create(platform, admin, scopes=["users:write", "users:read", "users:read"])
    answer = await sign_in(platform, client, grant_type="client_credentials")
    assert (answer.status, answer.headers["cache-control"]) == (200, "no-store")
    data = answer.json["data"]
    assert data["access_token"] == data["token"]
    assert (data["token_type"], data["expires_in"], data["scope"]) == (
        "Bearer",
        900,
        "users:read users:write",
    )
    principal = await platform.service.verifier.authenticate(data["token"])
    assert (principal.role, principal.user_id, principal.tenant) == ("service", client["id"], "shop")
    assert principal.scopes == {"users:read", "users:write"}
    fewer = (await sign_in(platform, client, scope="users:read")).json["data"]
    assert fewer["scope"] == "users:read"
    assert (await platform.service.verifier.authenticate(fewer["token"])).scopes == {"users:read"}


async def test_only_admins_and_operators_make_logins(platform: Platform, admin: dict[str, str]) -> None:
    customer = bearer((await platform.register(tenant="shop"))["token"])
    client = await create(platform, admin, scopes=["users:read", "users:write"])
    machine = await token(platform, client)
    one = f"{CLIENTS}/{client['id']}"
    for headers in (customer, machine):
        for method, path in (("POST", CLIENTS), ("GET", CLIENTS), ("GET", one), ("DELETE", one)):
            answer = await platform.send(method, path, READS if method == "POST" else None, headers=headers)
            assert (answer.status, answer.code) == (403, "FORBIDDEN")
    assert (await platform.send("POST", CLIENTS, READS)).status == 401


async def test_a_login_belongs_to_its_store(platform: Platform, admin: dict[str, str]) -> None:
    other = bearer((await platform.onboard("other"))["token"], "shop")
    client = await create(platform, admin)
    one = f"{CLIENTS}/{client['id']}"
    for method in ("GET", "DELETE"):
        assert (await platform.send(method, one, headers=other)).status == 404
        for text in (uuid7(), "nonsense", "%00", client["client_id"]):
            assert (await platform.send(method, f"{CLIENTS}/{text}", headers=admin)).status == 404
    assert (await platform.send("GET", CLIENTS, headers=other)).json["data"] == []
    assert (await sign_in(platform, client)).status == 200


async def test_a_machine_of_a_store_acts_in_no_other(platform: Platform, admin: dict[str, str]) -> None:
    await platform.onboard("other")
    client = await create(platform, admin)
    machine = (await sign_in(platform, client)).json["data"]["token"]
    for named in (None, "shop", "other", "default", "nowhere", "NO SLUG"):
        answer = await platform.send("GET", "/api/v1/users", headers=bearer(machine, named))
        assert answer.status == 200
        assert {each["tenant_id"] for each in answer.json["data"]} == {"shop"}


async def test_only_an_operator_lets_a_machine_act_in_any_store(
    platform: Platform, admin: dict[str, str]
) -> None:
    everywhere = READS | {"scopes": ["users:read", "stores:any"]}
    refused = await platform.send("POST", CLIENTS, everywhere, headers=admin)
    assert (refused.status, refused.code) == (403, "FORBIDDEN")
    operator = bearer(await platform.operator())
    client = await create(platform, operator, **everywhere)
    assert client["tenant_id"] == "default"
    machine = (await sign_in(platform, client)).json["data"]["token"]
    answer = await platform.send("GET", "/api/v1/users", headers=bearer(machine, "shop"))
    assert {each["tenant_id"] for each in answer.json["data"]} == {"shop"}
    assert (await platform.send("GET", "/api/v1/users", headers=bearer(machine, "nowhere"))).status == 404
    # A token that asked for less may do less.
    await platform.register()
    less = (await sign_in(platform, client, scope="users:read")).json["data"]["token"]
    answer = await platform.send("GET", "/api/v1/users", headers=bearer(less, "shop"))
    assert {each["tenant_id"] for each in answer.json["data"]} == {"default"}


async def test_a_scope_that_is_missing_is_403_whatever_is_named(
    platform: Platform, admin: dict[str, str]
) -> None:
    client = await create(platform, admin, scopes=["orders:read"])
    machine = await token(platform, client)
    for path in ("/api/v1/users", f"/api/v1/users/{uuid7()}", "/api/v1/users/nonsense"):
        answer = await platform.send("GET", path, headers=machine)
        assert (answer.status, answer.code) == (403, "FORBIDDEN")
    reader = await token(platform, await create(platform, admin))
    body = {"first_name": "X"}
    answer = await platform.send("PUT", f"/api/v1/users/{uuid7()}", body, headers=reader)
    assert (answer.status, answer.code) == (403, "FORBIDDEN")


async def test_a_machine_has_no_account_and_opens_no_store(platform: Platform, admin: dict[str, str]) -> None:
    machine = await token(platform, await create(platform, admin))
    assert (await platform.send("GET", "/api/v1/users/me", headers=machine)).status in {403, 404}
    assert (await platform.send("POST", "/api/v1/tenants", store("third"), headers=machine)).status == 403
    assert (await platform.send("GET", "/api/v1/tenants", headers=machine)).status == 403


async def test_a_wrong_pair_is_401_whatever_is_wrong(platform: Platform, admin: dict[str, str]) -> None:
    client = await create(platform, admin)
    other = await create(platform, admin)
    bodies = set()
    for changed in (
        {"client_secret": ""},
        {"client_secret": other["client_secret"]},
        {"client_secret": client["client_secret"] + "="},
        {"client_secret": "ü\u0001"},
        {"client_id": f"shop.{uuid7()}"},
        {"client_id": f"default.{client['id']}"},
        {"client_id": client["id"]},
        {"client_id": ""},
        {"client_id": "../..%00"},
    ):
        answer = await sign_in(platform, client, **changed)
        assert (answer.status, answer.code) == (401, "UNAUTHORIZED")
        bodies.add(answer.json["error"]["message"])
    assert len(bodies) == 1


async def test_ten_wrong_secrets_lock_a_login_for_a_while(platform: Platform, admin: dict[str, str]) -> None:
    client, other = await create(platform, admin), await create(platform, admin)
    tried = await asyncio.gather(*(sign_in(platform, client, client_secret="no") for _ in range(20)))
    assert sorted(each.status for each in tried) == [401] * 10 + [429] * 10
    locked = await sign_in(platform, client)
    assert (locked.status, locked.code) == (429, "RATE_LIMIT_EXCEEDED")
    assert int(locked.headers["retry-after"]) > 0
    assert (await sign_in(platform, other)).status == 200
    platform.clock.forward(minutes=16)
    assert (await sign_in(platform, client)).status == 200


@pytest.mark.parametrize(
    "changed, named",
    [
        ({"grant_type": "password"}, "grant_type"),
        ({"scope": "users:write"}, "scope"),
        ({"scope": "users:read users:write"}, "scope"),
        ({"scope": " "}, "scope"),
        ({"client_secret": "x" * 129}, "client_secret"),
        ({"tenant_id": "other"}, "tenant_id"),
    ],
)
async def test_what_a_token_cannot_be_had_for_is_named(
    platform: Platform, admin: dict[str, str], changed: dict[str, object], named: str
) -> None:
    refused = await sign_in(platform, await create(platform, admin), **changed)
    assert (refused.status, refused.code) == (400, "VALIDATION_ERROR")
    assert [each["field"] for each in refused.json["error"]["details"]] == [named]


@pytest.mark.parametrize(
    "changed, named",
    [
        ({"name": ""}, "name"),
        ({"name": "a\r\nb"}, "name"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["users:read", "everything"]}, "scopes[1]"),
        ({"scopes": ["users:read"] * 50}, "scopes"),
        ({"expires_at": "2026-01-01T12:00:00Z"}, "expires_at"),
        ({"expires_at": "2027-01-01T12:00:00"}, "expires_at"),
        ({"client_secret": "mine"}, "client_secret"),
        ({"tenant_id": "other"}, "tenant_id"),
    ],
)
async def test_bad_fields_of_a_login_are_named(
    platform: Platform, admin: dict[str, str], changed: dict[str, object], named: str
) -> None:
    refused = await platform.send("POST", CLIENTS, READS | changed, headers=admin)
    assert (refused.status, refused.code) == (400, "VALIDATION_ERROR")
    assert [each["field"] for each in refused.json["error"]["details"]] == [named]


async def test_a_deleted_login_and_its_tokens_end_at_once(
    platform: Platform, admin: dict[str, str], open_database: OpenDatabase, tmp_path: Path
) -> None:
    client, other = await create(platform, admin), await create(platform, admin)
    machine, neighbour = await token(platform, client), await token(platform, other)
    users = "/api/v1/users"
    assert (await platform.send("GET", users, headers=machine)).status == 200
    one = f"{CLIENTS}/{client['id']}"
    stale = await platform.send("DELETE", one, headers=admin | {"If-Match": '"7"'})
    assert stale.code == "VERSION_MISMATCH"
    gone = await platform.send("DELETE", one, headers=admin)
    assert (gone.status, gone.body) == (204, b"")
    assert (await platform.send("GET", users, headers=machine)).status == 401
    assert (await sign_in(platform, client)).status == 401
    assert (await platform.send("GET", users, headers=neighbour)).status == 200
    for method in ("GET", "DELETE"):
        assert (await platform.send(method, one, headers=admin)).status == 404
    restarted = await start(await open_database("users"), tmp_path)
    assert (await restarted.send("GET", users, headers=machine)).status == 401
    assert (await restarted.send("GET", users, headers=neighbour)).status == 200


async def test_a_token_does_not_outlive_its_login(platform: Platform, admin: dict[str, str]) -> None:
    until = platform.clock() + timedelta(minutes=5)
    client = await create(platform, admin, expires_at=until.isoformat())
    answer = (await sign_in(platform, client)).json["data"]
    assert answer["expires_in"] == 300
    platform.clock.forward(minutes=5)
    assert (await sign_in(platform, client)).status == 401
    platform.clock.forward(seconds=31)
    assert (await platform.send("GET", "/api/v1/users", headers=bearer(answer["token"]))).status == 401


async def test_a_repeated_call_gets_the_same_login_with_a_fresh_secret(
    platform: Platform, admin: dict[str, str]
) -> None:
    keyed = admin | {"Idempotency-Key": "k"}
    first = await platform.send("POST", CLIENTS, READS, headers=keyed)
    again = await platform.send("POST", CLIENTS, READS, headers=keyed)
    assert (again.status, again.headers["idempotent-replayed"]) == (201, "true")
    one, other = first.json["data"], again.json["data"]
    assert one["id"] == other["id"]
    assert await platform.count("api_clients") == 1
    assert (await sign_in(platform, one)).status == 401
    assert (await sign_in(platform, other)).status == 200
    claims = await platform.db.fetch_all("SELECT answer FROM claims")
    assert not any(one["client_secret"].encode() in (answer or b"") for (answer,) in claims)
    await platform.send("DELETE", f"{CLIENTS}/{one['id']}", headers=admin)
    assert (await platform.send("POST", CLIENTS, READS, headers=keyed)).status == 404


async def test_a_suspended_or_closed_store_gives_its_machines_no_tokens(
    platform: Platform, admin: dict[str, str]
) -> None:
    client, operator = await create(platform, admin), bearer(await platform.operator())
    machine, shop = await token(platform, client), "/api/v1/tenants/shop"
    await platform.send("PATCH", shop, {"status": "suspended"}, headers=operator)
    assert (await platform.send("GET", "/api/v1/users", headers=machine)).status == 403
    assert (await sign_in(platform, client)).status == 403
    assert (await sign_in(platform, client, client_secret="wrong")).status == 401
    await platform.send("DELETE", shop, headers=operator)
    assert (await platform.send("GET", "/api/v1/users", headers=machine)).status == 401
    assert (await sign_in(platform, client)).status == 401


async def test_a_store_has_only_so_many_logins(
    platform: Platform, admin: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mercato.users.stores.sql_machines.MAX_API_CLIENTS", 3)
    made = await asyncio.gather(*(platform.send("POST", CLIENTS, READS, headers=admin) for _ in range(20)))
    assert sorted(each.status for each in made) == [201] * 3 + [409] * 17
    assert await platform.count("api_clients") == 3
    other = bearer((await platform.onboard("other"))["token"])
    await create(platform, other)


async def test_logins_are_listed_newest_first(platform: Platform, admin: dict[str, str]) -> None:
    made = [(await create(platform, admin, name=f"M{n}"))["id"] for n in range(5)]
    first = await platform.send("GET", f"{CLIENTS}?limit=3", headers=admin)
    assert [each["id"] for each in first.json["data"]] == made[:1:-1]
    cursor = first.json["meta"]["next_cursor"]
    rest = await platform.send("GET", f"{CLIENTS}?limit=3&after={cursor}", headers=admin)
    assert [each["id"] for each in rest.json["data"]] == made[1::-1]


def test_a_client_id_names_a_store_and_a_machine() -> None:
    machine = uuid7()
    assert machines.read_client_id(f"tea-house.{machine}") == ("tea-house", machine)
    for text in ("", ".", machine, f"Tea.{machine}", f"a.b.{machine}", f"tea.{machine}\n", "tea.x"):
        assert machines.read_client_id(text) is None
