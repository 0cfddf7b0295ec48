"""Sending: each email once, tried again as long as that may help, and given up where all can see it."""

import asyncio
import logging
from collections.abc import AsyncIterator

import msgspec
import pytest

from mercato.kernel.ids import OrderId, uuid7
from mercato.notifications import workers
from mercato.notifications.ports import Deposit, Mail, MailRefused, NotSentNow
from tests.behaviour.post_office import (
    ACME,
    ANN,
    HOME,
    SETTINGS,
    PostOffice,
    Scripted,
    created,
    open_office,
    person,
    registered,
    wanted,
)
from tests.conftest import OpenDatabase


class Hanging(Scripted):
    """A Sender that is never told."""

    async def send(self, mail: Mail) -> Deposit | None:
        await super().send(mail)
        await asyncio.Event().wait()
        return None


@pytest.fixture
async def office(open_database: OpenDatabase) -> AsyncIterator[PostOffice]:
    async with open_office(open_database) as opened:
        yield opened


async def test_an_email_goes_out_as_soon_as_its_event_is_in(
    office: PostOffice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "SWEEP_S", 3600.0)
    running = asyncio.create_task(office.service.dispatch.run())
    try:
        async with asyncio.timeout(30):
            await asyncio.sleep(0)
            await office.tell(created())
            await office.until(lambda row: row["status"] == "sent")
    finally:
        running.cancel()


async def test_a_server_that_says_later_is_asked_later_and_ever_more_slowly(office: PostOffice) -> None:
    sender = Scripted([NotSentNow("450 greylisted"), NotSentNow("450 again"), None])
    worker = office.another(sender)
    await office.tell(wanted("reset-password"))
    for waits in (10, 30):
        await worker.sweep()
        await worker.idle()
        row = await office.only()
        assert row["status"] == "queued"
        assert row["reason"].startswith("450")
        assert row["recipient"] == "ann@example.com"
        before = len(sender.sent)
        office.clock.forward(seconds=waits - 0.001)
        await worker.sweep()
        assert len(sender.sent) == before, "it is too early"
        office.clock.forward(seconds=0.001)
    await worker.sweep()
    await worker.idle()
    row = await office.only()
    assert (row["status"], row["attempts"], row["reason"]) == ("sent", 3, None)
    assert len({mail.message_id for mail in sender.sent}) == 1, "it is one email, however often it is tried"
    links = [mail.text[mail.text.index("https://") :].split()[0] for mail in sender.sent]
    assert len(set(links)) == 3, "each try has a fresh link"


async def test_a_refusal_for_good_is_given_up_at_once(
    office: PostOffice, caplog: pytest.LogCaptureFixture
) -> None:
    worker = office.another(Scripted([MailRefused("The mail server answered 550 no such user")]))
    await office.tell(created())
    await worker.sweep()
    await worker.idle()
    row = await office.only()
    assert (row["status"], row["attempts"]) == ("failed", 1)
    assert row["reason"] == "The mail server answered 550 no such user"
    (told,) = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert (told.getMessage(), told.__dict__["notification"]) == ("mail given up", row["id"])
    office.clock.forward(days=30)
    await worker.sweep()
    assert (await office.only())["status"] == "failed"
    gauge = office.service.parts.gauges[0]
    assert await gauge.read() == {("queued",): 0, ("sending",): 0, ("failed",): 1}


async def test_what_never_works_is_given_up_after_a_day(office: PostOffice) -> None:
    sender = Scripted([NotSentNow("the mail server is away")])
    worker = office.another(sender)
    await office.tell(created())
    began = office.clock()
    for _ in range(2_000):
        await worker.sweep()
        await worker.idle()
        if (await office.only())["status"] == "failed":
            break
        office.clock.forward(minutes=5)
    row = await office.only()
    assert (row["status"], row["attempts"], len(sender.sent)) == ("failed", 15, 15)
    assert row["reason"] == "the mail server is away (given up after 15 attempts)"
    assert 20 <= (office.clock() - began).total_seconds() / 3600 <= 30


async def test_while_users_is_away_mails_wait(office: PostOffice) -> None:
    office.people.is_away = True
    await office.tell(registered(), created())
    await office.deliver()
    for row in await office.listed():
        assert (row["status"], row["reason"]) == ("queued", "The users service is away.")
    office.people.is_away = False
    await office.deliver(seconds=13)
    assert len(await office.mails()) == 2


@pytest.mark.parametrize(
    "who, reason",
    [
        ("nobody", "there is no such user of the store"),
        ("disabled", "the user is disabled"),
        ("no store", "the store is gone"),
        ("no link", "there is nothing left to link to"),
    ],
)
async def test_where_there_is_nobody_to_write_to_nothing_is_sent(
    office: PostOffice, who: str, reason: str
) -> None:
    match who:
        case "nobody":
            office.people.known.clear()
        case "disabled":
            office.people.add(ACME, person(is_active=False))
        case "no store":
            office.stores.known.clear()
        case _:
            office.people.no_links = True
    await office.tell(wanted("reset-password"))
    await office.deliver()
    await office.deliver(days=2)
    row = await office.only()
    assert (row["status"], row["reason"], row["attempts"]) == ("skipped", reason, 1)
    assert await office.mails() == []


async def test_somebody_who_is_verified_already_is_welcomed_without_a_link(office: PostOffice) -> None:
    office.people.no_links = True
    await office.tell(registered())
    await office.deliver()
    (mail,) = await office.mails()
    assert "Welcome to Acme Tea" in mail["html"]
    assert "https://" not in mail["text"]
    assert "Confirm" not in mail["html"]


async def test_an_email_goes_to_the_address_that_its_reader_has_now(office: PostOffice) -> None:
    await office.tell(registered())
    office.people.add(ACME, person(email="new@example.com"))
    await office.deliver()
    assert (await office.only())["recipient"] == "new@example.com"


async def test_of_twenty_senders_at_once_one_sends(office: PostOffice) -> None:
    sender = Scripted()
    workers = [office.another(sender) for _ in range(20)]
    orders = [OrderId(uuid7()) for _ in range(10)]
    await office.tell(*map(created, orders))
    await asyncio.gather(*(worker.sweep() for worker in workers))
    await asyncio.gather(*(worker.idle() for worker in workers))
    assert len(sender.sent) == len({mail.message_id for mail in sender.sent}) == 10
    assert {each["attempts"] for each in await office.listed()} == {1}


async def test_whoever_was_too_slow_records_nothing_over_another(office: PostOffice) -> None:
    gate = asyncio.Event()

    class Slow(Scripted):
        async def send(self, mail: Mail) -> Deposit | None:
            await super().send(mail)
            await gate.wait()
            raise MailRefused("what the slow one was told")

    slow, quick = Slow(), Scripted()
    first, second = office.another(slow), office.another(quick)
    await office.tell(created())
    await first.sweep()
    await slow.begun.wait()
    await second.sweep()
    assert quick.sent == [], "the lease is the first one's"
    office.clock.forward(seconds=2 * SETTINGS.timeout_s + 31)
    await second.sweep()
    await second.idle()
    assert (await office.only())["status"] == "sent"
    gate.set()
    await first.idle()
    row = await office.only()
    assert (row["status"], row["attempts"], row["reason"]) == ("sent", 2, None)
    assert slow.sent[0].message_id == quick.sent[0].message_id


async def test_one_slow_recipient_holds_up_no_other(office: PostOffice) -> None:
    gate, enough = asyncio.Event(), asyncio.Event()

    class SlowForOne(Scripted):
        async def send(self, mail: Mail) -> Deposit | None:
            if mail.recipient.email == "slow@example.com":
                await gate.wait()
            await super().send(mail)
            if len(self.sent) == 40:
                enough.set()
            return None

    sender = SlowForOne()
    worker = office.another(sender)
    slow = office.people.add(ACME, person(type(ANN)(uuid7()), email="slow@example.com"))
    running = asyncio.create_task(worker.run())
    try:
        await office.tell(created(OrderId(uuid7()), user_id=slow))
        await office.tell(*(created(OrderId(uuid7())) for _ in range(40)))
        worker.wake()
        async with asyncio.timeout(20):
            await enough.wait()
        assert {mail.recipient.email for mail in sender.sent} == {"ann@example.com"}
    finally:
        gate.set()
        running.cancel()
        await worker.close(within_s=20)
    assert len(sender.sent) == 41


async def test_what_a_crash_left_is_taken_up_at_the_next_start(
    office: PostOffice, open_database: OpenDatabase
) -> None:
    await office.tell(created())
    store = office.service.store
    (claimed,) = await store.claim(office.clock(), office.clock.forward(minutes=1), 10)
    assert claimed.status == "sending"
    assert await office.service.take_up() == 1
    await office.deliver()
    row = await office.only()
    assert (row["status"], row["attempts"]) == ("sent", 2)


async def test_what_crashes_whoever_sends_it_is_given_up_too(office: PostOffice) -> None:
    await office.tell(created())
    for _ in range(SETTINGS.attempts):
        (claimed,) = await office.service.store.claim(office.clock(), office.clock(), 10)
    assert claimed.attempts == SETTINGS.attempts
    await office.deliver()
    row = await office.only()
    assert (row["status"], row["reason"]) == ("failed", "every attempt to send it was broken off")


async def test_a_server_that_hangs_is_left(office: PostOffice) -> None:
    worker = office.another(Hanging(), msgspec.structs.replace(SETTINGS, timeout_s=2.0))
    await office.tell(created())
    await worker.sweep()
    await worker.idle()
    row = await office.only()
    assert (row["status"], row["reason"]) == ("queued", "the mail server did not answer in time")


async def test_a_defect_is_logged_and_tried_again_without_its_words(
    office: PostOffice, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("a-secret-of-the-defect")

    monkeypatch.setattr(office.people, "recipient", broken)
    await office.tell(created())
    await office.deliver()
    row = await office.only()
    assert (row["status"], row["reason"]) == ("queued", "it cannot be made: RuntimeError")
    assert "mail cannot be made" in caplog.text


async def test_a_database_that_fails_when_it_is_sent_sends_it_no_second_time_into_the_mailbox(
    office: PostOffice, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await office.tell(created())
    settle = office.service.store.settle

    async def fails(*_: object) -> bool:
        monkeypatch.setattr(office.service.store, "settle", settle)
        raise OSError("the disk is full")

    monkeypatch.setattr(office.service.store, "settle", fails)
    await office.deliver()
    assert (await office.only())["status"] == "sending"
    assert "what came of a mail cannot be kept now" in caplog.text
    await office.deliver(seconds=2 * SETTINGS.timeout_s + 31)
    assert (await office.only())["status"] == "sent"
    assert len(await office.mails()) == 1


async def test_a_stop_lets_a_mail_that_is_being_sent_end(office: PostOffice) -> None:
    gate, sender = asyncio.Event(), Scripted()

    class Slow(Scripted):
        async def send(self, mail: Mail) -> Deposit | None:
            await gate.wait()
            return await sender.send(mail)

    worker = office.another(Slow())
    await office.tell(created())
    running = asyncio.create_task(worker.run())
    await office.until(lambda row: row["status"] == "sending")
    running.cancel()
    closing = asyncio.create_task(worker.close(within_s=20))
    await asyncio.sleep(0)
    gate.set()
    await closing
    assert ((await office.only())["status"], len(sender.sent)) == ("sent", 1)


async def test_a_stop_waits_for_no_server_for_ever(office: PostOffice) -> None:
    worker = office.another(Hanging())
    await office.tell(created())
    await worker.sweep()
    async with asyncio.timeout(5):
        await worker.close(within_s=0.01)
    assert (await office.only())["status"] == "sending", "the next start takes it up"


async def test_what_was_over_long_ago_is_forgotten_in_every_store_and_nothing_else(
    office: PostOffice,
) -> None:
    for tenant in (ACME, HOME):
        await office.tell(*(created(OrderId(uuid7()), tenant_id=tenant) for _ in range(3)))
    await office.deliver()
    stuck = office.another(Scripted([NotSentNow("450 later")]))
    await office.tell(created(OrderId(uuid7())))
    await stuck.sweep()
    await stuck.idle()
    long_ago = office.clock()
    office.clock.forward(days=1)
    await office.tell(created(OrderId(uuid7())))
    store = office.service.store

    assert await store.purge(before=long_ago, limit=2) == 0, "they were queued at that moment, not before"
    assert await store.purge(before=office.clock(), limit=2) == 2
    assert await store.purge(before=office.clock(), limit=2) == 1
    assert await store.purge(before=office.clock(), limit=2) == 0
    assert [row["status"] for row in await office.listed()] == ["queued", "queued"]
    assert await office.listed("homeadmin") == []
    # It is sent all the same, and no event that was told again is a second mail.
    await office.deliver(hours=1)
    assert [row["status"] for row in await office.listed()] == ["sent", "sent"]
