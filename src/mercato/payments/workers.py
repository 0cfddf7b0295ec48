"""What payments does by the clock: it asks about everything that is open, and forgets what is past."""

import asyncio
import logging
from datetime import timedelta

from mercato.adapters.service import Worker
from mercato.adapters.sweeps import sweep
from mercato.kernel.clock import Clock
from mercato.kernel.tracing import UNTRACED, SpanKind, Tracing
from mercato.payments.ports import Due, PaymentStore
from mercato.payments.service.settlement import Settlement

log = logging.getLogger(__name__)

NOTICES_KEPT = timedelta(days=7)
"""Providers repeat an event for some days."""
FATES_KEPT = timedelta(days=1)
"""How long a payment may have been about to be opened when its order was cancelled.

That is a matter of seconds: it asks orders first, and ends at its deadline. Later ones ask anew.
"""
_PURGE_EVERY_S = 300.0
_PURGE_BATCH = 1_000


class Reconciler:
    """Settles payments that are due, a bounded number at a time.

    Something that has just become due wakes it; a sweep finds the rest.
    """

    def __init__(
        self,
        store: PaymentStore,
        settlement: Settlement,
        *,
        clock: Clock,
        sweep_s: float,
        most: int,
        traces: Tracing = UNTRACED,
    ) -> None:
        """`most` is how many payments are settled at the same time."""
        self._traces = traces
        self._store = store
        self._settlement = settlement
        self._clock = clock
        self._sweep_s = sweep_s
        self._most = most
        self._running: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Settle what is due, until cancelled."""
        try:
            while True:
                self._settlement.due.clear()
                try:
                    await self.sweep()
                except Exception:
                    log.exception("payments cannot be reconciled now")
                await self._wait()
        finally:
            for task in self._running.values():
                task.cancel()

    async def sweep(self) -> None:
        """Begin to settle what is due. Slow ones do not hold up the others."""
        # Those in hand are still due: twice as many surely hold enough others.
        for due in await self._store.due(self._clock(), 2 * self._most):
            if len(self._running) >= self._most:
                return
            if due.payment_id not in self._running:
                task = asyncio.create_task(self._settle(due), name=f"settle-{due.payment_id}")
                self._running[due.payment_id] = task

    async def idle(self) -> None:
        """Wait until what was begun has ended."""
        while self._running:
            await asyncio.wait(list(self._running.values()))

    async def _settle(self, due: Due) -> None:
        try:
            with self._traces.begin("settle payment", SpanKind.INTERNAL) as span:
                span.set("mercato.tenant", due.tenant)
                await self._settlement.settle(due.tenant, due.payment_id)
        except Exception:
            log.exception("payment cannot be settled now", extra={"payment": due.payment_id})
        finally:
            del self._running[due.payment_id]

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(self._sweep_s):
                await self._settlement.due.wait()
        except TimeoutError:
            return


def purge(store: PaymentStore, clock: Clock) -> Worker:
    """Return the worker that deletes what nobody will ask for any more, a bounded part at a time."""

    async def work() -> int:
        now = clock()
        return await store.purge(
            notices_before=now - NOTICES_KEPT, fates_before=now - FATES_KEPT, limit=_PURGE_BATCH
        )

    return sweep(
        work, batch=_PURGE_BATCH, every_s=_PURGE_EVERY_S, log=log, failing="payments cannot be purged now"
    )
