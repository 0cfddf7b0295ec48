"""What notifications does by the clock: it sends what is due, and forgets what is past."""

import asyncio
import logging
from datetime import timedelta

from mercato.adapters.service import Worker
from mercato.adapters.sweeps import sweep
from mercato.kernel.clock import Clock
from mercato.kernel.tracing import UNTRACED, SpanKind, Tracing, read_context
from mercato.notifications.domain import Notification
from mercato.notifications.ports import NotificationStore
from mercato.notifications.service.delivery import Delivery

log = logging.getLogger(__name__)

SWEEP_S = 0.5
"""How often it looks for what is due, besides being woken by what has just been queued."""
_PURGE_EVERY_S = 3600.0
_PURGE_BATCH = 1_000
GATHER_S = 0.01
"""How long it waits then for more to come: requests go first, and one step takes what has gathered."""


class Dispatch:
    """Sends notifications that are due, a bounded number at a time, so that none holds up the others."""

    def __init__(self, delivery: Delivery, *, most: int, traces: Tracing = UNTRACED) -> None:
        """`most` is how many are sent at the same time."""
        self._traces = traces
        self._delivery = delivery
        self._most = most
        self._woken = asyncio.Event()
        self._running: set[asyncio.Task[None]] = set()

    def wake(self) -> None:
        """Say that something is due, or that there is room for another one."""
        self._woken.set()

    async def run(self) -> None:
        """Send what is due, until cancelled. What is being sent then goes on until `close`."""
        while True:
            self._woken.clear()
            try:
                await self.sweep()
            except Exception:
                log.exception("notifications cannot be sent now")
            await self._wait()

    async def sweep(self) -> None:
        """Begin to send what is due, as far as there is room."""
        room = self._most - len(self._running)
        if room <= 0:
            return
        for claimed in await self._delivery.claim(room):
            task = asyncio.create_task(self._deliver(claimed), name=f"mail-{claimed.id}")
            self._running.add(task)
            task.add_done_callback(self._ended)

    async def idle(self) -> None:
        """Wait until what was begun has ended."""
        while self._running:
            await asyncio.wait(list(self._running))

    async def close(self, *, within_s: float) -> None:
        """Let what is being sent end in that time. The rest is sent anew after the next start."""
        if self._running:
            _, late = await asyncio.wait(list(self._running), timeout=within_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._running.discard(task)
        # Whether more is due is not known before somebody looks.
        self._woken.set()

    async def _deliver(self, claimed: Notification) -> None:
        """Send one, as part of the trace that it was queued in."""
        queued_in, name = read_context(claimed.traceparent), f"mail {claimed.template}"
        try:
            with self._traces.begin(name, SpanKind.CONSUMER, queued_in, trusted=True) as span:
                span.set("mercato.tenant", claimed.tenant_id)
                span.set("mercato.attempt", claimed.attempts)
                await self._delivery.deliver(claimed)
        except Exception:
            # It is due again when the lease ends.
            log.exception("what came of a mail cannot be kept now", extra={"notification": claimed.id})

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(SWEEP_S):
                await self._woken.wait()
        except TimeoutError:
            return
        await asyncio.sleep(GATHER_S)


def purge(store: NotificationStore, clock: Clock, kept: timedelta) -> Worker:
    """Return the worker that deletes what has been over for so long."""
    return sweep(
        lambda: store.purge(before=clock() - kept, limit=_PURGE_BATCH),
        batch=_PURGE_BATCH,
        every_s=_PURGE_EVERY_S,
        log=log,
        failing="notifications of the past cannot be deleted now",
    )
