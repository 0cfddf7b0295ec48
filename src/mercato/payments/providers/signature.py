"""Signed webhooks, by Stripe's scheme: `t=TIME,v1=HMAC-SHA256 of "TIME.BODY"` in hexadecimal.

A secret that is being replaced signs beside the new one, so a header may hold several signatures
(https://docs.stripe.com/webhooks#verify-manually).
"""

import hashlib
import hmac
import re
from datetime import datetime, timedelta

from mercato.kernel.clock import to_micros
from mercato.kernel.errors import Unauthenticated

TOLERANCE = timedelta(minutes=5)
"""How far the sender's clock and ours may be apart; an older signature has been replayed."""

_seconds = re.compile(r"[0-9]{1,12}").fullmatch


def sign(secret: str, body: bytes, *, at: datetime) -> str:
    """Return the header of a body that is sent now."""
    seconds = str(to_micros(at) // 1_000_000)
    return f"t={seconds},v1={_digest(secret, seconds, body)}"


def check(secret: str, header: str | None, body: bytes, *, at: datetime) -> None:
    """Raise Unauthenticated unless the body was signed with the secret, a short time ago."""
    parts = [part.strip().partition("=") for part in (header or "").split(",")]
    seconds = next((value for name, _, value in parts if name == "t"), "")
    if not _seconds(seconds):
        raise _refused()
    expected = _digest(secret, seconds, body).encode()
    given = [value.encode() for name, _, value in parts if name == "v1"]
    # Every one is compared, in constant time: how long it takes says nothing.
    matches = [hmac.compare_digest(expected, each) for each in given]
    late = abs(int(seconds) - to_micros(at) // 1_000_000)
    if not any(matches) or late > TOLERANCE.total_seconds():
        raise _refused()


def _digest(secret: str, seconds: str, body: bytes) -> str:
    return hmac.new(secret.encode(), seconds.encode() + b"." + body, hashlib.sha256).hexdigest()


def _refused() -> Unauthenticated:
    return Unauthenticated("The signature is missing, wrong or too old.")
