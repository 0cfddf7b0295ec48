"""How payments is put together."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import msgspec

from mercato.adapters.service import ServiceParts
from mercato.adapters.sql.claims import SqlClaims
from mercato.adapters.sql.database import Database
from mercato.adapters.sql.steps import Steps
from mercato.contracts.orders import OrderDesk
from mercato.contracts.payment_books import PaymentBook
from mercato.kernel.clock import Clock
from mercato.payments.domain import CheckDelays
from mercato.payments.providers.sandbox import Sandbox
from mercato.payments.routes import routes
from mercato.payments.service.payments import Payments
from mercato.payments.service.settlement import Settlement
from mercato.payments.stores.sql import SqlPayments
from mercato.payments.subscribers import FAMILIES, handlers
from mercato.payments.workers import Reconciler


class PaymentsSettings(msgspec.Struct, frozen=True):
    """How payments behaves. Times are in seconds."""

    provider_timeout_s: float = 10.0
    """How long one call of the provider may take."""
    first_check_s: float = 1.0
    """After how long an unknown outcome is asked for again; then after twice that, and so on."""
    most_check_s: float = 600.0
    sweep_s: float = 0.5
    """How often to look for what is due."""
    most_checks: int = 32
    """How many payments are reconciled at the same time."""
    most_flights: int = 512
    """How many calls of the provider are under way at the same time."""
    sandbox_slow_s: float = 3.0


@dataclass(frozen=True, slots=True)
class PaymentsService:
    """Payments, wired."""

    parts: ServiceParts
    service: Payments
    store: SqlPayments
    sandbox: Sandbox
    settlement: Settlement
    reconciler: Reconciler

    async def books(self) -> list[PaymentBook]:
        """Return every store's payments, for reconciliation."""
        return await self.store.books()

    async def take_up(self) -> int:
        """Take up at once what a former process, known to be dead, left open; say how much."""
        return await self.store.make_due()

    async def close(self) -> None:
        """Let calls of the provider end, then close its book. The database is the root's to close."""
        await self.settlement.close()
        await self.sandbox.close()


def build(
    db: Database, *, clock: Clock, orders: OrderDesk, sandbox_db_path: Path, settings: PaymentsSettings
) -> PaymentsService:
    """Wire payments on its database, with the sandbox as the provider."""
    steps = Steps(db, source="/mercato/payments", clock=clock)
    store, claims = SqlPayments(steps), SqlClaims(db)
    sandbox = Sandbox(sandbox_db_path, slow_s=settings.sandbox_slow_s)
    settlement = Settlement(
        store,
        sandbox,
        clock=clock,
        delays=CheckDelays(
            timedelta(seconds=settings.first_check_s), timedelta(seconds=settings.most_check_s)
        ),
        timeout_s=settings.provider_timeout_s,
        most_flights=settings.most_flights,
    )
    payments = Payments(store, orders, settlement)
    reconciler = Reconciler(
        store, settlement, clock=clock, sweep_s=settings.sweep_s, most=settings.most_checks
    )
    parts = ServiceParts(
        name="payments",
        steps=steps,
        claims=claims,
        routes=routes(payments, store, claims),
        handlers=handlers(payments),
        families=FAMILIES,
        workers=(reconciler.run,),
    )
    return PaymentsService(parts, payments, store, sandbox, settlement, reconciler)
