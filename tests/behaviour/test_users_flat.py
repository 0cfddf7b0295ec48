"""Users for clients of the AWS SaaS reference architecture."""

from pathlib import Path
from typing import Any

import pytest

from mercato.kernel.ids import uuid7
from tests.asgi_client import Answer
from tests.behaviour.users_mail import NEW_PASSWORD, Mail, welcomed_admin
from tests.behaviour.users_platform import Platform, bearer, start
from tests.conftest import OpenDatabase

ADA = {"userName": "ada", "userEmail": "ada@example.com", "userRole": "TenantUser"}
USER = {"username", "email", "userRole", "status", "enabled", "created", "modified"}


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


async def flat(
    platform: Platform, token: str, method: str, path: str = "", body: object = None, **headers: str
) -> Answer:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return await platform.send(method, f"/users{path}", body, headers=bearer(token) | sent)


async def invited(platform: Platform, admin: str, **changed: object) -> Any:
    made = await flat(platform, admin, "POST", "", ADA | changed)
    assert made.status == 201, made.body
    return made.json


def refused(answer: Answer, status: int, *words: str) -> None:
    assert (answer.status, set(answer.json)) == (status, {"error"})
    for word in words:
        assert word in answer.json["error"], answer.json


async def test_an_invited_user_is_told_of_as_a_user_pool_does(
    platform: Platform, mail: Mail, admin: str
) -> None:
    made = await flat(platform, admin, "POST", "", ADA)
    ada = made.json
    assert (made.status, set(ada), made.headers["etag"]) == (201, USER, '"1"')
    assert (ada["email"], ada["userRole"], ada["status"], ada["enabled"]) == (
        "ada@example.com",
        "TenantUser",
        "FORCE_CHANGE_PASSWORD",
        True,
    )
    assert ada["created"] == ada["modified"]
    assert (await mail.accept(await mail.token("accept-invitation"))).status == 204
    login = (await platform.login("ada@example.com", NEW_PASSWORD, "shop")).json["data"]
    assert (login["user"]["id"], login["user"]["full_name"]) == (ada["username"], "ada")
    for name in (ada["username"], "ada@example.com", "ADA@example.com", f"shop:{ada['username']}"):
        for token in (admin, login["token"]):
            shown = await flat(platform, token, "GET", f"/{name}")
            assert shown.json == ada | {"status": "CONFIRMED", "modified": shown.json["modified"]}
    listed = (await flat(platform, admin, "GET")).json
    assert [each["userRole"] for each in listed] == ["TenantUser", "TenantAdmin"]
    assert listed[0] == shown.json


@pytest.mark.parametrize(
    "name, first, last",
    [("ada", "ada", ""), ("Ada Lovelace", "Ada", "Lovelace"), (" Ada  King Noel ", "Ada", "King Noel")],
)
async def test_the_user_name_is_what_they_are_called(
    platform: Platform, admin: str, name: str, first: str, last: str
) -> None:
    ada = await invited(platform, admin, userName=name)
    path = f"/api/v1/users/{ada['username']}"
    seen = (await platform.send("GET", path, headers=bearer(admin))).json["data"]
    assert (seen["first_name"], seen["last_name"]) == (first, last)
    assert seen["full_name"] == f"{first} {last}".strip()
    # Who has a single name can be changed like everybody.
    changed = await platform.send("PUT", path, {"first_name": "Augusta"}, headers=bearer(admin))
    assert changed.json["data"]["first_name"] == "Augusta"


async def test_what_is_wrong_with_an_invitation_is_told_by_name(platform: Platform, admin: str) -> None:
    bad = {"userName": "", "userEmail": "x", "userRole": "Boss", "password": "correct horse"}
    refused(
        await flat(platform, admin, "POST", "", bad),
        400,
        "userName must be",
        "userEmail must be an email address",
        "userRole must be one of TenantUser, TenantAdmin, SystemAdmin",
        "password is not a known field",
    )
    refused(await flat(platform, admin, "POST", "", ADA | {"userName": " "}), 400, "userName must have")
    refused(await flat(platform, admin, "POST", "", ADA | {"userName": "a\nb"}), 400, "userName must have")
    await invited(platform, admin)
    refused(await flat(platform, admin, "POST", "", ADA), 409, "account with this email")
    system = ADA | {"userEmail": "root@example.com", "userRole": "SystemAdmin"}
    refused(await flat(platform, admin, "POST", "", system), 403, "Only an operator makes an operator.")


async def test_a_repeated_key_invites_once(platform: Platform, mail: Mail, admin: str) -> None:
    answers = [await flat(platform, admin, "POST", "", ADA, idempotency_key="ada") for _ in range(2)]
    assert answers[0].body == answers[1].body
    assert answers[1].headers["idempotent-replayed"] == "true"
    assert len(await mail.invitations()) == 1


async def test_an_admin_changes_email_role_and_standing(platform: Platform, mail: Mail, admin: str) -> None:
    ada = await invited(platform, admin)
    await mail.sent()
    path = f"/{ada['username']}"
    body = {"userEmail": "king@example.com", "userRole": "TenantAdmin"}
    changed = await flat(platform, admin, "PUT", path, body)
    assert (changed.json["email"], changed.json["userRole"]) == ("king@example.com", "TenantAdmin")
    await mail.token("accept-invitation", "king@example.com")
    off = await flat(platform, admin, "PUT", path, changed.json | {"enabled": False})
    assert (off.json["enabled"], off.headers["etag"]) == (False, '"3"')
    stale = await flat(platform, admin, "PUT", path, {"enabled": True}, if_match='"1"')
    refused(stale, 412)
    same = await flat(platform, admin, "PUT", path, off.json | {"userName": "ada"})
    assert (same.status, same.headers["etag"]) == (200, '"3"')


async def test_nothing_writes_what_is_not_the_clients_to_write(platform: Platform, admin: str) -> None:
    ada = await invited(platform, admin)
    path = f"/{ada['username']}"
    for forged, word in (
        ({"username": uuid7()}, "username cannot be changed here"),
        ({"userName": "eve"}, "userName cannot be changed here"),
        ({"status": "CONFIRMED"}, "status cannot be changed here"),
        ({"email": "eve@example.com"}, "email is changed by userEmail"),
        ({"tenantId": "default"}, "tenantId is not a known field"),
        ({"role": "operator"}, "role is not a known field"),
        ({"userRole": "SystemAdmin"}, "Only an operator makes an operator"),
    ):
        answer = await flat(platform, admin, "PUT", path, ada | forged)
        refused(answer, 403 if "userRole" in forged else 400, word)
    refused(await flat(platform, admin, "PUT", path, {}), 400, "at least one of userEmail, userRole, enabled")
    assert (await flat(platform, admin, "GET", path)).json == ada


async def test_a_user_cares_for_themselves_but_not_for_role_and_standing(
    platform: Platform, mail: Mail, admin: str
) -> None:
    ada = await invited(platform, admin)
    await mail.accept(await mail.token("accept-invitation"))
    token = (await platform.login("ada@example.com", NEW_PASSWORD, "shop")).json["data"]["token"]
    path = f"/{ada['username']}"
    for change in ({"userRole": "TenantAdmin"}, {"enabled": False}):
        refused(await flat(platform, token, "PUT", path, change), 403, "Nobody changes their own")
    own = (await flat(platform, token, "GET", path)).json
    moved = await flat(platform, token, "PUT", path, own | {"userEmail": "king@example.com"})
    assert moved.json["email"] == "king@example.com"
    boss = "boss@example.com"
    for name in (boss, uuid7(), "x", "ada@example.com", "%00", "@", "a@b" * 200):
        refused(await flat(platform, token, "GET", f"/{name}"), 404, "There is no such user.")
        refused(await flat(platform, token, "PUT", f"/{name}", {"enabled": True}), 404)
        refused(await flat(platform, token, "DELETE", f"/{name}"), 404)
    refused(await flat(platform, token, "GET"), 403)
    refused(await flat(platform, token, "POST", "", ADA), 403)
    assert (await flat(platform, token, "DELETE", path)).status == 204
    refused(await flat(platform, token, "GET", path), 401)


async def test_another_stores_user_is_not_there_however_they_are_named(
    platform: Platform, admin: str
) -> None:
    ada = await invited(platform, admin)
    other = (await platform.onboard("other"))["token"]
    for name in (ada["username"], f"shop:{ada['username']}", f"other:{ada['username']}", "ada@example.com"):
        refused(await flat(platform, other, "GET", f"/{name}"), 404, "There is no such user.")
        refused(await flat(platform, other, "PUT", f"/{name}", {"enabled": False}), 404)
        refused(await flat(platform, other, "DELETE", f"/{name}"), 404)
    # The same email is another account there.
    theirs = await invited(platform, other)
    assert (await flat(platform, other, "GET", "/ada@example.com")).json == theirs
    assert (await flat(platform, admin, "GET", "/ada@example.com")).json == ada


async def test_an_admin_of_the_store_of_operators_sees_none_of_them(platform: Platform, mail: Mail) -> None:
    operator = await platform.operator()
    admin = {"userName": "Ann", "userEmail": "ann@example.com", "userRole": "TenantAdmin"}
    ann = (await flat(platform, operator, "POST", "", admin)).json
    assert {each["userRole"] for each in (await flat(platform, operator, "GET")).json} == {
        "SystemAdmin",
        "TenantAdmin",
    }
    await mail.accept(await mail.token("accept-invitation", "ann@example.com"))
    token = (await platform.login("ann@example.com", NEW_PASSWORD)).json["data"]["token"]
    assert [each["username"] for each in (await flat(platform, token, "GET")).json] == [ann["username"]]
    refused(await flat(platform, token, "GET", "/root@example.com"), 404)


async def test_the_last_admin_stays(platform: Platform, admin: str) -> None:
    boss = (await flat(platform, admin, "GET")).json[0]["username"]
    refused(await flat(platform, admin, "DELETE", f"/{boss}"), 409, "last active admin")


async def test_lists_go_on_by_their_links(platform: Platform, admin: str) -> None:
    for number in range(4):
        await invited(platform, admin, userEmail=f"user{number}@example.com")
    whole = (await flat(platform, admin, "GET")).json
    first = await flat(platform, admin, "GET", "?limit=3")
    query = first.headers["link"].removeprefix("<").partition(">")[0]
    rest = await flat(platform, admin, "GET", query)
    assert [*first.json, *rest.json] == whole
    assert (len(whole), "link" in rest.headers) == (5, False)
