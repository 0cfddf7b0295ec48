"""A real mail server with faults, in this loop."""

import asyncio
import ipaddress
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import SMTP as SMTP_POLICY
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

USER, PASSWORD = "mercato", "smtp-canary-password"


@dataclass(repr=False)
class MailServer:
    """What it answers, and what it has taken. An answer that is None goes on as usual."""

    port: int = 0
    taken: list[EmailMessage] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)
    recipients: list[list[str]] = field(default_factory=list)
    to_rcpt: list[str | None] = field(default_factory=list)
    """The answers to recipients, one each; then they are taken."""
    to_data: list[str | Callable[[bytes], str] | None] = field(default_factory=list)
    before_data: Callable[["Conversation"], Any] | None = None
    """What happens in the middle of a mail."""
    after_data: Callable[["Conversation"], Any] | None = None
    """What happens when a mail is taken, before that is said."""
    conversations: list["Conversation"] = field(default_factory=list)

    async def handle_RCPT(  # noqa: N802  the library's name
        self,
        server: SMTP,  # noqa: ARG002  the library's parameters
        session: Session,  # noqa: ARG002
        envelope: Envelope,
        address: str,
        options: list[str],  # noqa: ARG002
    ) -> str:
        answer = self.to_rcpt.pop(0) if self.to_rcpt else None
        if answer is None:
            envelope.rcpt_tos.append(address)
        return answer or "250 OK"

    async def handle_DATA(  # noqa: N802  the library's name
        self,
        server: SMTP,  # noqa: ARG002  the library's parameters
        session: Session,  # noqa: ARG002
        envelope: Envelope,
    ) -> str:
        content = envelope.content
        assert isinstance(content, bytes)
        answer = self.to_data.pop(0) if self.to_data else None
        if answer is not None:
            return answer if isinstance(answer, str) else answer(content)
        self.raw.append(content)
        self.taken.append(BytesParser(EmailMessage, policy=SMTP_POLICY).parsebytes(content))
        self.recipients.append(list(envelope.rcpt_tos))
        if self.after_data is not None:
            await self.after_data(self.conversations[-1])
        return "250 taken"


class Conversation(SMTP):
    """One connection of a server with faults."""

    def __init__(self, mail_server: MailServer, **options: Any) -> None:
        super().__init__(mail_server, **options)
        mail_server.conversations.append(self)
        self.mail_server = mail_server
        self.ended = asyncio.Event()
        self.writers: list[asyncio.StreamWriter] = []

    def _cb_client_connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        super()._cb_client_connected(reader, writer)

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        self.ended.set()

    async def smtp_DATA(self, arg: str) -> None:  # noqa: N802  the library's name
        if self.mail_server.before_data is not None:
            await self.push("354 go on")
            await self._reader.readline()
            await self.mail_server.before_data(self)
            return
        await super().smtp_DATA(arg)

    async def end(self) -> None:
        """Break off what is left of it."""
        if self._handler_coroutine is not None:
            self._handler_coroutine.cancel()
            await asyncio.gather(self._handler_coroutine, return_exceptions=True)
        if self.transport is not None and not self.ended.is_set():
            self.reset()
            async with asyncio.timeout(20):
                await self.ended.wait()
        for writer in self.writers:
            # Where encryption could not be agreed on, its transport is still open.
            writer.close()

    def reset(self) -> None:
        """Break the connection as a crash does."""
        assert isinstance(self.transport, asyncio.Transport)
        self.transport.abort()


def _authenticate(
    server: SMTP, session: Session, envelope: Envelope, mechanism: str, given: object
) -> AuthResult:
    assert isinstance(given, LoginPassword)
    is_right = (given.login, given.password) == (USER.encode(), PASSWORD.encode())
    return AuthResult(success=is_right, handled=False)


@asynccontextmanager
async def mail_server(
    *,
    tls: ssl.SSLContext | None = None,
    implicit: bool = False,
    auth: bool = False,
    utf8: bool = False,
    port: int = 0,
) -> AsyncIterator[MailServer]:
    """Serve on a port, a free one unless told: in plain, with STARTTLS, or with TLS from the start."""
    server = MailServer()
    options: dict[str, Any] = {"enable_SMTPUTF8": utf8, "hostname": "mail.test"}
    if tls is not None and not implicit:
        options |= {"tls_context": tls, "require_starttls": True}
    if auth:
        # The library takes a login over TLS from the start for one in plain.
        is_upgraded = tls is not None and not implicit
        options |= {"authenticator": _authenticate}
        options |= dict.fromkeys(("auth_required", "auth_require_tls"), is_upgraded)
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(
        lambda: Conversation(server, loop=loop, **options), "127.0.0.1", port, ssl=tls if implicit else None
    )
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        for each in server.conversations:
            await each.end()
        await listener.wait_closed()


def certificate(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """Make a certificate for 127.0.0.1; return a server's context with it, and the file to trust it by."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mail.test")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    trusted, secret = folder / "cert.pem", folder / "key.pem"
    trusted.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(trusted, secret)
    return context, trusted
