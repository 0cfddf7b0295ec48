"""web.limits.QuotaStore over HTTP: the day's counts are kept by users."""

import logging
from collections.abc import Mapping
from datetime import date

from mercato.clients.internal import PREFIX, Asked, Internal
from mercato.clients.neighbour import Neighbour
from mercato.kernel.errors import Unavailable
from mercato.kernel.tenancy import TenantId
from mercato.web.call import Call
from mercato.web.limits import QuotaStore

log = logging.getLogger(__name__)

_LOAD, _SAVE = "/quotas/load", "/quotas/save"


class AskQuotas(Asked, frozen=True):
    """Which day is asked about."""

    day: date


class SaveQuotas(Asked, frozen=True):
    """The counts of a day."""

    day: date
    used: dict[TenantId, int]


class QuotasClient:
    """See web.limits.QuotaStore."""

    def __init__(self, users: Neighbour) -> None:
        self._users = users

    async def load(self, day: date) -> Mapping[TenantId, int]:
        """Return the counts of a day; none while users is away, since no service waits for another."""
        try:
            return await self._users.poll(PREFIX + _LOAD, AskQuotas(day=day), dict[TenantId, int])
        except Unavailable as error:
            log.warning("quotas cannot be loaded", extra={"cause": repr(error)})
            return {}

    async def save(self, day: date, used: Mapping[TenantId, int]) -> None:
        """Write counts of a day. Raises Unavailable."""
        asked = SaveQuotas(day=day, used=dict(used))
        await self._users.poll(PREFIX + _SAVE, asked, type(None))


def serve_quotas(internal: Internal, quotas: QuotaStore) -> None:
    """Declare what QuotasClient calls."""

    async def load(call: Call, body: AskQuotas) -> dict[TenantId, int]:  # noqa: ARG001  they are of all stores
        """Tell the counts of a day."""
        return dict(await quotas.load(body.day))

    async def save(call: Call, body: SaveQuotas) -> None:  # noqa: ARG001  they are of all stores
        """Keep the counts of a day."""
        await quotas.save(body.day, body.used)

    internal.on(_LOAD, load)
    internal.on(_SAVE, save)
