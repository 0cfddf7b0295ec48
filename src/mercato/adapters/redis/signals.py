"""Signals by Redis's publish and subscribe."""

import asyncio
import logging
import time
from collections.abc import Sequence

import msgspec
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from mercato.adapters.redis.connection import PATIENT_S, RedisAway, RedisLink
from mercato.adapters.signals.port import Gap, Heard
from mercato.kernel.ids import uuid7

log = logging.getLogger(__name__)

MAX_WAITING = 10_000
"""How many signals wait to be told; of more, nothing is told but that something was."""
_BATCH = 500
_BEAT_S = 0.25
"""How often a silent channel is asked whether it is there."""
SILENCE_S = 0.75
"""After so long without an answer it is not."""
_AGAIN_S = 0.1
_ANYTHING = "*"
"""The topic of a signal that stands for any that were not told."""


class _Told(msgspec.Struct, array_like=True):
    """One message on the channel: who tells, and of each signal its topic and words."""

    replica: str
    signals: list[list[str]]


class RedisSignals:
    """See adapters.signals.port.Signals. `run` carries them."""

    def __init__(self, link: RedisLink, *, max_waiting: int = MAX_WAITING) -> None:
        self._link = link
        self._replica = uuid7()
        self._max_waiting = max_waiting
        self.channel = link.key("signals")
        self._listeners: dict[str, list[tuple[Heard, Gap]]] = {}
        # What is told again before it was sent need not be sent twice.
        self._waiting: dict[tuple[str, ...], None] = {}
        self._wake = asyncio.Event()
        self.hearing = False
        self.gaps = 0
        """How often signals may have been missed."""

    def tell(self, topic: str, *words: str) -> None:
        """Tell every other replica, soon."""
        if len(self._waiting) >= self._max_waiting:
            self._waiting.clear()
            log.warning("too many signals wait", extra={"most": self._max_waiting})
            topic, words = _ANYTHING, ()
        if (_ANYTHING,) not in self._waiting:
            self._waiting[(topic, *words)] = None
        self._wake.set()

    def listen(self, topic: str, heard: Heard, gap: Gap) -> None:
        """Hear what is told of a topic."""
        self._listeners.setdefault(topic, []).append((heard, gap))

    def encode(self, signals: Sequence[Sequence[str]]) -> bytes:
        """Return the message that tells these signals, each a topic and its words."""
        return msgspec.json.encode(_Told(self._replica, [list(each) for each in signals]))

    async def run(self) -> None:
        """Tell and hear, for ever."""
        async with asyncio.TaskGroup() as both:
            both.create_task(self._hear())
            both.create_task(self._publish())

    async def _publish(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                some = list(self._waiting)[:_BATCH]
                for each in some:
                    # Taken out first: what is told again from now on is news.
                    del self._waiting[each]
                if not await self._send(self.encode(some)):
                    for topic, *words in some:
                        self.tell(topic, *words)
                    await asyncio.sleep(_AGAIN_S)

    async def _send(self, message: bytes) -> bool:
        """Say whether the message was sent."""
        try:
            await self._link.call(lambda client: client.publish(self.channel, message), deadline_s=PATIENT_S)
        except RedisAway:
            return False
        return True

    async def _hear(self) -> None:
        # Until the channel is there nothing is heard, either.
        self._tell_gap(hearing=False)
        while True:
            try:
                async with self._link.client.pubsub() as channel:
                    async with asyncio.timeout(PATIENT_S):
                        await channel.subscribe(self.channel)
                    await self._hear_on(channel)
            except (RedisError, OSError, TimeoutError) as error:
                self._lost(error)
            finally:
                self.hearing = False
            await asyncio.sleep(_AGAIN_S)

    async def _hear_on(self, channel: PubSub) -> None:
        """Hear until the channel breaks, or does not answer any more. Raises what broke it."""
        heard_at = time.monotonic()
        while True:
            message = await channel.get_message(timeout=_BEAT_S)
            if message is None:
                if time.monotonic() - heard_at > SILENCE_S:
                    raise TimeoutError("the channel is silent")
                async with asyncio.timeout(_BEAT_S):
                    await channel.ping()
                continue
            heard_at = time.monotonic()
            if message["type"] == "subscribe":
                self._found()
            elif message["type"] == "message":
                self._take(message["data"])

    def _take(self, data: bytes) -> None:
        try:
            told = msgspec.json.decode(data, type=_Told)
            if told.replica != self._replica:
                self._pass_on(told.signals)
        except Exception:
            # Of another version, perhaps. What it tells is unknown, so it may be anything.
            log.exception("signals were not understood")
            self._tell_gap(hearing=True)

    def _pass_on(self, signals: list[list[str]]) -> None:
        for topic, *words in signals:
            if topic == _ANYTHING:
                self._tell_gap(hearing=True)
            for heard, _ in self._listeners.get(topic, ()):
                heard(words)

    def _found(self) -> None:
        self.hearing = True
        log.info("signals are heard")
        self._tell_gap(hearing=True)

    def _lost(self, error: BaseException) -> None:
        if self.hearing:
            log.warning("signals are not heard", extra={"cause": repr(error)})
            self._tell_gap(hearing=False)

    def _tell_gap(self, *, hearing: bool) -> None:
        self.gaps += 1
        for listeners in self._listeners.values():
            for _, gap in listeners:
                gap(hearing)
