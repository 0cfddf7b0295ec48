"""The list of cuts in Redis: a sorted set, by the moment until which each matters."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import cast

from redis.asyncio import Redis

from mercato.adapters.identity.cut_list import TOPIC, words
from mercato.adapters.identity.revocations import Cut
from mercato.adapters.redis.connection import PATIENT_S, RedisLink
from mercato.adapters.redis.signals import RedisSignals
from mercato.kernel.clock import from_micros, to_micros

_KEPT = timedelta(days=2)
"""Longer than any token is valid: what nobody has written to for so long holds nothing that matters."""
_WHOLE_AGAIN = timedelta(hours=1)
"""How often the list is filled anew without need."""
_BATCH = 500


class RedisCutList:
    """See adapters.identity.cut_list.CutList."""

    def __init__(self, link: RedisLink, signals: RedisSignals) -> None:
        self._link = link
        self._signals = signals
        self._key = link.key("cuts")
        self._whole = link.key("cuts", "whole")

    async def add(self, cuts: Sequence[Cut]) -> None:
        """Add cuts and signal each of them."""
        for start in range(0, len(cuts), _BATCH):
            await self._add(cuts[start : start + _BATCH])

    async def _add(self, cuts: Sequence[Cut]) -> None:
        long_ago = to_micros(min(cut.until for cut in cuts) - _KEPT)
        members = {f"{cut.cut} {cut.subject}": to_micros(cut.until) for cut in cuts}
        message = self._signals.encode([(TOPIC, *words(cut)) for cut in cuts])

        async def add(client: Redis) -> None:
            async with client.pipeline(transaction=True) as pipeline:
                # In this order: whoever hears no signal yet finds the cut on the list afterwards.
                pipeline.zadd(self._key, members)
                pipeline.zremrangebyscore(self._key, "-inf", long_ago)
                pipeline.expire(self._key, _KEPT)
                pipeline.publish(self._signals.channel, message)
                await pipeline.execute()

        await self._link.call(add, deadline_s=PATIENT_S)

    async def fill(self, cuts: Sequence[Cut]) -> None:
        """Add all the cuts that matter."""
        await self.add(cuts)
        await self._link.call(
            lambda client: client.set(self._whole, "", ex=_WHOLE_AGAIN), deadline_s=PATIENT_S
        )

    async def is_whole(self) -> bool:
        """Say whether the list has lost nothing since it was filled."""
        found = await self._link.call(lambda client: client.exists(self._whole), deadline_s=PATIENT_S)
        return bool(found)

    async def load(self, *, at: datetime) -> list[Cut]:
        """Return the cuts that matter then."""
        found = await self._link.call(
            lambda client: client.zrangebyscore(self._key, to_micros(at), "+inf", withscores=True),
            deadline_s=PATIENT_S,
        )
        return [_cut(member, score) for member, score in cast("list[tuple[bytes, float]]", found)]


def _cut(member: bytes, score: float) -> Cut:
    cut, _, subject = member.decode().partition(" ")
    return Cut(subject, cut, from_micros(int(score)))
