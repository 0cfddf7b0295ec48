"""Cuts of tokens over HTTP: who is deleted or suspended is refused by every service within a second."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

from mercato.adapters.identity.revocations import Cut
from mercato.clients.internal import PREFIX, Asked, Internal
from mercato.clients.neighbour import Neighbour
from mercato.kernel.errors import MercatoError
from mercato.web.call import Call

log = logging.getLogger(__name__)

_SINCE = "/cuts/since"
EVERY_S = 0.5
AT_ONCE = 1_000
_OVERLAP = timedelta(seconds=5)
"""Cuts of several processes may become visible in another order than they were made in."""

ReadCuts = Callable[[datetime, int], Awaitable[list[Cut]]]
"""Returns so many cuts that matter for longer than a moment, the first of them first."""


class AskCuts(Asked, frozen=True):
    """The cuts that matter for longer than this moment are asked for."""

    after: datetime


def cuts_of(users: Neighbour) -> ReadCuts:
    """Return how users is asked for its cuts."""

    async def read(after: datetime, _: int) -> list[Cut]:
        return await users.poll(PREFIX + _SINCE, AskCuts(after=after), list[Cut])

    return read


class CutsFollower:
    """Takes up the cuts that other processes make."""

    def __init__(self, read: ReadCuts, restore: Callable[[str, str, datetime], None]) -> None:
        self._read = read
        self._restore = restore
        self._seen = datetime(1970, 1, 2, tzinfo=UTC)

    async def follow(self) -> None:
        """Read again and again, outliving every failure: what was heard of holds meanwhile."""
        while True:
            try:
                await self.take_up()
            except MercatoError as error:
                log.debug("cuts cannot be read", extra={"cause": repr(error)})
            await asyncio.sleep(EVERY_S)

    async def take_up(self) -> None:
        """Take up what has been cut since the last time. Raises Unavailable."""
        after = self._seen - _OVERLAP
        while True:
            found = await self._read(after, AT_ONCE)
            for cut in found:
                self._restore(*cut)
            if found:
                self._seen = max(self._seen, found[-1][2])
            if len(found) < AT_ONCE or found[-1][2] <= after:
                return
            after = found[-1][2]


def serve_cuts(internal: Internal, read: ReadCuts) -> None:
    """Declare what `cuts_of` calls."""

    async def since(call: Call, body: AskCuts) -> list[Cut]:  # noqa: ARG001  they are of all stores
        """Tell the cuts since a moment."""
        return await read(body.after, AT_ONCE)

    internal.on(_SINCE, since, quiet=True)
