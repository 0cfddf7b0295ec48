"""Registering, signing in, and who sees whom."""

import asyncio
import hashlib
from pathlib import Path

import pytest

from mercato.kernel.ids import uuid7
from tests.asgi_client import Answer
from tests.behaviour.users_platform import PASSWORD, Platform, bearer, person, start
from tests.conftest import OpenDatabase

REGISTER = "/api/v1/users/register"


@pytest.fixture
async def platform(open_database: OpenDatabase, tmp_path: Path) -> Platform:
    return await start(await open_database("users"), tmp_path)


def key(text: str, **more: str) -> dict[str, str]:
    return {"Idempotency-Key": text} | more


async def test_whoever_registers_is_signed_in(platform: Platform) -> None:
    answer = await platform.send("POST", REGISTER, person())
    assert answer.status == 201
    assert answer.headers["cache-control"] == "no-store"
    data = answer.json["data"]
    assert data.keys() == {"token", "refresh_token", "expires_in", "user"}
    assert data["expires_in"] == 900
    user = data["user"]
    user_id = user.pop("id")
    assert user == {
        "tenant_id": "default",
        "email": "ada@example.com",
        "first_name": "Ada",
        "last_name": "Lovelace",
        "full_name": "Ada Lovelace",
        "role": "customer",
        "is_active": True,
        "email_verified": False,
        "created_at": "2026-01-01T12:00:00Z",
        "updated_at": "2026-01-01T12:00:00Z",
        "version": 1,
    }
    me = await platform.send("GET", "/api/v1/users/me", headers=bearer(data["token"]))
    assert me.json["data"] == {"id": user_id} | user
    assert await platform.events() == ["tenant.onboarded", "user.created"]


async def test_no_secret_is_stored(platform: Platform) -> None:
    answer = await platform.send("POST", REGISTER, person(), headers=key("k"))
    data = answer.json["data"]
    stored = b""
    for table in ("users", "refresh_tokens", "claims", "outbox"):
        for row in await platform.db.fetch_all(f"SELECT * FROM {table}"):
            stored += b"|".join(c if isinstance(c, bytes) else str(c).encode() for c in row)
    for secret in (PASSWORD, data["token"], data["refresh_token"]):
        assert secret.encode() not in stored
    assert hashlib.sha256(data["refresh_token"].encode()).digest() in stored


async def test_a_refresh_token_lives_thirty_days(platform: Platform) -> None:
    await platform.register()
    row = await platform.db.fetch_one("SELECT expires_at - created_at FROM refresh_tokens")
    assert row == (30 * 24 * 3600 * 1_000_000,)


async def test_of_twenty_with_one_email_one_registers(platform: Platform) -> None:
    answers = await asyncio.gather(
        *(platform.send("POST", REGISTER, person(e)) for e in ["ada@example.com", "ADA@Example.com"] * 10)
    )
    assert sorted(a.status for a in answers) == [201] + [409] * 19
    assert {a.code for a in answers if a.status == 409} == {"DUPLICATE_EMAIL"}
    assert await platform.count("users") == 1
    assert await platform.count("refresh_tokens") == 1
    assert (await platform.events()).count("user.created") == 1


async def test_twenty_retries_with_one_key_make_one_user(platform: Platform) -> None:
    async def until_answered() -> Answer:
        while True:
            answer = await platform.send("POST", REGISTER, person(), headers=key("k"))
            if answer.status != 409:
                return answer
            assert answer.code == "IDEMPOTENCY_KEY_IN_USE"
            await asyncio.sleep(0)

    answers = await asyncio.gather(*(until_answered() for _ in range(20)))
    assert {a.status for a in answers} == {201}
    assert len({a.json["data"]["user"]["id"] for a in answers}) == 1
    assert len({a.json["data"]["refresh_token"] for a in answers}) == 20
    assert await platform.count("users") == 1


async def test_a_repeated_registration_answers_with_fresh_tokens(platform: Platform) -> None:
    first = await platform.send("POST", REGISTER, person(), headers=key("k"))
    again = await platform.send("POST", REGISTER, person(), headers=key("k"))
    assert (first.status, again.status) == (201, 201)
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    one, other = first.json["data"], again.json["data"]
    assert one["user"] == other["user"]
    assert one["refresh_token"] != other["refresh_token"]
    me = await platform.send("GET", "/api/v1/users/me", headers=bearer(other["token"]))
    assert me.json["data"]["id"] == one["user"]["id"]


async def test_a_refused_registration_frees_its_key(platform: Platform) -> None:
    await platform.register()
    refused = await platform.send("POST", REGISTER, person(), headers=key("k"))
    assert (refused.status, refused.code) == (409, "DUPLICATE_EMAIL")
    assert refused.json["error"]["details"] == [{"field": "email", "message": "is taken"}]
    other = await platform.send("POST", REGISTER, person("b@example.com"), headers=key("k"))
    assert other.status == 201


async def test_a_repeat_after_the_account_was_disabled_gives_no_token(platform: Platform) -> None:
    await platform.send("POST", REGISTER, person(), headers=key("k"))
    await platform.set("UPDATE users SET is_active = 0")
    again = await platform.send("POST", REGISTER, person(), headers=key("k"))
    assert (again.status, again.code) == (403, "FORBIDDEN")


async def test_every_bad_field_is_named(platform: Platform) -> None:
    body = {"email": "nobody", "password": "short", "first_name": "", "role": "admin"}
    answer = await platform.send("POST", REGISTER, body)
    assert (answer.status, answer.code) == (400, "VALIDATION_ERROR")
    fields = {detail["field"] for detail in answer.json["error"]["details"]}
    assert fields == {"email", "password", "first_name", "last_name", "role"}


@pytest.mark.parametrize("email", ["a@b\n", "a@b\r\nBcc: c@d", "a,b@c", "a\0@b", "a\u202e@b"])
async def test_a_hostile_email_is_refused(platform: Platform, email: str) -> None:
    answer = await platform.send("POST", REGISTER, person(email))
    assert (answer.status, answer.code) == (400, "VALIDATION_ERROR")
    assert await platform.count("users") == 0


async def test_the_same_email_in_two_stores_is_two_accounts(platform: Platform) -> None:
    await platform.onboard("other")
    here, there = await platform.register(), await platform.register(tenant="other")
    assert here["user"]["id"] != there["user"]["id"]
    await platform.set("UPDATE users SET password_hash = 'x' WHERE tenant_id = 'default'")
    signed_in = await platform.login("ada@example.com", tenant="other")
    assert signed_in.json["data"]["user"] == there["user"]


async def test_signing_in_does_not_look_at_the_emails_case(platform: Platform) -> None:
    registered = await platform.register("Ada@Example.com")
    answer = await platform.login("aDA@eXAMPLE.COM")
    assert answer.status == 200
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json["data"]["user"] == registered["user"]
    assert answer.json["data"]["user"]["email"] == "Ada@Example.com"
    assert await platform.count("refresh_tokens") == 2


@pytest.mark.parametrize(
    "email, password",
    [
        ("ada@example.com", "Correct horse"),
        ("ada@example.com", ""),
        ("bob@example.com", PASSWORD),
        ("not an email", PASSWORD),
        ("", ""),
        ("%", PASSWORD),
        ("' OR 1=1 --", PASSWORD),
    ],
)
async def test_a_wrong_pair_has_one_answer(platform: Platform, email: str, password: str) -> None:
    await platform.register()
    error = (await platform.login(email, password)).json["error"]
    error.pop("request_id")
    assert error == {"code": "UNAUTHORIZED", "message": "The email or the password is wrong."}


async def test_a_disabled_account_is_told_only_to_who_knows_the_password(platform: Platform) -> None:
    await platform.register()
    await platform.set("UPDATE users SET is_active = 0")
    assert (await platform.login("ada@example.com", "wrong password")).status == 401
    answer = await platform.login("ada@example.com")
    assert (answer.status, answer.code) == (403, "FORBIDDEN")
    assert await platform.count("refresh_tokens") == 1


async def test_a_suspended_store_signs_nobody_in(platform: Platform) -> None:
    await platform.register()
    await platform.set("UPDATE tenants SET status = 'suspended'")
    assert (await platform.login("ada@example.com")).status == 403
    assert (await platform.send("POST", REGISTER, person("b@example.com"))).status == 403
    assert await platform.count("users") == 1


async def test_nobody_registers_in_a_store_that_is_not_there(platform: Platform) -> None:
    await platform.onboard("closed")
    await platform.set("UPDATE tenants SET status = 'offboarded' WHERE tenant_id = 'closed'")
    platform.clock.forward(seconds=1)
    for tenant in ("nowhere", "closed", "NOT A SLUG"):
        answer = await platform.send("POST", REGISTER, person(), headers={"X-Tenant-Id": tenant})
        assert (answer.status, answer.code) == (404, "NOT_FOUND")
        assert (await platform.login("boss@example.com", tenant=tenant)).status == 404


async def test_a_customer_sees_only_themselves(platform: Platform) -> None:
    ada, bob = await platform.register(), await platform.register("bob@example.com")
    theirs = bearer(ada["token"])
    own = await platform.send("GET", f"/api/v1/users/{ada['user']['id']}", headers=theirs)
    assert own.json["data"] == ada["user"]
    for other in (bob["user"]["id"], uuid7(), "x", ada["user"]["id"].upper(), "%2e%2e"):
        answer = await platform.send("GET", f"/api/v1/users/{other}", headers=theirs)
        assert (answer.status, answer.code) == (404, "NOT_FOUND")


async def test_an_admin_sees_the_users_of_their_store_alone(platform: Platform) -> None:
    shop, other = await platform.onboard("shop"), await platform.onboard("other")
    ada = await platform.register(tenant="shop")
    path = f"/api/v1/users/{ada['user']['id']}"
    assert (await platform.send("GET", path, headers=bearer(shop["token"]))).json["data"] == ada["user"]
    stranger = bearer(other["token"], tenant="shop")
    assert (await platform.send("GET", path, headers=stranger)).status == 404


async def test_an_operator_sees_users_of_the_store_they_name(platform: Platform) -> None:
    await platform.onboard("shop")
    ada = await platform.register(tenant="shop")
    token = await platform.operator()
    path = f"/api/v1/users/{ada['user']['id']}"
    assert (await platform.send("GET", path, headers=bearer(token, "shop"))).json["data"] == ada["user"]
    assert (await platform.send("GET", path, headers=bearer(token))).status == 404
    me = await platform.send("GET", "/api/v1/users/me", headers=bearer(token, "shop"))
    assert (me.json["data"]["role"], me.json["data"]["tenant_id"]) == ("operator", "default")


async def test_without_a_token_nobody_is_shown(platform: Platform) -> None:
    for path in ("me", uuid7(), "x"):
        answer = await platform.send("GET", f"/api/v1/users/{path}")
        assert (answer.status, answer.code) == (401, "UNAUTHORIZED")
    invalid = await platform.send("POST", REGISTER, person(), headers=bearer("a.b.c"))
    assert invalid.status == 401


async def test_the_keys_that_verify_tokens_are_public(platform: Platform) -> None:
    found = await platform.send("GET", "/.well-known/openid-configuration")
    assert found.json["issuer"] == "https://shop.example"
    assert found.json["jwks_uri"] == "https://shop.example/.well-known/jwks.json"
    (public,) = (await platform.send("GET", "/.well-known/jwks.json")).json["keys"]
    assert public["alg"] == "ES256"
    assert "d" not in public
