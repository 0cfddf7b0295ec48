"""An email as it travels: RFC 5322, MIME, and nothing in a header that is not meant to be there."""

from email.header import Header
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

from mercato.notifications.domain import one_line
from mercato.notifications.ports import Address, Mail

_MAX_LINE = 76


def message(mail: Mail, to: str) -> bytes:
    """Return the message with the recipient's address as `to`, which may be their address in ASCII.

    Headers are put together here: the library's own folding of addresses has let names become recipients
    more than once.
    """
    headers = {
        "From": _mailbox("From", mail.sender),
        "To": _mailbox("To", Address(mail.recipient.name, to)),
        "Subject": _text("Subject", mail.subject),
        "Date": format_datetime(mail.date),
        "Message-ID": mail.message_id,
        # It answers to something that happened, and wants no automatic answer (RFC 3834, section 5).
        "Auto-Submitted": "auto-generated",
        "X-Auto-Response-Suppress": "All",
    }
    if mail.reply_to is not None:
        headers["Reply-To"] = mail.reply_to
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    body = EmailMessage(policy=SMTP)
    body.set_content(mail.text)
    body.add_alternative(mail.html, subtype="html")
    return head.encode() + body.as_bytes()


def _mailbox(header: str, address: Address) -> str:
    name = one_line(address.name)
    if not name:
        return f"<{address.email}>"
    if _is_plain(name) and len(name) + len(header) + 4 <= _MAX_LINE:
        quoted = name.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{quoted}"\r\n <{address.email}>'
    return f"{_encoded(header, name)}\r\n <{address.email}>"


def _text(header: str, value: str) -> str:
    value = one_line(value)
    if _is_plain(value) and len(value) + len(header) + 2 <= _MAX_LINE:
        return value
    return _encoded(header, value)


def _is_plain(text: str) -> bool:
    """Say whether a text may stand in a header as it is: what looks like an encoded word may not."""
    return text.isascii() and text.isprintable() and "=?" not in text


def _encoded(header: str, text: str) -> str:
    """Return a text as encoded words, on as many lines as they take (RFC 2047, section 2)."""
    return Header(text, "utf-8", maxlinelen=_MAX_LINE, header_name=header).encode(linesep="\r\n")
