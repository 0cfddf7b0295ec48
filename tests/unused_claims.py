"""Idempotency claims that are declared and never used."""

from contextlib import AbstractContextManager
from datetime import datetime

from mercato.kernel.cause import Claim
from mercato.web.idempotency import Held


class UnusedClaims:
    """Stands where a declaration needs claims and no call is made."""

    async def open(
        self, claim: Claim, body_hash: bytes, *, now: datetime, lease_until: datetime
    ) -> Held | None:
        raise NotImplementedError

    async def take_over(self, held: Held, *, now: datetime, lease_until: datetime) -> Claim | None:
        raise NotImplementedError

    async def replace(self, held: Held) -> None:
        raise NotImplementedError

    async def free(self, claim: Claim) -> None:
        raise NotImplementedError

    async def suspend(self, claim: Claim) -> None:
        raise NotImplementedError

    def kept(self, claim: Claim) -> AbstractContextManager[None]:
        raise NotImplementedError
