"""Webhooks: a provider's news makes a payment due, and what is true is asked for.

So it does no harm that news comes late, twice or out of order, or never.
"""

import logging
from collections.abc import Mapping
from datetime import datetime

from mercato.kernel.acting import acting
from mercato.kernel.errors import NotFound
from mercato.payments.ports import Heard, Notices, PaymentStore
from mercato.payments.service.settlement import Settlement

log = logging.getLogger(__name__)


class Webhooks:
    """What is done when a provider calls."""

    def __init__(self, store: PaymentStore, settlement: Settlement, notices: Mapping[str, Notices]) -> None:
        """`notices` are those who read webhooks, by their provider's name."""
        self._store = store
        self._settlement = settlement
        self._notices = notices

    def reader(self, provider: str) -> Notices:
        """Return who reads a provider's webhooks. Raises NotFound."""
        found = self._notices.get(provider)
        if found is None:
            raise NotFound("There is no such provider.")
        return found

    async def receive(self, provider: str, headers: Mapping[str, str], body: bytes, *, at: datetime) -> None:
        """Have the provider asked about the payment that a webhook is about.

        Repeating it changes nothing. Raises NotFound, Unauthenticated, BadRequest.
        """
        notice = self.reader(provider).read(headers, body, at=at)
        if notice is None:
            return
        # A provider calls for no store: what it has signed says whose payment it is about.
        with acting(notice.tenant):
            heard = await self._store.hear(provider, notice, lambda found: found.hasten(at=at), at=at)
        match heard:
            case Heard.DUE:
                self._settlement.due.set()
            case Heard.UNKNOWN:
                details = {"provider": provider, "event_id": notice.event_id}
                log.warning("a webhook is about no payment of ours", extra=details)
            case Heard.SETTLED | Heard.REPEATED:
                pass
