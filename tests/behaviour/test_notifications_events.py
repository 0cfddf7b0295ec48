"""What happens becomes an email: one for each event, with what the event says, and never a secret."""

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest

from mercato.contracts.events import Payload
from mercato.contracts.orders import OrderStatus
from mercato.contracts.payments import PaymentFailed, PaymentRefunded, PaymentStatus
from mercato.contracts.users import UserUpdated
from mercato.kernel.ids import OrderId, uuid7
from mercato.kernel.principal import Role
from tests.behaviour.post_office import (
    ACME,
    HOME,
    OLGA,
    ORDER,
    PostOffice,
    created,
    moved,
    open_office,
    paid,
    registered,
    wanted,
)
from tests.conftest import OpenDatabase


@pytest.fixture
async def office(open_database: OpenDatabase) -> AsyncIterator[PostOffice]:
    async with open_office(open_database) as opened:
        yield opened


@pytest.mark.parametrize(
    "payload, template",
    [
        (registered(), "welcome"),
        (registered(invited=True), "invitation"),
        (created(), "order_created"),
        (paid(), "order_paid"),
        (moved(OrderStatus.SHIPPED), "order_shipped"),
        (moved(OrderStatus.DELIVERED), "order_delivered"),
        (moved(OrderStatus.CANCELLED), "order_cancelled"),
        (paid(PaymentFailed), "payment_failed"),
        (paid(PaymentRefunded, refunded_amount=1), "refunded"),
        (wanted("reset-password"), "reset_password"),
        (wanted("verify-email"), "verify_email"),
        (wanted("accept-invitation"), "invitation"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_each_sort_of_event_is_one_email(office: PostOffice, payload: Payload, template: str) -> None:
    await office.tell(payload)
    queued = await office.only()
    assert (queued["template"], queued["status"], queued["attempts"]) == (template, "queued", 0)
    assert (queued["recipient"], queued["subject"], queued["sent_at"]) == (None, None, None)
    await office.deliver()
    sent = await office.only()
    assert (sent["status"], sent["attempts"], sent["recipient"]) == ("sent", 1, "ann@example.com")
    (mail,) = await office.mails()
    assert mail["template"] == template
    assert (mail["subject"], mail["recipient"]) == (sent["subject"], sent["recipient"])
    assert mail["headers"]["From"] == "Acme Tea <no-reply@mail.example>"
    is_about_order = template.startswith(("order", "payment", "refunded"))
    assert sent["order_id"] == (ORDER if is_about_order else None)
    for words in (mail["text"], mail["html"]):
        assert "Hello Ann" in words
        assert ("token=canary-0-token" in words) == (not is_about_order)
        assert ("1,234.50 EUR" in words) == is_about_order


@pytest.mark.parametrize(
    "payload",
    [moved(OrderStatus.CONFIRMED), moved(OrderStatus.PROCESSING)],
    ids=["confirmed", "processing"],
)
async def test_what_another_email_says_is_none_of_its_own(office: PostOffice, payload: Payload) -> None:
    await office.tell(payload)
    assert await office.listed() == []


async def test_an_event_that_comes_again_is_one_email_all_the_same(office: PostOffice) -> None:
    body = office.teller.encoded(created())
    await asyncio.gather(*(office.inbox.receive([body]) for _ in range(20)))
    await office.deliver()
    await office.inbox.receive([body])
    await office.deliver(hours=1)
    assert len(await office.mails()) == len(await office.listed()) == 1


async def test_an_event_is_taken_in_while_everything_else_is_away(office: PostOffice) -> None:
    office.people.is_away = True
    office.stores.known.clear()
    await office.tell(registered(), created())
    assert [each["status"] for each in await office.listed()] == ["queued", "queued"]


async def test_a_refund_says_what_has_been_given_back_of_what(office: PostOffice) -> None:
    await office.tell(paid(PaymentRefunded, refunded_amount=50_00, amount=200_00))
    await office.deliver()
    everything = paid(PaymentRefunded, refunded_amount=200_00, amount=200_00, status=PaymentStatus.REFUNDED)
    await office.tell(everything)
    await office.deliver()
    some, rest = await office.mails()
    for mail, words, back in ((some, "A part of", "50.00 EUR"), (rest, "all of it", "200.00 EUR")):
        for told in (mail["text"], mail["html"]):
            assert words in told
            assert "200.00 EUR" in told
            assert back in told


@pytest.mark.parametrize(
    "currency, shown", [("JPY", "123,450 JPY"), ("EUR", "1,234.50 EUR"), ("KWD", "123.450 KWD")]
)
async def test_an_amount_has_the_digits_of_its_currency(
    office: PostOffice, currency: str, shown: str
) -> None:
    await office.tell(created(currency=currency))
    await office.deliver()
    (mail,) = await office.mails()
    for words in (mail["text"], mail["html"]):
        assert words.count(shown) == 2, "the line and the total"


async def test_no_notification_knows_a_link_or_more_than_it_tells(office: PostOffice) -> None:
    await office.tell(registered(), wanted("reset-password"), wanted("accept-invitation"))
    await office.deliver()
    assert len(office.people.links) == 3
    kept = await office.rows("notifications")
    assert "token" not in kept
    assert "canary" not in kept
    for each in await office.listed():
        assert "canary" not in repr(each)
        preview = (await office.call("admin", path=f"/{each['id']}/preview")).json["data"]
        assert "canary" not in repr(preview)
        assert "https://link.invalid/" in preview["text"]
    assert len(office.people.links) == 3, "looking at an email makes no link"


async def test_who_becomes_an_operator_is_not_seen_by_admins_any_more(office: PostOffice) -> None:
    await office.tell(registered(HOME), registered(HOME, OLGA, role=Role.OPERATOR))
    await office.deliver()
    assert len(await office.listed("homeadmin")) == 1
    assert len(await office.listed("olga")) == 2
    promoted = msgspec.convert(
        msgspec.to_builtins(registered(HOME, role=Role.OPERATOR)), UserUpdated, strict=False
    )
    await office.tell(promoted)
    assert await office.listed("homeadmin") == []
    assert await office.mails("homeadmin") == []
    await office.tell(msgspec.structs.replace(promoted, role=Role.CUSTOMER))
    assert len(await office.listed("homeadmin")) == 1
    assert len(await office.listed("olga")) == 2


async def test_many_events_of_many_orders_are_an_email_each(office: PostOffice) -> None:
    orders = [OrderId(uuid7()) for _ in range(60)]
    await office.tell(*(created(order) for order in orders), *(moved(OrderStatus.SHIPPED, o) for o in orders))
    while any(each["status"] != "sent" for each in await office.listed(query="?page_size=100")):
        await office.deliver()
    rows = await office.db.fetch_all("SELECT order_id, count(*) FROM notifications GROUP BY order_id")
    assert dict(rows) == dict.fromkeys(orders, 2)
    row = await office.db.fetch_one("SELECT count(*) FROM mailbox WHERE tenant_id = ?", (ACME,))
    assert row == (120,)
