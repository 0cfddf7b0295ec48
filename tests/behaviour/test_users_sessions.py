"""Sessions: refreshing, signing out, changing the password, and tokens that are void at once."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from mercato.kernel.ids import uuid7
from mercato.kernel.tenancy import TenantId
from tests.asgi_client import Answer
from tests.behaviour.users_platform import PASSWORD, Platform, bearer, start
from tests.conftest import OpenDatabase

USERS = "/api/v1/users"
NEW_PASSWORD = "battery staple"


@pytest.fixture
async def platform(open_database: OpenDatabase, tmp_path: Path) -> Platform:
    return await start(await open_database("users"), tmp_path)


async def refresh(platform: Platform, token: str, tenant: str = "default") -> Answer:
    return await platform.send(
        "POST", f"{USERS}/token/refresh", {"refresh_token": token}, headers={"X-Tenant-Id": tenant}
    )


async def sign_out(platform: Platform, token: str) -> Answer:
    return await platform.send("POST", f"{USERS}/logout", {"refresh_token": token})


async def me(platform: Platform, token: str) -> int:
    return (await platform.send("GET", f"{USERS}/me", headers=bearer(token))).status


async def change_password(
    platform: Platform, token: str, current: str = PASSWORD, new: str = NEW_PASSWORD
) -> Answer:
    body = {"current_password": current, "new_password": new}
    return await platform.send("POST", f"{USERS}/me/password", body, headers=bearer(token))


async def with_admin(platform: Platform) -> tuple[Any, str]:
    """Return a customer of a store, and its admin's token."""
    shop = await platform.onboard("shop")
    return await platform.register(tenant="shop"), shop["token"]


async def test_a_refresh_token_is_used_once(platform: Platform) -> None:
    ada = await platform.register()
    platform.clock.forward(minutes=20)
    assert await me(platform, ada["token"]) == 401
    answer = await refresh(platform, ada["refresh_token"])
    assert answer.status == 200
    assert answer.headers["cache-control"] == "no-store"
    data = answer.json["data"]
    assert data["user"] == ada["user"]
    assert data["refresh_token"] != ada["refresh_token"]
    assert await me(platform, data["token"]) == 200
    assert (await refresh(platform, data["refresh_token"])).status == 200


async def test_a_refresh_token_that_comes_again_ends_its_family_and_all_access(platform: Platform) -> None:
    ada = await platform.register()
    renewed = (await refresh(platform, ada["refresh_token"])).json["data"]
    assert (await refresh(platform, ada["refresh_token"])).status == 401
    assert (await refresh(platform, renewed["refresh_token"])).status == 401
    for token in (ada["token"], renewed["token"]):
        assert await me(platform, token) == 401
    assert await platform.count("refresh_tokens") == 0
    signed_in = (await platform.login("ada@example.com")).json["data"]
    assert await me(platform, signed_in["token"]) == 200


async def test_the_end_of_one_family_leaves_the_users_other_sessions(platform: Platform) -> None:
    ada = await platform.register()
    other = (await platform.login("ada@example.com")).json["data"]
    await refresh(platform, ada["refresh_token"])
    await refresh(platform, ada["refresh_token"])
    assert (await refresh(platform, other["refresh_token"])).status == 200


async def test_of_ten_refreshes_at_once_one_gets_through_and_the_family_ends(platform: Platform) -> None:
    ada = await platform.register()
    answers = await asyncio.gather(*(refresh(platform, ada["refresh_token"]) for _ in range(10)))
    assert sorted(each.status for each in answers) == [200] + [401] * 9
    (winner,) = [each for each in answers if each.status == 200]
    assert (await refresh(platform, winner.json["data"]["refresh_token"])).status == 401
    assert await me(platform, winner.json["data"]["token"]) == 401


@pytest.mark.parametrize("token", ["", "x", "A" * 43, "'; DROP TABLE users --", "\u202e", "é" * 500])
async def test_what_is_no_refresh_token_is_refused_in_one_way(platform: Platform, token: str) -> None:
    error = (await refresh(platform, token)).json["error"]
    error.pop("request_id")
    assert error == {"code": "UNAUTHORIZED", "message": "The refresh token is not valid."}


async def test_a_refresh_token_expires_and_is_valid_in_its_own_store_alone(platform: Platform) -> None:
    await platform.onboard("shop")
    ada = await platform.register()
    assert (await refresh(platform, ada["refresh_token"], tenant="shop")).status == 401
    platform.clock.forward(days=30)
    assert (await refresh(platform, ada["refresh_token"])).status == 401
    assert (await platform.login("ada@example.com")).status == 200


async def test_expired_refresh_tokens_are_purged_in_batches(platform: Platform) -> None:
    for _ in range(3):
        await platform.register(f"{uuid7()}@example.com")
    at = platform.clock.forward(days=31)
    await platform.register()
    purge = platform.service.sessions.purge
    assert [await purge(before=at, limit=2) for _ in range(3)] == [2, 1, 0]
    assert await platform.count("refresh_tokens") == 1


async def test_a_refresh_sees_the_user_as_they_are_now(platform: Platform) -> None:
    ada, admin = await with_admin(platform)
    path = f"{USERS}/{ada['user']['id']}"
    disabled = await platform.send("PUT", path, {"is_active": False}, headers=bearer(admin))
    assert disabled.status == 200
    refused = await refresh(platform, ada["refresh_token"], tenant="shop")
    assert (refused.status, refused.code) == (403, "FORBIDDEN")
    await platform.send("PUT", path, {"is_active": True, "role": "admin"}, headers=bearer(admin))
    renewed = (await refresh(platform, ada["refresh_token"], tenant="shop")).json["data"]
    assert renewed["user"]["role"] == "admin"
    listed = await platform.send("GET", USERS, headers=bearer(renewed["token"]))
    assert listed.status == 200
    assert (await platform.send("DELETE", path, headers=bearer(admin))).status == 204
    assert (await refresh(platform, renewed["refresh_token"], tenant="shop")).status == 401


async def test_signing_out_ends_the_session_and_always_succeeds(platform: Platform) -> None:
    ada = await platform.register()
    renewed = (await refresh(platform, ada["refresh_token"])).json["data"]
    other = (await platform.login("ada@example.com")).json["data"]
    for token in (ada["refresh_token"], ada["refresh_token"], "nothing", ""):
        assert (await sign_out(platform, token)).status == 204
    assert (await refresh(platform, renewed["refresh_token"])).status == 401
    assert (await refresh(platform, other["refresh_token"])).status == 200


async def test_whoever_changes_the_password_stays_signed_in_alone(platform: Platform) -> None:
    ada = await platform.register()
    other = (await platform.login("ada@example.com")).json["data"]
    answer = await change_password(platform, other["token"])
    assert answer.status == 200
    assert answer.headers["cache-control"] == "no-store"
    fresh = answer.json["data"]
    for void in (ada, other):
        assert await me(platform, void["token"]) == 401
        assert (await refresh(platform, void["refresh_token"])).status == 401
    assert await me(platform, fresh["token"]) == 200
    assert (await refresh(platform, fresh["refresh_token"])).status == 200
    assert (await platform.login("ada@example.com")).status == 401
    assert (await platform.login("ada@example.com", NEW_PASSWORD)).status == 200


async def test_a_hundred_ended_sessions_at_once_void_no_token_that_comes_after_them(
    platform: Platform,
) -> None:
    async def end(tx: Any) -> None:
        await platform.service.cuts.cut(tx, TenantId("default"), uuid7(), at=platform.clock())

    for _ in range(100):
        await platform.db.transact(end)
    ada = await platform.register()
    fresh = (await change_password(platform, ada["token"])).json["data"]
    assert await me(platform, ada["token"]) == 401
    assert await me(platform, fresh["token"]) == 200


async def test_a_wrong_current_password_is_named_and_counts_as_a_guess(platform: Platform) -> None:
    ada = await platform.register()
    for _ in range(10):
        answer = await change_password(platform, ada["token"], current="wrong")
        assert (answer.status, answer.code) == (400, "VALIDATION_ERROR")
        assert [each["field"] for each in answer.json["error"]["details"]] == ["current_password"]
    assert (await change_password(platform, ada["token"])).status == 429
    assert (await platform.login("ada@example.com")).status == 429
    assert await me(platform, ada["token"]) == 200


async def test_a_new_password_must_be_one(platform: Platform) -> None:
    ada = await platform.register()
    for new in ("short", "x" * 129):
        answer = await change_password(platform, ada["token"], new=new)
        assert [each["field"] for each in answer.json["error"]["details"]] == ["new_password"]


async def test_of_twenty_password_changes_one_wins_and_its_session_alone_is_left(platform: Platform) -> None:
    ada = await platform.register()
    answers = await asyncio.gather(
        *(change_password(platform, ada["token"], new=f"new password {n}") for n in range(20))
    )
    winners = [n for n, each in enumerate(answers) if each.status == 200]
    assert len(winners) == 1
    assert {each.status for each in answers} <= {200, 400, 401, 429}
    assert await platform.count("refresh_tokens") == 1
    platform.clock.forward(minutes=16)
    assert (await platform.login("ada@example.com", f"new password {winners[0]}")).status == 200


async def test_a_sign_in_under_way_does_not_outlive_a_change_of_password(platform: Platform) -> None:
    ada = await platform.register()
    signing_in = [asyncio.create_task(platform.login("ada@example.com")) for _ in range(3)]
    changed = await change_password(platform, ada["token"])
    assert changed.status == 200
    answers = await asyncio.gather(*signing_in)
    for answer in answers:
        if answer.status == 200:
            assert await me(platform, answer.json["data"]["token"]) == 401
            assert (await refresh(platform, answer.json["data"]["refresh_token"])).status == 401
    assert await platform.count("refresh_tokens") == 1


async def test_a_cut_is_at_once_and_survives_a_restart(
    open_database: OpenDatabase, tmp_path: Path, platform: Platform
) -> None:
    ada, admin = await with_admin(platform)
    bob = await platform.register("bob@example.com", tenant="shop")
    tokens = [ada["token"], (await platform.login("ada@example.com", tenant="shop")).json["data"]["token"]]
    assert [await me(platform, each) for each in tokens] == [200, 200]
    path = f"{USERS}/{ada['user']['id']}"
    await platform.send("PUT", path, {"role": "admin"}, headers=bearer(admin))
    assert [await me(platform, each) for each in tokens] == [401, 401]
    await platform.db.close()
    again = await start(await open_database("users"), tmp_path)
    assert [await me(again, each) for each in tokens] == [401, 401]
    assert await me(again, bob["token"]) == 200


async def test_cuts_that_no_longer_matter_are_purged(platform: Platform) -> None:
    ada, admin = await with_admin(platform)
    path = f"{USERS}/{ada['user']['id']}"
    await platform.send("DELETE", path, headers=bearer(admin))
    purge = platform.service.cuts.purge
    assert await purge(before=platform.clock(), limit=9) == 0
    # That of the user, and that of the opening of the store.
    assert await purge(before=platform.clock.forward(minutes=17), limit=9) == 2


async def test_ten_wrong_passwords_make_an_account_wait_even_for_its_owner(platform: Platform) -> None:
    await platform.register()
    for email in ("ada@example.com", "nobody@example.com"):
        statuses = [(await platform.login(email, "wrong")).status for _ in range(10)]
        assert statuses == [401] * 10
        refused = await platform.login(email.upper())
        assert (refused.status, refused.code) == (429, "RATE_LIMIT_EXCEEDED")
        assert 0 < int(refused.headers["retry-after"]) <= 900
    platform.clock.forward(minutes=15)
    assert (await platform.login("ada@example.com")).status == 200


async def test_a_right_password_clears_the_count(platform: Platform) -> None:
    await platform.register()
    for _ in range(3):
        for _ in range(9):
            assert (await platform.login("ada@example.com", "wrong")).status == 401
        assert (await platform.login("ada@example.com")).status == 200


async def test_thirty_guesses_at_once_are_not_more_than_ten(platform: Platform) -> None:
    await platform.register()
    answers = await asyncio.gather(*(platform.login("ada@example.com", f"wrong {n}") for n in range(30)))
    assert sorted(each.status for each in answers) == [401] * 10 + [429] * 20


async def test_thirty_who_know_the_password_all_get_in_at_once(platform: Platform) -> None:
    await platform.register()
    answers = await asyncio.gather(*(platform.login("ada@example.com") for _ in range(30)))
    assert {each.status for each in answers} == {200}


async def test_the_same_email_in_another_store_is_another_count(platform: Platform) -> None:
    await platform.onboard("shop")
    await platform.register()
    await platform.register(tenant="shop")
    for _ in range(10):
        await platform.login("ada@example.com", "wrong")
    assert (await platform.login("ada@example.com")).status == 429
    assert (await platform.login("ada@example.com", tenant="shop")).status == 200


async def test_an_address_that_guesses_at_many_accounts_has_to_wait(platform: Platform) -> None:
    await platform.register()
    for n in range(100):
        assert (await platform.login(f"guess{n}@example.com", "wrong")).status == 401
    assert (await platform.login("ada@example.com")).status == 429
