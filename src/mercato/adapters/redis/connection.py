"""The connection to Redis: every call has a deadline, and while Redis is away nobody waits for it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.commands.core import AsyncScript
from redis.exceptions import RedisError

from mercato.kernel.errors import Unavailable

log = logging.getLogger(__name__)

T = TypeVar("T")

Args = Sequence[str | int | bytes]

DEADLINE_S = 0.05
"""How long a request waits for Redis."""
PATIENT_S = 1.0
"""How long work in the background does."""
_AWAY_EVERY_S = 0.1
_UP_EVERY_S = 1.0


class RedisAway(Unavailable):
    """Redis did not answer in time, or refuses to work."""


class RedisLink:
    """A client of one Redis, under one prefix.

    After a call that failed Redis counts as away, and calls fail at once, until `watch` has found it
    again: so a Redis that hangs costs the requests under way one deadline, and those after them nothing.
    """

    def __init__(self, url: str, *, prefix: str = "mercato") -> None:
        """`prefix` begins the name of every key and channel. Nothing is connected yet."""
        # A call that is repeated behind our back would outlast its deadline, and count twice.
        self.client: Redis = Redis.from_url(
            url,
            protocol=2,
            socket_timeout=None,
            socket_connect_timeout=PATIENT_S,
            retry=Retry(NoBackoff(), 0),
            retry_on_error=[],
        )
        self._prefix = prefix
        self.up = False
        self.failures = 0
        """How many calls have failed."""

    def key(self, *parts: str) -> str:
        """Return the name of a key. Parts that strangers choose have been hashed or checked before."""
        return ":".join((self._prefix, *parts))

    def script(self, text: str) -> AsyncScript:
        """Return a Lua script to `call`; Redis is told its text when it does not know it."""
        return self.client.register_script(text)

    async def call(self, ask: Callable[[Redis], Awaitable[T]], *, deadline_s: float = DEADLINE_S) -> T:
        """Return what Redis answers. Raises RedisAway, at once while it is known to be away."""
        if not self.up:
            raise RedisAway("Redis is away.", retry_after=1)
        try:
            return await self._ask(ask, deadline_s)
        except RedisAway as error:
            self._lost(error)
            raise

    async def run(
        self,
        script: AsyncScript,
        keys: Sequence[str],
        args: Args,
        *,
        deadline_s: float = DEADLINE_S,
    ) -> object:
        """Return what a script answers. Raises RedisAway."""
        return await self.call(lambda client: script(keys, args, client), deadline_s=deadline_s)

    async def probe(self) -> bool:
        """Find out whether Redis works, which is more than that it answers: it may refuse to write."""
        try:
            await self._try()
        except RedisAway as error:
            self._lost(error)
            return False
        if not self.up:
            self.up = True
            log.info("redis is there")
        return True

    async def look(self) -> str | None:
        """Return why Redis does not work, None if it does."""
        try:
            await self._try()
        except RedisAway as error:
            return f"{type(error.__cause__).__name__}: {error.__cause__}".rstrip(": .")
        return None

    async def _try(self) -> None:
        name = self.key("probe")
        await self._ask(lambda client: client.set(name, "", px=60_000), PATIENT_S)

    async def watch(self) -> None:
        """Look for Redis for ever: often while it is away."""
        while True:
            found = await self.probe()
            await asyncio.sleep(_UP_EVERY_S if found else _AWAY_EVERY_S)

    async def close(self) -> None:
        """Close every connection."""
        self.up = False
        await self.client.aclose()

    async def _ask(self, ask: Callable[[Redis], Awaitable[T]], deadline_s: float) -> T:
        try:
            async with asyncio.timeout(deadline_s):
                return await ask(self.client)
        except (RedisError, OSError, TimeoutError) as error:
            raise RedisAway(f"Redis is away: {error!r}", retry_after=1) from error

    def _lost(self, error: RedisAway) -> None:
        self.failures += 1
        if self.up:
            log.warning("redis is away", extra={"cause": repr(error.__cause__)})
        self.up = False
