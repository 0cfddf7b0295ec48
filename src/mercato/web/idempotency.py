"""Idempotency keys (the IETF draft "The Idempotency-Key HTTP Header Field", Stripe's rules).

A keyed call first commits a claim, with the id of the object it is going to make. The answer
is stored in the same commit as the effect. A refusal frees the key; after a crash the retry
takes the same operation up again when the lease has run out, which nobody renews any more. An
operation of many steps that breaks off keeps its key, and the retry goes on with it at once.
"""

import hashlib
import hmac
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from mercato.kernel.cause import Claim
from mercato.kernel.errors import ValidationFailed
from mercato.kernel.tenancy import TenantId
from mercato.web.errors import KeyInUse, KeyReused

KEPT = timedelta(hours=24)
LEASE = timedelta(seconds=2)
"""How long a key stays in use that nobody renews: its holder was killed, or lost its database."""
RENEW_S = 0.5
"""How often a process renews the claims of its calls under way."""
MAX_KEY = 255


@dataclass(frozen=True, slots=True)
class Held:
    """A claim found in the store, whoever holds it."""

    claim: Claim
    body_hash: bytes
    done: bool
    answer: bytes
    lease_until: datetime
    created_at: datetime


class Claims(Protocol):
    """What idempotency needs of the endpoint's service's database."""

    async def open(
        self, claim: Claim, body_hash: bytes, *, now: datetime, lease_until: datetime
    ) -> Held | None:
        """Store a new claim and return None, or return the one that is there already."""
        ...

    async def take_over(self, held: Held, *, now: datetime, lease_until: datetime) -> Claim | None:
        """Continue an operation whose holder is gone; None if somebody else was faster."""
        ...

    async def replace(self, held: Held) -> None:
        """Delete a claim that is older than a key is kept."""
        ...

    async def free(self, claim: Claim) -> None:
        """Delete this very claim, no other holder's, if it has had no effect. Idempotent."""
        ...

    async def suspend(self, claim: Claim) -> None:
        """End the lease of this very claim, so that a repeated call goes on with it. Idempotent."""
        ...

    def kept(self, claim: Claim) -> AbstractContextManager[None]:
        """Renew a claim's lease for as long as the context lasts."""
        ...


@dataclass(frozen=True, slots=True)
class Granted:
    """The call is to be carried out under this claim; or, if `answer` is set, was already."""

    claim: Claim
    answer: bytes | None = None


def check_key(key: str) -> str:
    """Return a usable key, or raise ValidationFailed."""
    if not 0 < len(key) <= MAX_KEY or not key.isascii() or not key.isprintable():
        raise ValidationFailed.field("Idempotency-Key", f"must be 1 to {MAX_KEY} printable ASCII characters")
    return key


def body_hash(secret: bytes, path: str, body: bytes) -> bytes:
    """Return what tells this request from another. Keyed, since bodies may hold passwords."""
    return hashlib.blake2b(path.encode() + b"\0" + body, key=secret, digest_size=32).digest()


async def grant(claims: Claims, wanted: Claim, digest: bytes, *, now: datetime) -> Granted:
    """Claim the key, or say what its operation answered.

    Raises KeyReused for another body, KeyInUse while the first call is in progress.
    """
    held = await claims.open(wanted, digest, now=now, lease_until=now + LEASE)
    if held is not None and held.created_at + KEPT <= now:
        await claims.replace(held)
        held = await claims.open(wanted, digest, now=now, lease_until=now + LEASE)
    if held is None:
        return Granted(wanted)
    if not hmac.compare_digest(held.body_hash, digest):
        raise KeyReused("This Idempotency-Key was used with another request.")
    if held.done:
        return Granted(held.claim, held.answer)
    if held.lease_until > now:
        raise KeyInUse("The first request with this Idempotency-Key is in progress.", retry_after=1)
    claim = await claims.take_over(held, now=now, lease_until=now + LEASE)
    if claim is None:
        raise KeyInUse("The first request with this Idempotency-Key is in progress.", retry_after=1)
    return Granted(claim)


def claim_for(tenant: TenantId, principal: str, route: str, key: str, object_id: str) -> Claim:
    """Return a first claim on `key` in its scope: the store, the caller and the route."""
    return Claim(tenant, principal, route, key, object_id, attempt=1)
