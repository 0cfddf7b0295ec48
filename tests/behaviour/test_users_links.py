"""Links that prove an email: for one use, not for long, and told to nobody else."""

import asyncio
import base64
import hashlib
import re
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from mercato.kernel.ids import UserId, uuid7
from mercato.kernel.tenancy import TenantId
from mercato.users.domain import NO_PASSWORD
from tests.behaviour.users_mail import NEW_PASSWORD, USERS, Mail, is_refused
from tests.behaviour.users_platform import PASSWORD, Platform, bearer, person, start
from tests.conftest import OpenDatabase


@pytest.fixture
async def platform(open_database: OpenDatabase, tmp_path: Path) -> Platform:
    return await start(await open_database("users"), tmp_path)


@pytest.fixture
def mail(platform: Platform) -> Mail:
    return Mail(platform)


async def test_a_reset_link_sets_the_password_once_and_ends_everything(
    platform: Platform, mail: Mail
) -> None:
    ada = await platform.register()
    token = await mail.reset_token()
    assert (await mail.reset(token)).status == 204
    assert (await platform.send("GET", f"{USERS}/me", headers=bearer(ada["token"]))).status == 401
    refresh = await platform.send("POST", f"{USERS}/token/refresh", {"refresh_token": ada["refresh_token"]})
    assert refresh.status == 401
    assert (await platform.login("ada@example.com")).status == 401
    assert (await platform.login("ada@example.com", NEW_PASSWORD)).status == 200
    assert is_refused(await mail.reset(token, "yet another one"))


async def test_of_twenty_who_use_one_link_one_sets_the_password(platform: Platform, mail: Mail) -> None:
    await platform.register()
    token = await mail.reset_token()
    answers = await asyncio.gather(*(mail.reset(token, f"new password {n}") for n in range(20)))
    winners = [n for n, each in enumerate(answers) if each.status == 204]
    assert len(winners) == 1
    assert sum(map(is_refused, (each for each in answers if each.status != 204))) == 19
    assert (await platform.login("ada@example.com", f"new password {winners[0]}")).status == 200


async def test_asking_tells_nobody_whether_there_is_an_account(platform: Platform, mail: Mail) -> None:
    ada = await platform.register()
    await platform.onboard("shop")
    await mail.sent()
    for email, tenant in (("nobody@example.com", "default"), ("ada@example.com", "shop"), ("", "default")):
        await mail.forget_password(email, tenant)
    assert await mail.sent() == []
    await platform.set("UPDATE users SET is_active = 0 WHERE id = ?", ada["user"]["id"])
    await mail.forget_password()
    assert await mail.sent() == []


async def test_five_links_an_hour_go_to_one_account(platform: Platform, mail: Mail) -> None:
    await platform.register()
    await mail.sent()
    for _ in range(7):
        await mail.forget_password("ADA@example.com")
    assert len(await mail.sent()) == 5
    platform.clock.forward(hours=1)
    await mail.forget_password()
    assert len(await mail.sent()) == 1


async def test_a_link_expires(platform: Platform, mail: Mail) -> None:
    await platform.register()
    verifying = await mail.token("verify-email")
    resetting = await mail.reset_token()
    platform.clock.forward(hours=1)
    assert is_refused(await mail.reset(resetting))
    platform.clock.forward(hours=46, minutes=59)
    assert (await mail.verify(verifying)).status == 200
    await platform.register("bob@example.com")
    late = await mail.token("verify-email", "bob@example.com")
    platform.clock.forward(hours=48)
    assert is_refused(await mail.verify(late))


@pytest.mark.parametrize("kind", ["reset-password", "accept-invitation"])
async def test_whoever_becomes_an_operator_has_no_links_of_before(
    platform: Platform, mail: Mail, kind: str
) -> None:
    """A store's admins could read those in its mailbox."""
    operator = await platform.operator()
    body = {"email": "ada@example.com", "first_name": "Ada", "last_name": "L"}
    made = await platform.send("POST", USERS, body, headers=bearer(operator))
    ada = made.json["data"]["id"]
    invitation = await mail.token("accept-invitation")
    before = invitation if kind == "accept-invitation" else await mail.reset_token()
    promoted = await platform.send("PUT", f"{USERS}/{ada}", {"role": "operator"}, headers=bearer(operator))
    assert promoted.status == 200, promoted.body
    use = mail.accept if kind == "accept-invitation" else mail.reset
    assert is_refused(await use(before))
    assert (await mail.reset(await mail.reset_token())).status == 204
    assert (await platform.login("ada@example.com", NEW_PASSWORD)).status == 200


async def test_a_link_is_for_one_purpose_and_one_account(platform: Platform, mail: Mail) -> None:
    await platform.register()
    verifying = await mail.token("verify-email")
    resetting = await mail.reset_token()
    assert is_refused(await mail.reset(verifying))
    assert is_refused(await mail.verify(resetting))
    bob = await platform.register("bob@example.com")
    payload, mac = resetting.split(".")
    claims = base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
    ada = re.findall(rb"[0-9a-f-]{36}", claims)[0]
    for changed in (
        claims.replace(ada, bob["user"]["id"].encode()),
        claims.replace(ada, uuid7().encode()),
        claims.replace(b'"default"', b'"shop"'),
        re.sub(rb"[0-9]+\]$", b"99999999999]", claims),
        claims + b" ",
    ):
        forged = base64.urlsafe_b64encode(changed).decode().rstrip("=")
        assert is_refused(await mail.reset(f"{forged}.{mac}"))
    assert (await mail.reset(resetting)).status == 204


@pytest.mark.parametrize(
    "token",
    ["", ".", "..", "a.b", "W10.W10", "é.é", "A" * 1024, "W10", ".".join(["eyJhIjoxfQ"] * 3), "\ud7ff.x"],
)
async def test_what_is_no_token_is_refused_in_one_way(platform: Platform, mail: Mail, token: str) -> None:
    assert is_refused(await mail.reset(token))
    assert is_refused(await mail.verify(token))


async def test_a_reset_link_is_void_after_a_change_of_password_or_email(
    platform: Platform, mail: Mail
) -> None:
    ada = await platform.register()
    path, headers = f"{USERS}/{ada['user']['id']}", bearer(ada["token"])
    by_email = await mail.reset_token()
    await platform.send("PUT", path, {"email": "new@example.com"}, headers=headers)
    assert is_refused(await mail.reset(by_email))
    await platform.send("PUT", path, {"email": "ada@example.com"}, headers=headers)
    by_password = await mail.reset_token()
    body = {"current_password": PASSWORD, "new_password": NEW_PASSWORD}
    assert (await platform.send("POST", f"{USERS}/me/password", body, headers=headers)).status == 200
    assert is_refused(await mail.reset(by_password))


async def test_a_reset_lets_a_locked_account_in(platform: Platform, mail: Mail) -> None:
    await platform.register()
    for _ in range(10):
        await platform.login("ada@example.com", "wrong")
    assert (await platform.login("ada@example.com")).status == 429
    await mail.reset(await mail.reset_token())
    assert (await platform.login("ada@example.com", NEW_PASSWORD)).status == 200


async def test_an_email_is_verified_once_by_its_link(platform: Platform, mail: Mail) -> None:
    await platform.register()
    token = await mail.token("verify-email")
    verified = await mail.verify(token)
    assert verified.status == 200
    assert (verified.json["data"]["email_verified"], verified.json["data"]["version"]) == (True, 2)
    assert is_refused(await mail.verify(token))
    assert (await platform.events())[-1] == "user.updated"


async def test_a_new_email_has_to_be_verified_anew(platform: Platform, mail: Mail) -> None:
    ada = await platform.register()
    path, headers = f"{USERS}/{ada['user']['id']}", bearer(ada["token"])
    first = await mail.token("verify-email")
    await mail.verify(first)
    changed = await platform.send("PUT", path, {"email": "new@example.com"}, headers=headers)
    assert changed.json["data"]["email_verified"] is False
    assert is_refused(await mail.verify(first))
    named = await platform.send("PUT", path, {"first_name": "Augusta"}, headers=headers)
    assert named.json["data"]["email_verified"] is False
    token = await mail.token("verify-email", "new@example.com")
    assert (await mail.verify(token)).json["data"]["email_verified"] is True
    renamed = await platform.send("PUT", path, {"first_name": "Ada"}, headers=headers)
    assert renamed.json["data"]["email_verified"] is True


async def test_the_verification_is_sent_again_but_not_for_ever(platform: Platform, mail: Mail) -> None:
    ada = await platform.register()
    headers = bearer(ada["token"])
    path = f"{USERS}/me/email/verification"
    answers = [await platform.send("POST", path, headers=headers) for _ in range(5)]
    assert [each.status for each in answers] == [202] * 4 + [429]
    assert int(answers[-1].headers["retry-after"]) > 0
    found = await mail.sent()
    assert len(found) == 5
    token = parse_qs(urlsplit(found[0].url).query)["token"][0]
    assert (await mail.verify(token)).status == 200
    platform.clock.forward(hours=1)
    fresh = (await platform.login("ada@example.com")).json["data"]["token"]
    assert (await platform.send("POST", path, headers=bearer(fresh))).status == 202
    assert await mail.sent() == []
    assert (await platform.send("POST", path)).status == 401


async def test_whoever_is_given_an_account_is_sent_a_link(platform: Platform, mail: Mail) -> None:
    shop = await platform.onboard("shop")
    assert [each.recipient for each in await mail.sent()] == ["boss@example.com"]
    made = await platform.send("POST", USERS, person(), headers=bearer(shop["token"]))
    assert made.status == 201
    token = await mail.token("verify-email")
    assert (await mail.verify(token)).json["data"]["id"] == made.json["data"]["id"]


async def test_a_link_is_in_no_event_and_each_time_another(platform: Platform, mail: Mail) -> None:
    ada = (await platform.register())["user"]
    await mail.forget_password()
    (first,) = [each for each in await mail.sent() if each.action == "reset-password"]
    rows = await platform.db.fetch_all("SELECT body FROM outbox")
    assert len(rows) == 3, "the store, the user, and that a link is wanted"
    assert not [body for (body,) in rows if b"token" in body or b"/account/" in body]
    platform.clock.forward(minutes=59)
    people = platform.service.people
    later = await people.link(TenantId("default"), UserId(ada["id"]), "reset-password")
    assert later not in {None, first.url}
    platform.clock.forward(minutes=2)
    token = parse_qs(urlsplit(str(later)).query)["token"][0]
    assert (await mail.reset(token)).status == 204, "a link is good for an hour from when it is mailed"


async def test_there_is_no_link_for_what_is_done_or_for_whom_is_gone(platform: Platform, mail: Mail) -> None:
    ada = await platform.register()
    tenant, user_id, people = TenantId("default"), UserId(ada["user"]["id"]), platform.service.people
    assert await people.link(tenant, user_id, "accept-invitation") is None, "there is a password already"
    await mail.verify(await mail.token("verify-email"))
    assert await people.link(tenant, user_id, "verify-email") is None
    assert await people.link(TenantId("shop"), user_id, "reset-password") is None
    await platform.set("UPDATE users SET password_hash = ? WHERE id = ?", NO_PASSWORD, user_id)
    invitation = await people.link(tenant, user_id, "accept-invitation")
    assert invitation is not None
    assert is_refused(await mail.reset(parse_qs(urlsplit(invitation).query)["token"][0]))
    await platform.set("UPDATE users SET is_active = 0 WHERE id = ?", user_id)
    assert await people.link(tenant, user_id, "reset-password") is None
    await platform.set("UPDATE users SET email_key = NULL WHERE id = ?", user_id)
    assert await people.recipient(tenant, user_id) is None
    assert await people.link(tenant, user_id, "reset-password") is None


async def test_no_link_works_in_a_store_that_does_not_trade(platform: Platform, mail: Mail) -> None:
    await platform.onboard("shop")
    await mail.sent()
    await platform.register(tenant="shop")
    token = await mail.token("verify-email")
    for status, code in (("suspended", 403), ("offboarded", 404)):
        await platform.set("UPDATE tenants SET status = ? WHERE tenant_id = 'shop'", status)
        assert (await mail.verify(token)).status == code


async def test_when_too_many_links_wait_asking_is_refused_and_registering_is_not(
    platform: Platform, mail: Mail
) -> None:
    for n in range(1000):
        await mail.forget_password(f"user{n}@example.com")
    refused = await platform.send("POST", f"{USERS}/password/forgot", {"email": "ada@example.com"})
    assert (refused.status, refused.code) == (503, "SERVICE_UNAVAILABLE")
    ada = await platform.register()
    # Nothing is sent to those who are not there; the mail that welcomes Ada has waited for nobody.
    assert [each.recipient for each in await mail.sent()] == ["ada@example.com"]
    again = await platform.send("POST", f"{USERS}/me/email/verification", headers=bearer(ada["token"]))
    assert again.status == 202
    assert len(await mail.sent()) == 1


async def test_a_link_leads_where_the_store_wants(open_database: OpenDatabase, tmp_path: Path) -> None:
    url = "https://front.example/{action}#{token}"
    platform = await start(await open_database("users"), tmp_path, link_url=url)
    await platform.register()
    (found,) = await Mail(platform).sent()
    address, _, token = found.url.partition("#")
    assert address == "https://front.example/verify-email"
    assert (await Mail(platform).verify(token)).status == 200


@pytest.mark.parametrize("action", ["reset-password", "verify-email", "accept-invitation"])
async def test_the_pages_run_their_own_script_and_nothing_else(platform: Platform, action: str) -> None:
    answer = await platform.send("GET", f"/account/{action}?token=%3Cscript%3Ealert(1)%3C/script%3E")
    assert (answer.status, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "no-referrer"
    text = answer.body.decode()
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = answer.headers["content-security-policy"]
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "alert(1)" not in text
    assert not re.search(r"https?:|\bsrc=|href=|\bon[a-z]+=|style=", text)
    # A program that follows the link and runs the page must not use the link up.
    assert script.count("fetch(") == 1
    assert script.index('addEventListener("submit"') < script.index("fetch(")
    assert ".submit()" not in script
    assert ".click()" not in script
