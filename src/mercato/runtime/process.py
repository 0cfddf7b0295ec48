"""A running process: services, the relays and inboxes that connect them, and their workers."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from mercato.adapters.service import ServiceParts, Worker
from mercato.adapters.sql.database import Database
from mercato.adapters.sql.inbox import SqlInbox
from mercato.adapters.sql.outbox import SqlOutbox
from mercato.adapters.sql.schema import wanting
from mercato.adapters.sweeps import sweep
from mercato.kernel.clock import Clock
from mercato.kernel.counting import Measure
from mercato.kernel.errors import Unavailable
from mercato.kernel.ids import uuid7
from mercato.kernel.tracing import UNTRACED, Tracing
from mercato.messaging.bus import Bus
from mercato.messaging.inbox import Inbox, Resend
from mercato.messaging.relay import Relay
from mercato.messaging.replicas import Alone, Replicas
from mercato.messaging.sending import told_by
from mercato.runtime.folder import SCHEMAS
from mercato.runtime.timekeeping import timekeeper
from mercato.web.auth import Authenticator, FindStore
from mercato.web.idempotency import KEPT, LEASE, RENEW_S
from mercato.web.limits import Limiter

if TYPE_CHECKING:
    from mercato.runtime.live import PlugIn
    from mercato.runtime.redis import Shared

log = logging.getLogger(__name__)

_START_EVERY_S = 1.0
_HAND_OVER_S = 5.0
"""How long relays get at the stop to hand over what was committed."""
_CLAIMS_SWEEP_S = 300.0
_CLAIMS_BATCH = 1_000
_QUOTAS_EVERY_S = 0.5


@dataclass(frozen=True, slots=True)
class Composition:
    """What a process is made of."""

    name: str
    services: Mapping[str, ServiceParts]
    bus: Bus | None
    """What connects the services; without one their events wait in the outbox."""
    authenticator: Authenticator
    find_store: FindStore
    limits: Limiter
    hash_secret: bytes = field(repr=False)
    is_alone: bool = True
    """No other process works on the databases, so whatever was under way at the start is over."""
    workers: tuple[tuple[str, Worker], ...] = ()
    before_start: tuple[Callable[[], Awaitable[object]], ...] = ()
    closers: tuple[Callable[[], Awaitable[None]], ...] = ()
    shared: "Shared | None" = None
    """What is shared with other processes, if anything is."""
    graphql: "PlugIn | None" = None
    """The schema, where GraphQL is served."""
    measures: tuple[Measure, ...] = ()
    """What is counted of what is no service's."""
    ask_sender: Resend | None = None
    """Asks a service that is not in this process for events that were missed."""


class Process:
    """Runs a composition. It owns the services' databases from the time it is built."""

    def __init__(
        self,
        composition: Composition,
        *,
        clock: Clock,
        retention: timedelta,
        traces: Tracing = UNTRACED,
    ) -> None:
        """Connect outboxes and inboxes to the bus. Nothing is started."""
        self.traces = traces
        self.composition = composition
        self.id = uuid7()
        """Which replica it is: another one at each start."""
        self._clock = clock
        services = composition.services
        self.timekeeper = timekeeper([parts.steps.db for parts in services.values()], composition.shared)
        self.outboxes = {name: SqlOutbox(parts.steps.db) for name, parts in services.items()}
        self.inbox_stores = {name: SqlInbox(parts.steps) for name, parts in services.items()}
        self.relays: dict[str, Relay] = {}
        self.inboxes: dict[str, Inbox] = {}
        self._sources = {parts.steps.source: name for name, parts in services.items()}
        self._relaying: list[asyncio.Task[None]] = []
        self._working: list[asyncio.Task[None]] = []
        if composition.bus is not None:
            self._connect(composition.bus, retention)

    def _connect(self, bus: Bus, retention: timedelta) -> None:
        for name, parts in self.composition.services.items():
            relay = Relay(
                name,
                self.outboxes[name],
                bus,
                clock=self._clock,
                retention=retention,
                replicas=_replicas(parts.steps.db, self.id),
                sending=told_by(self.traces, bus.system),
            )
            parts.steps.on_events(relay.wake)
            self.relays[name] = relay
            if parts.families:
                store = self.inbox_stores[name]
                inbox = Inbox(
                    name,
                    store,
                    parts.handlers,
                    resend=self._resend,
                    clock=self._clock,
                    traces=self.traces,
                )
                bus.subscribe(name, parts.families, inbox.receive)
                self.inboxes[name] = inbox

    async def _resend(self, source: str, key: str, after: int, before: int) -> int:
        """Ask the service that sent events to send some again. Raises Unavailable."""
        name = self._sources.get(source)
        if name is not None:
            return await self.resend(name, key, after, before)
        if self.composition.ask_sender is None:
            raise Unavailable(f"{source} is in another process, which cannot be asked.")
        return await self.composition.ask_sender(source, key, after, before)

    async def resend(self, service: str, key: str, after: int, before: int) -> int:
        """Send events of a service of this process again; return how many of them there still are."""
        still_there = await self.outboxes[service].resend(key, after=after, before=before)
        if still_there and service in self.relays:
            self.relays[service].wake()
        return still_there

    async def start(self) -> None:
        """Take up what a crash left unfinished, then start every relay, inbox and worker.

        A database that is away or not migrated yet is waited for. Raises Misconfigured.
        """
        while True:
            try:
                await self._prepare()
                break
            except Unavailable as error:
                log.warning("waiting to start", extra={"cause": error.message})
                await asyncio.sleep(_START_EVERY_S)
        self._relaying = [
            asyncio.create_task(relay.run(), name=f"relay-{name}") for name, relay in self.relays.items()
        ]
        workers: list[tuple[str, Worker]] = [
            (f"inbox-{name}", inbox.run) for name, inbox in self.inboxes.items()
        ]
        for parts in self.composition.services.values():
            workers += [(f"{parts.name}-worker", worker) for worker in parts.workers]
            workers.append((f"{parts.name}-claims", _claims_purge(parts, self._clock)))
            workers.append((f"{parts.name}-leases", _claims_renewal(parts, self._clock)))
        workers += self.composition.workers
        if self.timekeeper is not None:
            workers.append(("clock", self.timekeeper.run))
        shared = self.composition.shared
        workers += () if shared is None else shared.workers
        self._working = [asyncio.create_task(worker(), name=name) for name, worker in workers]
        self._working.append(asyncio.create_task(_save_quotas(self.composition.limits), name="quotas"))

    async def _prepare(self) -> None:
        """Take up what a crash left unfinished. It may be done again. Raises Unavailable, Misconfigured.

        Where there may be other processes, each claim's lease runs out by itself: nobody renews it.
        """
        if self.timekeeper is not None and self.timekeeper.needed:
            # Nothing is to be made by a clock that is wrong.
            await self.timekeeper.look()
        for name, parts in self.composition.services.items():
            reason = await wanting(parts.steps.db, SCHEMAS[name])
            if reason is not None:
                raise Unavailable(reason)
            if self.composition.is_alone:
                await parts.claims.end_leases()
        await self.composition.limits.load(self._clock())
        shared = self.composition.shared
        for prepare in (*(() if shared is None else shared.before_start), *self.composition.before_start):
            await prepare()
        if self.composition.bus is not None:
            await self.composition.bus.start()

    @property
    def started(self) -> bool:
        """Whether all that it needs to begin with was there."""
        return bool(self._working)

    @property
    def alive(self) -> bool:
        """Whether every background task is running."""
        return not any(task.done() for task in (*self._working, *self._relaying))

    @property
    def is_behind(self) -> bool:
        """Whether more waits for a database than it can take next."""
        return any(parts.steps.db.is_behind for parts in self.composition.services.values())

    async def stop(self) -> None:
        """Stop the workers, let the relays hand over what they have, and close every database."""
        for relay in self.relays.values():
            await relay.stop()
        for task in self._working:
            task.cancel()
        if self._relaying:
            _, late = await asyncio.wait(self._relaying, timeout=_HAND_OVER_S)
            for task in late:
                task.cancel()
        await asyncio.gather(*self._working, *self._relaying, return_exceptions=True)
        if self.composition.bus is not None:
            await self.composition.bus.stop()
        try:
            await self.composition.limits.save()
        except Unavailable:
            log.exception("quotas cannot be saved")
        await self.close()

    async def close(self) -> None:
        """Close every database, each whatever happens to the others."""
        async with AsyncExitStack() as closing:
            for parts in self.composition.services.values():
                closing.push_async_callback(parts.steps.db.close)
            if self.composition.shared is not None:
                closing.push_async_callback(self.composition.shared.close)
            for closer in self.composition.closers:
                closing.push_async_callback(closer)


def _replicas(db: Database, me: str) -> Replicas:
    """Return how a process gets on with the others on its database: on SQLite there are none."""
    if db.dialect == "sqlite":
        return Alone()
    from mercato.adapters.sql.postgres import PostgresDatabase  # noqa: PLC0415  an extra's driver
    from mercato.adapters.sql.postgres_replicas import PostgresReplicas  # noqa: PLC0415

    if not isinstance(db, PostgresDatabase):
        raise TypeError(f"{type(db).__name__} does not say how replicas on it find each other")
    return PostgresReplicas(db, me)


async def _save_quotas(limits: Limiter) -> None:
    """Write what was counted, every so often: a crash forgets no more than that."""
    while True:
        await asyncio.sleep(_QUOTAS_EVERY_S)
        try:
            await limits.save()
        except Unavailable as error:
            log.warning("quotas cannot be saved", extra={"cause": repr(error)})


def _claims_renewal(parts: ServiceParts, clock: Clock) -> Worker:
    """Return the worker that renews the leases of the keyed calls under way."""

    async def run() -> None:
        while True:
            await asyncio.sleep(RENEW_S)
            try:
                await parts.claims.renew(lease_until=clock() + LEASE)
            except Unavailable as error:
                details = {"service": parts.name, "cause": repr(error)}
                log.warning("claims cannot be renewed", extra=details)
            except Exception:
                log.exception("claims cannot be renewed", extra={"service": parts.name})

    return run


def _claims_purge(parts: ServiceParts, clock: Clock) -> Worker:
    """Return the worker that deletes idempotency keys that are older than they are kept."""
    return sweep(
        lambda: parts.claims.purge(before=clock() - KEPT, limit=_CLAIMS_BATCH),
        batch=_CLAIMS_BATCH,
        every_s=_CLAIMS_SWEEP_S,
        log=log,
        failing="claims cannot be purged",
        service=parts.name,
    )
