"""Invitations: accounts whose password is set by whoever reads the email, once, and not for long."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.asgi_client import Answer
from tests.behaviour.users_mail import NEW_PASSWORD, USERS, Mail, is_refused, welcomed_admin
from tests.behaviour.users_platform import PASSWORD, Platform, bearer, start
from tests.conftest import OpenDatabase

ADA = {"email": "ada@example.com", "first_name": "Ada", "last_name": "Lovelace"}


@pytest.fixture
async def platform(open_database: OpenDatabase, tmp_path: Path) -> Platform:
    return await start(await open_database("users"), tmp_path)


@pytest.fixture
def mail(platform: Platform) -> Mail:
    return Mail(platform)


@pytest.fixture
async def admin(platform: Platform, mail: Mail) -> str:
    """The token of the admin of the store `shop`."""
    return await welcomed_admin(platform, mail)


async def invite(platform: Platform, admin: str, **changed: object) -> Answer:
    return await platform.send("POST", USERS, ADA | changed, headers=bearer(admin))


async def invited(platform: Platform, admin: str, **changed: object) -> Any:
    answer = await invite(platform, admin, **changed)
    assert answer.status == 201, answer.body
    return answer.json["data"]


async def login(platform: Platform, password: str = NEW_PASSWORD) -> int:
    return (await platform.login("ada@example.com", password, "shop")).status


async def test_an_invitation_sets_the_password_once_and_proves_the_email(
    platform: Platform, mail: Mail, admin: str
) -> None:
    ada = await invited(platform, admin)
    assert (ada["is_active"], ada["email_verified"], ada["version"]) == (True, False, 1)
    token = await mail.token("accept-invitation")
    assert (await mail.accept(token)).status == 204
    assert await login(platform) == 200
    seen = (await platform.send("GET", f"{USERS}/{ada['id']}", headers=bearer(admin))).json["data"]
    assert (seen["email_verified"], seen["version"]) == (True, 2)
    assert is_refused(await mail.accept(token, "another one"))
    assert await login(platform) == 200
    assert (await platform.events())[-2:] == ["user.created", "user.updated"]


async def test_the_event_tells_that_somebody_was_invited(platform: Platform, admin: str) -> None:
    await invited(platform, admin)
    await invited(platform, admin, email="bob@example.com", password=PASSWORD)
    rows = await platform.db.fetch_all("SELECT body FROM outbox WHERE type = 'user.created'")
    assert ['"invited":true' in row[0].decode() for row in rows[-2:]] == [True, False]


@pytest.mark.parametrize("guess", ["!", "", "password", "x" * 128])
async def test_nobody_signs_in_before_the_invitation_is_accepted(
    platform: Platform, mail: Mail, admin: str, guess: str
) -> None:
    await invited(platform, admin)
    wrong = await platform.login("ada@example.com", guess, "shop")
    nobody = await platform.login("nobody@example.com", guess, "shop")
    assert wrong.status == nobody.status == 401
    assert wrong.json["error"]["message"] == nobody.json["error"]["message"]
    for _ in range(9):
        await login(platform, guess)
    assert await login(platform, guess) == 429
    assert (await mail.accept(await mail.token("accept-invitation"))).status == 204
    assert await login(platform) == 200


async def test_a_password_that_is_too_short_uses_nothing_up(
    platform: Platform, mail: Mail, admin: str
) -> None:
    await invited(platform, admin)
    token = await mail.token("accept-invitation")
    refused = await mail.accept(token, "short")
    assert (refused.status, refused.json["error"]["details"][0]["field"]) == (400, "new_password")
    assert (await mail.accept(token)).status == 204


async def test_of_twenty_who_accept_at_once_one_sets_the_password(
    platform: Platform, mail: Mail, admin: str
) -> None:
    ada = await invited(platform, admin)
    token = await mail.token("accept-invitation")
    answers = await asyncio.gather(*(mail.accept(token, f"new password {n}") for n in range(20)))
    winners = [n for n, each in enumerate(answers) if each.status == 204]
    assert len(winners) == 1
    assert sum(map(is_refused, (each for each in answers if each.status != 204))) == 19
    assert await login(platform, f"new password {winners[0]}") == 200
    seen = (await platform.send("GET", f"{USERS}/{ada['id']}", headers=bearer(admin))).json["data"]
    assert seen["version"] == 2


async def test_an_invitation_expires_after_a_week(platform: Platform, mail: Mail, admin: str) -> None:
    await invited(platform, admin)
    token = await mail.token("accept-invitation")
    platform.clock.forward(days=7)
    assert is_refused(await mail.accept(token))
    await invited(platform, (await platform.onboard("late"))["token"])
    token = await mail.token("accept-invitation")
    platform.clock.forward(days=6, hours=23, minutes=59)
    assert (await mail.accept(token)).status == 204


async def test_an_invitation_is_for_nothing_else_and_nothing_else_is_one(
    platform: Platform, mail: Mail, admin: str
) -> None:
    await invited(platform, admin)
    token = await mail.token("accept-invitation")
    assert is_refused(await mail.reset(token))
    assert is_refused(await mail.verify(token))
    await mail.forget_password("ada@example.com", "shop")
    reset = await mail.token("reset-password")
    assert is_refused(await mail.accept(reset))
    await platform.register()
    assert is_refused(await mail.accept(await mail.token("verify-email")))
    assert (await mail.accept(token)).status == 204


async def test_a_forgotten_password_link_accepts_an_invitation_too(
    platform: Platform, mail: Mail, admin: str
) -> None:
    ada = await invited(platform, admin)
    first = await mail.token("accept-invitation")
    platform.clock.forward(days=8)
    await mail.forget_password("ada@example.com", "shop")
    assert (await mail.reset(await mail.token("reset-password"))).status == 204
    assert await login(platform) == 200
    fresh = (await platform.login("boss@example.com", tenant="shop")).json["data"]["token"]
    seen = (await platform.send("GET", f"{USERS}/{ada['id']}", headers=bearer(fresh))).json["data"]
    assert seen["email_verified"] is True
    assert is_refused(await mail.accept(first))


async def test_an_invitation_is_void_while_the_account_is_disabled_and_once_it_is_deleted(
    platform: Platform, mail: Mail, admin: str
) -> None:
    ada = await invited(platform, admin)
    path, headers = f"{USERS}/{ada['id']}", bearer(admin)
    token = await mail.token("accept-invitation")
    assert (await platform.send("PUT", path, {"is_active": False}, headers=headers)).status == 200
    assert is_refused(await mail.accept(token))
    assert await mail.sent() == []
    # Whoever may come in again is sent another.
    assert (await platform.send("PUT", path, {"is_active": True}, headers=headers)).status == 200
    token = await mail.token("accept-invitation")
    assert (await platform.send("DELETE", path, headers=headers)).status == 204
    assert is_refused(await mail.accept(token))


async def test_somebody_invited_with_a_wrong_email_is_invited_at_the_right_one(
    platform: Platform, mail: Mail, admin: str
) -> None:
    ada = await invited(platform, admin, email="aad@example.com")
    wrong = await mail.token("accept-invitation", "aad@example.com")
    change = {"email": "ada@example.com"}
    answer = await platform.send("PUT", f"{USERS}/{ada['id']}", change, headers=bearer(admin))
    assert answer.status == 200
    right = await mail.token("accept-invitation")
    assert is_refused(await mail.accept(wrong))
    assert (await mail.accept(right)).status == 204


async def test_whoever_is_invited_disabled_is_sent_nothing_yet(
    platform: Platform, mail: Mail, admin: str
) -> None:
    await invited(platform, admin, is_active=False)
    assert await mail.invitations() == []


async def test_a_link_of_one_store_opens_nothing_in_another(
    platform: Platform, mail: Mail, admin: str
) -> None:
    await invited(platform, admin)
    token = await mail.token("accept-invitation")
    other = (await platform.onboard("other"))["token"]
    await invited(platform, other)
    theirs = await mail.token("accept-invitation")
    payload, mac = token.split(".")
    assert is_refused(await mail.accept(f"{theirs.split('.')[0]}.{mac}"))
    assert is_refused(await mail.accept(f"{payload}.{theirs.split('.')[1]}"))
    assert (await mail.accept(token)).status == 204
    assert (await platform.login("ada@example.com", NEW_PASSWORD, "other")).status == 401


@pytest.mark.parametrize("status, code", [("suspended", 403), ("offboarded", 404)])
async def test_no_invitation_is_accepted_in_a_store_that_does_not_trade(
    platform: Platform, mail: Mail, admin: str, status: str, code: int
) -> None:
    await invited(platform, admin)
    token = await mail.token("accept-invitation")
    await platform.set("UPDATE tenants SET status = ? WHERE tenant_id = 'shop'", status)
    assert (await mail.accept(token)).status == code
    await platform.set("UPDATE tenants SET status = 'active' WHERE tenant_id = 'shop'")


async def test_who_has_only_been_invited_is_no_stores_last_admin(
    platform: Platform, mail: Mail, admin: str
) -> None:
    await invited(platform, admin, role="admin")
    boss = (await platform.send("GET", f"{USERS}/me", headers=bearer(admin))).json["data"]["id"]
    path = f"{USERS}/{boss}"
    assert (await platform.send("DELETE", path, headers=bearer(admin))).status == 409
    assert (await mail.accept(await mail.token("accept-invitation"))).status == 204
    assert (await platform.send("DELETE", path, headers=bearer(admin))).status == 204


async def test_invitations_follow_the_rules_of_accounts(platform: Platform, mail: Mail, admin: str) -> None:
    first = await platform.send("POST", USERS, ADA, headers=bearer(admin) | {"Idempotency-Key": "ada"})
    again = await platform.send("POST", USERS, ADA, headers=bearer(admin) | {"Idempotency-Key": "ada"})
    assert (first.status, again.body) == (201, first.body)
    assert len(await mail.invitations()) == 1
    assert (await invite(platform, admin)).code == "DUPLICATE_EMAIL"
    assert (await invite(platform, admin, email="b@example.com", role="operator")).status == 403
    assert (await invite(platform, admin, email="b@example.com", last_name="")).status == 400
    assert (await invite(platform, admin, email="b@example.com", password="short")).status == 400
    customer = (await platform.register(tenant="default"))["token"]
    assert (await invite(platform, customer)).status == 403
    assert (await platform.send("POST", f"{USERS}/register", ADA)).status == 400


async def test_a_token_of_an_invitation_is_in_no_answer_event_or_database(
    platform: Platform, mail: Mail, admin: str
) -> None:
    await invited(platform, admin)
    token = await mail.token("accept-invitation")
    answers = [await mail.accept(token, "short"), await mail.accept(token), await mail.accept(token)]
    assert not [each for each in answers if token.encode() in each.body]
    for table, column in (("outbox", "body"), ("claims", "answer")):
        rows = await platform.db.fetch_all(f"SELECT {column} FROM {table}")
        assert not [row for row in rows if token.encode() in (row[0] or b"")]
