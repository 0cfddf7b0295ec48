"""Sending by a mail server, over SMTP.

What it promises: every try of an email has the same Message-ID, and what the server refused for good is
told apart from what may work later. An email is taken twice only if this program, or the connection, dies
after the server took it and before that was recorded; no protocol closes that window.
"""

import asyncio
import base64
import re
import socket
import ssl
from typing import Literal

import aiosmtplib
import msgspec

from mercato.kernel.redaction import discreet
from mercato.notifications.ports import Mail, MailRefused, NotSentNow
from mercato.notifications.senders.mime import message

_MAX_TOLD = 300
_QUIT_S = 2.0
_host = re.compile(r"[A-Za-z0-9.-]+").fullmatch
Tls = Literal["none", "starttls", "implicit"]


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """A mail server, and who we are to it. Its certificate is verified by the system's authorities."""

    host: str
    port: int
    tls: Tls
    user: str = ""
    """Empty where it asks for no login."""
    password: str = ""
    timeout_s: float

    __repr__ = discreet


class SmtpSender:
    """See notifications.ports.Sender."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._context: ssl.SSLContext | None = None
        self._own_name: str | None = None

    async def send(self, mail: Mail) -> None:
        """Hand one email to the server. Raises NotSentNow, MailRefused."""
        to, options = _envelope(mail.recipient.email)
        content = message(mail, to)
        try:
            async with asyncio.timeout(self._server.timeout_s):
                client = await self._connect()
                try:
                    await client.sendmail(mail.sender.email, [to], content, mail_options=options)
                finally:
                    # Whether it is taken is decided: how the conversation ends changes nothing.
                    await _end(client)
        except (OSError, ssl.SSLError) as error:
            raise NotSentNow(f"The mail server cannot be reached: {_told(error)}") from error
        except aiosmtplib.SMTPRecipientsRefused as refused:
            raise _refusal(refused.recipients[0]) from refused
        except aiosmtplib.SMTPResponseException as answer:
            raise _refusal(answer) from answer
        except (aiosmtplib.SMTPNotSupported, ValueError) as error:
            raise MailRefused(f"The mail server takes no such address: {_told(error)}") from error
        except aiosmtplib.SMTPException as error:
            raise NotSentNow(f"The mail server failed: {_told(error)}") from error

    async def look(self) -> None:
        """See whether the server lets us in, and send nothing. Raises NotSentNow."""
        try:
            await _end(await self._connect())
        except (OSError, ssl.SSLError) as error:
            raise NotSentNow(f"The mail server cannot be reached: {_told(error)}") from error

    async def _connect(self) -> aiosmtplib.SMTP:
        """Return a connection that is encrypted and signed in. Raises NotSentNow.

        What goes wrong here is wrong with our settings or the server, and not with the mail: it waits.
        """
        server = self._server
        if self._own_name is None:
            self._own_name = await asyncio.to_thread(socket.getfqdn)
        client = aiosmtplib.SMTP(
            hostname=server.host,
            port=server.port,
            local_hostname=self._own_name,
            use_tls=server.tls == "implicit",
            start_tls=server.tls == "starttls",
            tls_context=None if server.tls == "none" else self._trusting(),
            username=server.user or None,
            password=server.password if server.user else None,
            timeout=server.timeout_s,
        )
        try:
            await client.connect()
        except aiosmtplib.SMTPResponseException as answer:
            told = self._without_password(answer.message)[:_MAX_TOLD]
            raise NotSentNow(f"The mail server refuses us: {answer.code} {told}") from answer
        except (aiosmtplib.SMTPException, ValueError) as error:
            raise NotSentNow(f"The mail server cannot be used: {_told(error)}") from error
        return client

    def _without_password(self, told: str) -> str:
        """Return what a server told without the password, for those that repeat what they refuse."""
        user, password = self._server.user, self._server.password
        if password:
            for sent in (password, f"\0{user}\0{password}"):
                for form in (sent, base64.b64encode(sent.encode()).decode()):
                    told = told.replace(form, "[password]")
        return told

    def _trusting(self) -> ssl.SSLContext:
        if self._context is None:
            self._context = ssl.create_default_context()
        return self._context


def _envelope(address: str) -> tuple[str, list[str]]:
    """Return how the server is told an address: in ASCII if that can be, else by SMTPUTF8."""
    if address.isascii():
        return address, []
    local, _, domain = address.rpartition("@")
    if local.isascii():
        try:
            host = domain.encode("idna").decode()
        except UnicodeError:
            host = ""
        # Some characters become spaces on the way.
        if not _host(host):
            raise MailRefused("The address has a domain that cannot be.")
        return f"{local}@{host}", []
    return address, ["SMTPUTF8"]


def _refusal(answer: aiosmtplib.SMTPResponseException) -> NotSentNow | MailRefused:
    """Tell a refusal for good, by its code (RFC 5321, section 4.2.1), from one for now."""
    told = f"The mail server answered {answer.code} {_told(answer)}"
    return MailRefused(told) if 500 <= answer.code < 600 else NotSentNow(told)


def _told(error: Exception) -> str:
    told = error.message if isinstance(error, aiosmtplib.SMTPException) else str(error)
    return (told or type(error).__name__)[:_MAX_TOLD]


async def _end(client: aiosmtplib.SMTP) -> None:
    try:
        async with asyncio.timeout(_QUIT_S):
            if client.is_connected:
                await client.quit()
    except (aiosmtplib.SMTPException, OSError):
        pass
    finally:
        client.close()
