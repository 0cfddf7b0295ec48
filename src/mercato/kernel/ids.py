"""Identifiers: UUID version 7 in canonical text form (RFC 9562, section 5.7)."""

import os
import random
import re
from typing import NewType

from mercato.kernel.clock import now_ms

UserId = NewType("UserId", str)
ProductId = NewType("ProductId", str)
OrderId = NewType("OrderId", str)
PaymentId = NewType("PaymentId", str)
NotificationId = NewType("NotificationId", str)
MailId = NewType("MailId", str)

_CANONICAL = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}").fullmatch

_VERSION = 0x7000
_VARIANT = 0x8000
_RAND_BITS = 74
# Ids name things and guard nothing, so a generator seeded by the system is enough, and it costs
# a tenth of asking the system. A forked process must not repeat its parent's ids.
_random = random.Random()  # noqa: S311
os.register_at_fork(after_in_child=_random.seed)

_last_ms = 0
_last_rand = 0


def uuid7() -> str:
    """Return a new UUIDv7. Ids made by one process sort in the order they were made.

    Within one millisecond the random part counts up (RFC 9562, section 6.2, method 2), so
    a clock that stands still or steps back keeps the order.
    """
    global _last_ms, _last_rand  # noqa: PLW0603  one counter per process is the method itself
    now = now_ms()
    if now > _last_ms:
        _last_ms = now
        # The top bit is left free so that counting up cannot overflow.
        _last_rand = _random.getrandbits(_RAND_BITS - 1)
    else:
        _last_rand += 1 + _random.getrandbits(32)
        if _last_rand >> _RAND_BITS:
            _last_ms += 1
            _last_rand = _random.getrandbits(_RAND_BITS - 1)
    rand_a, rand_b = _last_rand >> 62, _last_rand & ((1 << 62) - 1)
    return (
        f"{_last_ms >> 16:08x}-{_last_ms & 0xFFFF:04x}-{_VERSION | rand_a:04x}"
        f"-{_VARIANT | rand_b >> 48:04x}-{rand_b & 0xFFFF_FFFF_FFFF:012x}"
    )


def begin_anew() -> None:
    """Let ids be by the clock again, which was set back: those from now on may sort before earlier ones."""
    global _last_ms  # noqa: PLW0603  see uuid7
    _last_ms = 0


def id_in(seconds: int, *, after: str | None = None) -> str:
    """Return an id that sorts after `after`, and after all that this process makes within that time.

    It names no object: it divides earlier ids from later ones.
    """
    ms = max(now_ms(), _last_ms) + seconds * 1000
    if after is not None:
        ms = max(ms, int(after[:8] + after[9:13], 16) + 1)
    return f"{ms >> 16:08x}-{ms & 0xFFFF:04x}-7fff-bfff-ffffffffffff"


def is_id(text: str) -> bool:
    """Say whether `text` has the form of an id. What has not cannot name anything: 404."""
    return _CANONICAL(text) is not None
