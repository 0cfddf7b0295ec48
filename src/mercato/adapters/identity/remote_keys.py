"""The public keys of the service that signs tokens, as it tells them over HTTP (RFC 7517)."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import msgspec

from mercato.adapters.identity.keys import COOL_DOWN, KeyRing, PublicKeys
from mercato.kernel.errors import MercatoError, Unavailable

log = logging.getLogger(__name__)

REFRESH = timedelta(seconds=30)
"""After how long it is known everywhere that a key is told no more."""
MAX_KEY_SET = 256 * 1024
_DEADLINE_S = 2.0

Fetch = Callable[[], Awaitable[bytes]]
"""Returns the key set as it is now. Raises Unavailable."""


class _KeySet(msgspec.Struct, frozen=True):
    keys: list[dict[str, Any]]


class RemoteKeys:
    """See adapters.identity.tokens.Ring.

    A key not heard of is asked for at most once per cool-down, however many odd tokens come. Once there
    are keys they stay in use while nobody answers.
    """

    def __init__(
        self,
        fetch: Fetch,
        *,
        folder: KeyRing | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Ask by `fetch`; until that succeeds, keys that are in a `folder` of this machine are good, too.

        `clock` tells seconds and never goes back.
        """
        self._folder = folder
        self._fetch = fetch
        self._clock = clock
        self._keys: PublicKeys | None = None
        self._asked_at = -COOL_DOWN.total_seconds()
        self._lock = asyncio.Lock()
        self._dropped: Callable[[], None] = _nobody

    def on_drop(self, dropped: Callable[[], None]) -> None:
        """Call `dropped` whenever a key is told no more: what it verified is to be forgotten."""
        self._dropped = dropped

    async def verified(self, token: str, kid: str) -> bytes | None:
        """Return the payload that the key `kid` has signed, or None.

        Raises Unavailable as long as no key has ever been heard of.
        """
        is_new = self._keys is None or kid not in self._keys.kids
        # Who comes while the keys are being fetched waits for them.
        if is_new and (self._is_due() or self._lock.locked()):
            await self._refresh()
        if self._keys is None:
            if self._folder is not None and self._folder.has_keys():
                return await self._folder.verified(token, kid)
            raise Unavailable("The keys that verify tokens are not known yet.", retry_after=5)
        return self._keys.verified(token, kid)

    async def watch(self) -> None:
        """Ask for the keys every so often, so that retired ones are dropped."""
        while True:
            if self._is_due():
                await self._refresh()
            await asyncio.sleep((COOL_DOWN if self._keys is None else REFRESH).total_seconds())

    def _is_due(self) -> bool:
        return self._clock() - self._asked_at >= COOL_DOWN.total_seconds()

    async def _refresh(self) -> None:
        async with self._lock:
            if not self._is_due():
                return
            # Also if it fails: who is away must not be asked at every call.
            self._asked_at = self._clock()
            try:
                async with asyncio.timeout(_DEADLINE_S):
                    told = await self._fetch()
                found = await asyncio.to_thread(_read, told)
            except (MercatoError, TimeoutError, msgspec.MsgspecError) as error:
                level = logging.WARNING if self._keys is None else logging.DEBUG
                log.log(level, "signing keys cannot be fetched", extra={"cause": repr(error)})
                if self._keys is None:
                    # Nobody can be let in without keys: as soon as users is there they are asked for.
                    self._asked_at = self._clock() - (COOL_DOWN - _SOON).total_seconds()
                return
            gone = self._keys is not None and self._keys.kids - found.kids
            self._keys = found
            if gone:
                self._dropped()


_SOON = timedelta(seconds=0.5)


def _read(told: bytes) -> PublicKeys:
    if len(told) > MAX_KEY_SET:
        raise Unavailable("The key set is too large.")
    keys = PublicKeys(msgspec.json.decode(told, type=_KeySet).keys)
    if not keys.kids:
        raise Unavailable("The key set holds no key of ours.")
    return keys


def _nobody() -> None:
    """Nobody listens."""
