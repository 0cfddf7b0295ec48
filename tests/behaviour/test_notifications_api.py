"""Notifications over HTTP: whose they are, how they are found, and having them sent again."""

import asyncio
import re
from collections.abc import AsyncIterator

import pytest

from mercato.contracts.orders import OrderStatus
from mercato.kernel.ids import OrderId, uuid7
from mercato.kernel.principal import Role
from mercato.notifications.ports import Deposit, Mail, MailRefused
from tests.behaviour.post_office import (
    ACME,
    HOME,
    OLGA,
    ORDER,
    OTHER,
    PostOffice,
    Scripted,
    created,
    moved,
    open_office,
    person,
    registered,
    wanted,
)
from tests.conftest import OpenDatabase

MAILBOX = "/api/v1/mailbox"


@pytest.fixture
async def office(open_database: OpenDatabase) -> AsyncIterator[PostOffice]:
    async with open_office(open_database) as opened:
        yield opened


async def test_a_notification_is_shown_as_the_contract_says(office: PostOffice) -> None:
    await office.tell(created())
    await office.deliver()
    (row,) = await office.listed()
    assert list(row) == [
        "id",
        "tenant_id",
        "template",
        "recipient",
        "subject",
        "status",
        "attempts",
        "reason",
        "order_id",
        "created_at",
        "sent_at",
    ]
    assert (row["tenant_id"], row["recipient"], row["order_id"]) == (ACME, "ann@example.com", ORDER)
    assert (await office.call("admin", path=f"/{row['id']}")).json["data"] == row


async def test_a_list_is_filtered_and_paged(office: PostOffice) -> None:
    office.people.add(ACME, person(OLGA, email="Olga@Example.com"))
    other = OrderId(uuid7())
    await office.tell(created())
    await office.deliver(hours=1)
    await office.tell(created(other, user_id=OLGA))
    await office.deliver(hours=1)
    await office.tell(moved(OrderStatus.SHIPPED, other, user_id=OLGA))
    for query, templates in {
        "?status=sent": ["order_created", "order_created"],
        "?status=queued": ["order_shipped"],
        "?status=failed": [],
        "?template=order_shipped": ["order_shipped"],
        f"?order_id={other}": ["order_shipped", "order_created"],
        f"?order_id={other}&status=sent": ["order_created"],
        "?recipient=olga@example.com": ["order_created"],
        "?recipient=ann@example.com&template=welcome": [],
        "?from=2026-01-01T12:30:00Z": ["order_shipped", "order_created"],
        "?to=2026-01-01T12:30:00Z": ["order_created"],
        "?recipient=": [],
        "?order_id=nothing": [],
    }.items():
        found = await office.call("admin", path=query)
        assert [each["template"] for each in found.json["data"]] == templates, query
        assert found.json["meta"]["total_count"] == len(templates), query
    met, after = list[str](), ""
    while True:
        page = (await office.call("admin", path=f"?limit=1{after}")).json
        met += [each["template"] for each in page["data"]]
        if not page["meta"]["has_more"]:
            break
        after = f"&after={page['meta']['next_cursor']}"
    assert met == ["order_shipped", "order_created", "order_created"]


@pytest.mark.parametrize(
    "query, field",
    [
        ("status=lost", "status"),
        ("template=spam", "template"),
        ("from=yesterday", "from"),
        ("from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", "from"),
        ("after=x", "after"),
        ("recipient=" + "a" * 255, "recipient"),
        ("user_id=x", "user_id"),
    ],
)
async def test_a_query_that_means_nothing_is_refused_by_name(
    office: PostOffice, query: str, field: str
) -> None:
    answer = await office.call("admin", path=f"?{query}")
    assert answer.status == 400
    assert [each["field"] for each in answer.json["error"]["details"]] == [field]


@pytest.mark.parametrize(
    "who, method, path, status",
    [
        ("nobody", "GET", "", 401),
        ("ann", "GET", "", 403),
        ("ann", "GET", "/{}", 403),
        ("ann", "GET", "/{}/preview", 403),
        ("ann", "POST", "/{}/resend", 403),
        ("rival", "GET", "/{}", 404),
        ("rival", "GET", "/{}/preview", 404),
        ("rival", "POST", "/{}/resend", 404),
        ("reader", "GET", "/{}", 200),
        ("reader", "GET", "/{}/preview", 200),
        ("reader", "POST", "/{}/resend", 403),
        ("robot", "POST", "/{}/resend", 202),
        ("admin", "POST", "/{}/resend", 202),
        ("admin", "GET", "/nothing", 404),
        ("admin", "POST", "/nothing/resend", 404),
    ],
)
async def test_who_may_what(office: PostOffice, who: str, method: str, path: str, status: int) -> None:
    await office.tell(created())
    await office.deliver()
    found = (await office.only())["id"]
    answer = await office.call(who, method, path.format(found))
    assert answer.status == status, answer.body
    if status == 202:
        await office.deliver()
    assert len(await office.mails()) == (2 if status == 202 else 1)


async def test_another_stores_notifications_are_in_no_list(office: PostOffice) -> None:
    await office.tell(created())
    await office.deliver()
    assert await office.listed("rival") == []
    assert await office.mails("rival") == []
    mail = (await office.mails())[0]["id"]
    assert (await office.call("rival", root=MAILBOX, path=f"/{mail}")).status == 404
    assert (await office.call("olga", named=OTHER)).json["data"] == []
    assert len((await office.call("olga", named=ACME)).json["data"]) == 1


async def test_admins_do_not_see_what_is_written_to_operators(office: PostOffice) -> None:
    await office.tell(registered(HOME, OLGA, role=Role.OPERATOR))
    await office.tell(wanted("reset-password", HOME, OLGA), wanted("verify-email", HOME, OLGA))
    await office.tell(created(OrderId(uuid7()), tenant_id=HOME, user_id=OLGA))
    await office.deliver()
    written = await office.listed("olga")
    assert len(written) == len(await office.mails("olga")) == 4
    mails = [each["id"] for each in await office.mails("olga")]
    for who in ("homeadmin", "homerobot"):
        listed = await office.call(who)
        assert (listed.json["data"], listed.json["meta"]["total_count"]) == ([], 0)
        for each in written:
            for method, path in (("GET", ""), ("GET", "/preview"), ("POST", "/resend")):
                assert (await office.call(who, method, f"/{each['id']}{path}")).status == 404
    box = await office.call("homeadmin", root=MAILBOX)
    assert (box.json["data"], box.json["meta"]["total_count"]) == ([], 0)
    for mail in mails:
        assert (await office.call("homeadmin", root=MAILBOX, path=f"/{mail}")).status == 404


async def test_no_machine_and_no_customer_reads_the_mailbox(office: PostOffice) -> None:
    await office.tell(wanted("reset-password"))
    await office.deliver()
    mail = (await office.mails())[0]["id"]
    for path in ("", f"/{mail}", "/nothing"):
        for who, status in (("robot", 403), ("ann", 403), ("nobody", 401)):
            assert (await office.call(who, root=MAILBOX, path=path)).status == status
    assert (await office.call("admin", root=MAILBOX, path="/nothing")).status == 404


async def test_the_mailbox_has_the_link_and_the_preview_has_none(office: PostOffice) -> None:
    await office.tell(wanted("reset-password"))
    await office.deliver()
    (mail,) = await office.mails()
    (link,) = office.people.links
    assert link in mail["text"]
    assert link in mail["html"].replace("&amp;", "&")
    row = await office.only()
    preview = (await office.call("admin", path=f"/{row['id']}/preview")).json["data"]
    assert preview["subject"] == mail["subject"] == row["subject"]
    assert preview["text"] == mail["text"].replace(link, "https://link.invalid/made-when-it-is-sent")


async def test_a_preview_shows_what_there_is_of_somebody_who_is_gone(office: PostOffice) -> None:
    await office.tell(created())
    office.people.known.clear()
    row = await office.only()
    preview = await office.call("admin", path=f"/{row['id']}/preview")
    assert preview.status == 200
    assert "Hello" not in preview.json["data"]["text"]
    office.people.is_away = True
    assert (await office.call("admin", path=f"/{row['id']}/preview")).status == 503


async def test_a_mail_is_sent_again_as_another_one(office: PostOffice) -> None:
    await office.tell(wanted("reset-password"))
    row = await office.only()
    path = f"/{row['id']}/resend"
    waiting = await office.call("admin", "POST", path)
    assert (waiting.status, waiting.code) == (409, "CONFLICT")
    await office.deliver()
    answers = [await office.call("admin", "POST", path, key="again") for _ in range(3)]
    assert [each.status for each in answers] == [202] * 3
    assert [each.headers.get("idempotent-replayed") for each in answers] == [None, "true", "true"]
    assert answers[0].json["data"]["status"] == "queued"
    assert (await office.call("admin", "POST", path)).status == 409
    await office.deliver()
    first, second = await office.mails()
    assert first["notification_id"] == second["notification_id"] == row["id"]
    assert first["headers"]["Message-ID"] != second["headers"]["Message-ID"]
    assert len(set(office.people.links)) == 2, "each sending has its own link"
    assert (await office.only())["attempts"] == 1


async def test_of_twenty_who_have_it_sent_again_at_once_one_does(office: PostOffice) -> None:
    await office.tell(created())
    await office.deliver()
    path = f"/{(await office.only())['id']}/resend"
    answers = await asyncio.gather(*(office.call("admin", "POST", path) for _ in range(20)))
    assert sorted(each.status for each in answers) == [202] + [409] * 19
    await office.deliver()
    assert len(await office.mails()) == 2


@pytest.mark.parametrize("before", ["failed", "skipped"])
async def test_what_was_given_up_can_be_sent_after_all(office: PostOffice, before: str) -> None:
    await office.tell(created())
    if before == "failed":
        worker = office.another(Scripted([MailRefused("550 no")]))
        await worker.sweep()
        await worker.idle()
    else:
        known = dict(office.people.known)
        office.people.known.clear()
        await office.deliver()
        office.people.known |= known
    row = await office.only()
    assert row["status"] == before
    assert (await office.call("admin", "POST", f"/{row['id']}/resend")).status == 202
    await office.deliver()
    row = await office.only()
    assert (row["status"], row["reason"], row["attempts"]) == ("sent", None, 1)
    assert len(await office.mails()) == 1


@pytest.mark.parametrize("url", ["https://s.example/?token={}", "https://s.example/{}/go", "app://x#{}&a=1"])
async def test_a_server_that_repeats_a_link_in_its_refusal_tells_it_to_nobody(
    office: PostOffice, caplog: pytest.LogCaptureFixture, url: str
) -> None:
    office.people.url = url

    class Echoing(Scripted):
        async def send(self, mail: Mail) -> Deposit | None:
            await super().send(mail)
            (link,) = office.people.links
            token = re.findall("canary[^/&]*", link)[0]
            raise MailRefused(f"554 URL {link} blocked; see {token} in https://list.example/?q={token}")

    worker = office.another(Echoing())
    await office.tell(wanted("reset-password"))
    await worker.sweep()
    await worker.idle()
    row = await office.only()
    assert row["status"] == "failed"
    assert row["reason"].startswith("554 URL [link] blocked")
    assert "canary" not in repr(row) + caplog.text + await office.rows("notifications")
    assert not [each for each in caplog.records if "canary" in repr(each.__dict__)]
