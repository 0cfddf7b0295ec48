"""The relay: hands a service's committed events to the bus, in order, until confirmed.

One of a service's replicas relays for all. A commit wakes it; a sweep finds what a wake-up missed.
"""

import asyncio
import contextlib
import logging
import random
from datetime import timedelta

from mercato.kernel.clock import Clock
from mercato.kernel.counting import Counter, Measure, Reading
from mercato.messaging.bus import Publisher
from mercato.messaging.outbox import Outbox
from mercato.messaging.replicas import Alone, Replicas
from mercato.messaging.sending import Sending, untold

log = logging.getLogger(__name__)

BATCH = 256
SWEEP_S = 1.0
LEAD_EVERY_S = 0.4
"""How often a replica renews its lead, or tries to take over."""
PUBLISH_DEADLINE_S = 30.0
_RESIGN_DEADLINE_S = 2.0
_CALL_EVERY_S = 0.001
"""How close together calls to the replica that relays may be: one is for all commits in between."""
_PURGE_EVERY_S = 600.0
_PURGE_BATCH = 1_000
_RETRY_FIRST_S, _RETRY_MOST_S = 0.05, 5.0


class Relay:
    """Moves one outbox to the bus."""

    def __init__(  # noqa: PLR0913  all but the first three are named
        self,
        name: str,
        outbox: Outbox,
        bus: Publisher,
        *,
        clock: Clock,
        retention: timedelta,
        replicas: Replicas | None = None,
        sending: Sending = untold,
    ) -> None:
        """`retention` is how long sent events are kept, for consumers that missed some.

        `sending` is entered while a batch is on its way.
        """
        self.leads = False
        """Whether this replica is the one that relays, as far as it knows."""
        self._batches = Counter(
            "mercato_relay_batches", "Batches of events that the bus has taken over.", ("service",), [(name,)]
        )
        self._events = Counter(
            "mercato_relay_events", "Events that the bus has taken over.", ("service",), [(name,)]
        )
        self._name = name
        self._outbox = outbox
        self._bus = bus
        self._clock = clock
        self._retention = retention
        self._replicas = replicas or Alone()
        self._sending = sending
        self._woken = asyncio.Event()
        self._called = asyncio.Event()
        self._idle = asyncio.Event()
        self._stopping = False
        self._purge_at = 0.0

    @property
    def measures(self) -> tuple[Measure, ...]:
        """Return what is told of it."""
        leads = Reading(
            "gauge",
            "mercato_relay_leads",
            "1 where this process relays the service's events, 0 where another one does.",
            ("service",),
            lambda: {(self._name,): int(self.leads)},
        )
        return self._batches, self._events, leads

    def wake(self) -> None:
        """Say that events have been committed."""
        if not self.leads:
            self._called.set()
        self._idle.clear()
        self._woken.set()

    async def run(self) -> None:
        """Relay until `stop`, outliving every failure of the bus, the database or another replica."""
        beside = [
            asyncio.create_task(work(), name=f"relay-{self._name}-{work.__name__.strip('_')}")
            for work in (self._keep_leading, self._hear, self._call)
        ]
        try:
            await self._relay()
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
            await self._resign()

    async def _relay(self) -> None:
        pause, failing = _RETRY_FIRST_S, False
        while not self._stopping:
            self._woken.clear()
            try:
                if self.leads:
                    await self._empty()
                    await self._purge_now_and_then()
                pause = _RETRY_FIRST_S
            except Exception as error:  # noqa: BLE001  a bus fails in its own library's words
                log.warning("relay cannot go on", extra={"service": self._name, "cause": repr(error)})
                await self._wait_for_stop(pause * random.uniform(0.5, 1.0))  # noqa: S311  spreads load
                pause = min(pause * 2, _RETRY_MOST_S)
                failing = True
                continue
            failing = False
            await self._wait()
        if not failing:
            await self._hand_over_the_rest()

    async def _hand_over_the_rest(self) -> None:
        """See that what was committed before the stop is on its way. What fails is left to the next start."""
        try:
            if self.leads:
                await self._empty()
            elif self._called.is_set():
                await self._replicas.call()
        except Exception as error:  # noqa: BLE001  a bus fails in its own library's words
            log.warning("events are left", extra={"service": self._name, "cause": repr(error)})

    async def stop(self) -> None:
        """Let `run` end once what was committed is handed over, or at once while that fails.

        It may take as long as the bus does: whoever cannot wait cancels `run`.
        """
        self._stopping = True
        self._woken.set()

    async def settled(self) -> None:
        """Wait until every event committed so far has been handed over."""
        await self._idle.wait()

    async def _empty(self) -> None:
        while batch := await self._outbox.unsent(BATCH):
            # Asked last of all before it publishes: who was frozen since may have a successor.
            if not await self._replicas.still_leads():
                self._lose_lead()
                return
            with self._sending(batch):
                async with asyncio.timeout(PUBLISH_DEADLINE_S):
                    confirmed = await self._bus.publish(batch)
            if not confirmed:
                raise TimeoutError("the bus confirmed nothing")
            await self._outbox.mark_sent(confirmed, at=self._clock())
            self._batches.add(self._name)
            self._events.add(self._name, by=len(confirmed))
        if not self._woken.is_set():
            self._idle.set()

    async def _wait(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SWEEP_S):
                await self._woken.wait()

    async def _wait_for_stop(self, seconds: float) -> None:
        """Wait whatever is committed meanwhile, but not when it is to stop."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self._stopping:
                    self._woken.clear()
                    await self._woken.wait()

    async def _purge_now_and_then(self) -> None:
        now = asyncio.get_running_loop().time()
        if now < self._purge_at:
            return
        before = self._clock() - self._retention
        purged = await self._outbox.purge(before=before, limit=_PURGE_BATCH)
        self._purge_at = now if purged == _PURGE_BATCH else now + _PURGE_EVERY_S

    async def _keep_leading(self) -> None:
        """Renew the lead, or take it over. While the database is away, nothing is known of it."""
        failing = waited = False
        while True:
            try:
                leads = await self._replicas.lead()
                failing = False
            except Exception as error:  # noqa: BLE001  a database fails in its own library's words
                leads = self.leads
                if not failing:
                    details = {"service": self._name, "cause": repr(error)}
                    log.warning("lead cannot be renewed", extra=details)
                failing = True
            waited = waited or not leads
            if leads and not self.leads:
                if waited:
                    log.info("relaying in the place of another replica", extra={"service": self._name})
                self.leads = True
                self.wake()
            elif self.leads and not leads:
                self._lose_lead()
            await asyncio.sleep(LEAD_EVERY_S)

    def _lose_lead(self) -> None:
        log.info("another replica relays", extra={"service": self._name})
        self.leads = False
        # What was committed here meanwhile is that one's to send.
        self._called.set()

    async def _resign(self) -> None:
        if not self.leads:
            return
        self.leads = False
        try:
            async with asyncio.timeout(_RESIGN_DEADLINE_S):
                await self._replicas.resign()
        except Exception as error:  # noqa: BLE001  the lead ends by itself then
            log.warning("lead cannot be given up", extra={"service": self._name, "cause": repr(error)})

    async def _hear(self) -> None:
        """Be woken by other replicas. While that does not work, the sweep finds their events."""
        pause = _RETRY_FIRST_S
        while True:
            began = asyncio.get_running_loop().time()
            try:
                await self._replicas.hear(self._heard)
            except Exception as error:  # noqa: BLE001  a database fails in its own library's words
                log.warning(
                    "other replicas are not heard", extra={"service": self._name, "cause": repr(error)}
                )
            if asyncio.get_running_loop().time() - began > _RETRY_MOST_S:
                pause = _RETRY_FIRST_S
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  spreads load
            pause = min(pause * 2, _RETRY_MOST_S)

    def _heard(self) -> None:
        """Look for events that another replica has committed, if this one relays."""
        if self.leads:
            self.wake()

    async def _call(self) -> None:
        """Tell the replica that relays of events committed here."""
        while True:
            await self._called.wait()
            self._called.clear()
            if not self.leads:
                try:
                    await self._replicas.call()
                except Exception as error:  # noqa: BLE001  the sweep finds the events
                    log.warning("relay cannot be called", extra={"service": self._name, "cause": repr(error)})
            await asyncio.sleep(_CALL_EVERY_S)
