"""What every sender of emails does, and what a mail server may do to one."""

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mercato.adapters.sql.database import Database, Tx
from mercato.kernel.ids import NotificationId, UserId, uuid7
from mercato.kernel.paging import Window
from mercato.kernel.tenancy import TenantId
from mercato.notifications.domain import Template
from mercato.notifications.ports import Address, Mail, MailRefused, NotSentNow, Sender
from mercato.notifications.senders.smtp import Server, SmtpSender
from mercato.notifications.stores.mailbox import LocalMailbox
from mercato.users.domain import _EMAIL_PATTERN
from tests.conftest import OpenDatabase
from tests.mail_server import PASSWORD, USER, Conversation, MailServer, certificate, mail_server

ACME = TenantId("acme")
TOKEN = "canary-token-in-a-link"


def mail(**changed: Any) -> Mail:
    known = Mail(
        tenant=ACME,
        notification_id=NotificationId(uuid7()),
        sending=1,
        template=Template.RESET_PASSWORD,
        user_id=UserId(uuid7()),
        message_id=f"<{uuid7()}.1@mail.example>",
        sender=Address("Acme Tea", "no-reply@mail.example"),
        recipient=Address("Ann Lee", "ann@example.com"),
        reply_to="help@mail.example",
        subject="A subject",
        text=f"Go to https://shop.example/account/reset-password?token={TOKEN}\n.\nafter the dot\n",
        html=f"<p>Go to <a href='https://shop.example/?token={TOKEN}'>it</a></p>",
        date=datetime(2026, 1, 1, 12, tzinfo=UTC),
    )
    return msgspec.structs.replace(known, **changed)


def smtp(server: MailServer, **changed: Any) -> SmtpSender:
    known = Server(host="127.0.0.1", port=server.port, tls="none", timeout_s=5.0)
    return SmtpSender(msgspec.structs.replace(known, **changed))


@dataclass
class Taken:
    """An email as its reader gets it."""

    sender: str
    recipient: str
    subject: str
    text: str
    html: str
    message_id: str


@dataclass
class Post:
    """A sender, and where its emails arrive."""

    send: Callable[[Mail], Awaitable[None]]
    arrived: Callable[[], Awaitable[list[Taken]]]
    keeps_one: bool
    """Whether an email that is sent twice is there once."""


@pytest.fixture(params=["mailbox", "smtp"])
async def post(request: pytest.FixtureRequest, open_database: OpenDatabase) -> AsyncIterator[Post]:
    async with AsyncExitStack() as stack:
        if request.param == "mailbox":
            db = await open_database("notifications")
            box = LocalMailbox(db, keep=100)
            yield Post(recording(box, db), lambda: in_mailbox(box), keeps_one=True)
        else:
            server = await stack.enter_async_context(mail_server(utf8=True))

            async def arrived() -> list[Taken]:
                return at_server(server)

            yield Post(recording(smtp(server), None), arrived, keeps_one=False)


def recording(sender: Sender, db: Database | None) -> Callable[[Mail], Awaitable[None]]:
    """Return what sends an email, and records that it was sent if something is left to do with that."""

    async def send(mail: Mail) -> None:
        deposit = await sender.send(mail)
        assert (deposit is None) == (db is None)
        if deposit is not None and db is not None:

            async def step(tx: Tx) -> None:
                await deposit(tx)

            await db.transact(step)

    return send


async def in_mailbox(box: LocalMailbox) -> list[Taken]:
    found = await box.search(ACME, Window(100, 0, None, counted=False), operators=True)
    return [
        Taken(
            f"{each.mail.sender.name} <{each.mail.sender.email}>",
            each.mail.recipient.email,
            each.mail.subject,
            each.mail.text,
            each.mail.html,
            each.mail.message_id,
        )
        for each in reversed(found)
    ]


def at_server(server: MailServer) -> list[Taken]:
    found = []
    for message, recipients in zip(server.taken, server.recipients, strict=True):
        text, html = message.iter_parts()
        (recipient,) = recipients
        (shown,) = message["From"].addresses
        found.append(
            Taken(
                f"{shown.display_name} <{shown.addr_spec}>",
                recipient,
                str(message["Subject"]),
                _lines(text.get_content()),
                _lines(html.get_content()),
                str(message["Message-ID"]),
            )
        )
    return found


def _lines(text: str) -> str:
    """Return a text with the line ends it had before it travelled."""
    return text.replace("\r\n", "\n")


async def test_an_email_arrives_as_it_was_sent(post: Post) -> None:
    sent = mail(subject="Zoë: tea, 1.234,50 €", text="Grüße\n", html="<p>茶</p>\n")
    await post.send(sent)
    (taken,) = await post.arrived()
    assert taken == Taken(
        "Acme Tea <no-reply@mail.example>",
        "ann@example.com",
        sent.subject,
        sent.text,
        sent.html,
        sent.message_id,
    )


async def test_an_email_tried_again_is_the_same_one(post: Post) -> None:
    sent = mail()
    await post.send(sent)
    await post.send(msgspec.structs.replace(sent, text="with a fresh link\n"))
    arrived = await post.arrived()
    assert {each.message_id for each in arrived} == {sent.message_id}
    assert len(arrived) == (1 if post.keeps_one else 2)


async def test_an_email_sent_again_on_purpose_is_another_one(post: Post) -> None:
    sent = mail()
    await post.send(sent)
    await post.send(msgspec.structs.replace(sent, sending=2, message_id="<again@mail.example>"))
    assert len(await post.arrived()) == 2


@pytest.mark.parametrize(
    "name",
    [
        'Eve", "Mallory" <mallory@evil.example>, "',
        "Eve\r\nBcc: mallory@evil.example",
        "Eve\nBcc: mallory@evil.example\n\nbody",
        "Eve\u2028Bcc: mallory@evil.example",
        "Eve, mallory@evil.example, " + "x" * 70,
        "=?utf-8?q?Eve=0D=0ABcc:_mallory@evil.example?=",
        "Ёва, mallory@evil.example, Ёва " * 3,
        "\\",
        '\\" <mallory@evil.example>, ',
        "<mallory@evil.example>",
        "{{7*7}}{% raw %}",
        "<script>alert(1)</script>",
        "(comment) ;group: mallory@evil.example;",
        "茶" * 100,
        "a" * 100,
        " ",
        "",
    ],
)
async def test_a_name_is_a_name_and_adds_no_recipient(post: Post, name: str) -> None:
    await post.send(
        mail(recipient=Address(name, "ann@example.com"), sender=Address(name, "no-reply@mail.example"))
    )
    (taken,) = await post.arrived()
    assert taken.recipient == "ann@example.com"
    assert taken.sender.endswith("<no-reply@mail.example>")


@pytest.fixture
async def server() -> AsyncIterator[MailServer]:
    async with mail_server(utf8=True) as serving:
        yield serving


def headers_of(server: MailServer) -> list[str]:
    head = server.raw[-1].partition(b"\r\n\r\n")[0].decode()
    return [line.partition(":")[0] for line in head.replace("\r\n ", " ").split("\r\n")]


HEADERS = [
    "From",
    "To",
    "Subject",
    "Date",
    "Message-ID",
    "Auto-Submitted",
    "X-Auto-Response-Suppress",
    "Reply-To",
    "MIME-Version",
    "Content-Type",
]


async def test_a_message_is_one_that_mail_programs_take(server: MailServer) -> None:
    await smtp(server).send(mail())
    (message,) = server.taken
    assert headers_of(server) == HEADERS
    assert message.get_content_type() == "multipart/alternative"
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["X-Auto-Response-Suppress"] == "All"
    assert message["Reply-To"] == "help@mail.example"
    assert message["Date"].datetime == datetime(2026, 1, 1, 12, tzinfo=UTC)
    assert [str(each) for each in message["To"].addresses] == ["Ann Lee <ann@example.com>"]
    assert not message.defects
    assert max(map(len, server.raw[0].split(b"\r\n"))) <= 78
    assert b"\n" not in server.raw[0].replace(b"\r\n", b"")


_printable = st.text(min_size=1, max_size=100)
_addresses = st.from_regex(_EMAIL_PATTERN, fullmatch=True).filter(lambda a: a.isprintable() and len(a) < 200)


@given(name=_printable, subject=_printable, address=_addresses)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_whatever_people_are_called_a_mail_has_one_recipient_and_its_own_headers(
    server: MailServer, name: str, subject: str, address: str
) -> None:
    before = len(server.taken)
    sent = mail(recipient=Address(name, address), sender=Address(name, "a@mail.example"), subject=subject)
    try:
        await smtp(server).send(sent)
    except MailRefused:
        assert len(server.taken) == before
        return
    (recipient,) = server.recipients[-1]
    local, _, domain = address.rpartition("@")
    assert recipient in {address, f"{local}@{domain.encode('idna').decode()}" if local.isascii() else ""}
    assert headers_of(server) == HEADERS
    (shown,) = server.taken[-1]["From"].addresses
    assert shown.addr_spec == "a@mail.example"


@pytest.mark.parametrize(
    "stage, code, error",
    [
        ("rcpt", "451 4.7.1 greylisted, come back", NotSentNow),
        ("rcpt", "550 5.1.1 no such user", MailRefused),
        ("data", "452 4.2.2 mailbox full", NotSentNow),
        ("data", "554 5.7.1 we do not like it", MailRefused),
        ("data", "421 4.3.2 shutting down", NotSentNow),
    ],
)
async def test_a_refusal_says_whether_it_is_for_good(
    server: MailServer, stage: str, code: str, error: type[Exception]
) -> None:
    (server.to_rcpt if stage == "rcpt" else server.to_data).append(code)
    sent = mail()
    with pytest.raises(error) as told:
        await smtp(server).send(sent)
    assert code in str(told.value)
    await smtp(server).send(sent)
    assert [each["Message-ID"] for each in server.taken] == [sent.message_id]


async def test_a_connection_that_breaks_in_the_middle_of_a_mail_is_tried_again(server: MailServer) -> None:
    async def reset(conversation: Conversation) -> None:
        conversation.reset()

    server.before_data = reset
    with pytest.raises(NotSentNow):
        await smtp(server).send(mail())
    assert server.taken == []
    server.before_data = None
    await smtp(server).send(mail())
    assert len(server.taken) == 1


async def test_a_mail_taken_whose_answer_is_lost_comes_again_under_the_same_message_id(
    server: MailServer,
) -> None:
    async def reset(conversation: Conversation) -> None:
        conversation.reset()

    sent = mail()
    server.after_data = reset
    with pytest.raises(NotSentNow):
        await smtp(server).send(sent)
    server.after_data = None
    await smtp(server).send(sent)
    assert [each["Message-ID"] for each in server.taken] == [sent.message_id] * 2


async def test_a_server_that_stops_answering_is_left_in_time(server: MailServer) -> None:
    async def hang(_: Conversation) -> None:
        await asyncio.Event().wait()

    server.before_data = hang
    async with asyncio.timeout(5):
        with pytest.raises(NotSentNow):
            await smtp(server, timeout_s=0.3).send(mail())


async def test_a_server_that_is_not_there_is_tried_again(server: MailServer) -> None:
    for changed in ({"port": 1}, {"host": "no-such-host.invalid"}):
        with pytest.raises(NotSentNow):
            await smtp(server, **changed).send(mail())


async def test_a_server_that_says_nothing_is_left_in_time() -> None:
    ended: asyncio.Queue[None] = asyncio.Queue()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        ended.put_nowait(None)

    listener = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    async with listener, asyncio.timeout(5):
        for tls in ("none", "implicit", "starttls"):
            with pytest.raises(NotSentNow):
                await smtp(MailServer(port), timeout_s=0.3, tls=tls).send(mail())
            await ended.get()


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
async def test_a_mail_goes_encrypted_and_signed_in_to_a_server_that_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tls: str
) -> None:
    context, trusted = certificate(tmp_path)
    login = {"tls": tls, "user": USER, "password": PASSWORD}
    async with mail_server(tls=context, implicit=tls == "implicit", auth=True) as server:
        with pytest.raises(NotSentNow, match="certificate"):
            await smtp(server, **login).send(mail())
        assert server.taken == []
        monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
        await smtp(server, **login).send(mail())
        assert len(server.taken) == 1
        with pytest.raises(NotSentNow, match=r"cannot be (used|reached)"):
            await smtp(server, **login | {"host": "localhost"}).send(mail())
        with pytest.raises(NotSentNow, match="535") as told:
            await smtp(server, **login | {"password": "wrong-canary"}).send(mail())
        assert "wrong-canary" not in str(told.value)
        assert len(server.taken) == 1


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
async def test_a_server_that_repeats_what_it_is_told_tells_nobody_the_password(mechanism: str) -> None:
    ended = asyncio.Event()

    async def parrot(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 parrot\r\n")
        while line := await reader.readline():
            said = line.strip()
            if said.startswith(b"EHLO"):
                writer.write(b"250-parrot\r\n250 AUTH " + mechanism.encode() + b"\r\n")
            elif said.startswith(b"AUTH LOGIN"):
                writer.write(b"334 UGFzc3dvcmQ6\r\n")
            else:
                meant = base64.b64decode(said.split()[-1] + b"==").replace(b"\0", b" ")
                writer.write(b"535 " + b"x" * 280 + b" what is " + said + b", or " + meant + b"?\r\n")
        writer.close()
        ended.set()

    listener = await asyncio.start_server(parrot, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    async with listener, asyncio.timeout(20):
        with pytest.raises(NotSentNow, match="535") as told:
            await smtp(MailServer(port), user=USER, password=PASSWORD).send(mail())
        await ended.wait()
    login = base64.b64encode(PASSWORD.encode()).decode()
    plain = base64.b64encode(f"\0{USER}\0{PASSWORD}".encode()).decode()
    # Not even a part of it, where what the server says is cut.
    assert [part for part in (PASSWORD[:6], login[:6], plain[16:22]) if part in str(told.value)] == []


async def test_a_server_that_offers_no_encryption_is_given_nothing(server: MailServer) -> None:
    with pytest.raises(NotSentNow, match="cannot be used"):
        await smtp(server, tls="starttls").send(mail())
    assert server.taken == []


async def test_an_address_in_another_script_goes_where_the_server_can(server: MailServer) -> None:
    address = "жанна@example.com"
    await smtp(server).send(mail(recipient=Address("Жанна", address)))
    assert server.recipients == [[address]]
    async with mail_server() as plain:
        with pytest.raises(MailRefused, match="SMTPUTF8"):
            await smtp(plain).send(mail(recipient=Address("Жанна", address)))
        await smtp(plain).send(mail(recipient=Address("Ann", "ann@bücher.example")))
        assert plain.recipients == [["ann@xn--bcher-kva.example"]]


async def test_the_mailbox_keeps_the_latest_mails_of_each_store(open_database: OpenDatabase) -> None:
    db = await open_database("notifications")
    box = LocalMailbox(db, keep=3)
    send = recording(box, db)
    await send(mail(tenant=TenantId("other"), subject="of another store"))
    for number in range(7):
        await send(mail(subject=f"mail {number}"))
    assert [each.subject for each in await in_mailbox(box)] == ["mail 4", "mail 5", "mail 6"]
    assert await box.count(TenantId("other"), operators=True) == 1
