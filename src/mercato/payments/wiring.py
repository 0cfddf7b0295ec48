"""How payments is put together."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import msgspec

from mercato.adapters.http.dependency import Dependency
from mercato.adapters.service import ServiceParts, Worker
from mercato.adapters.sql.claims import SqlClaims
from mercato.adapters.sql.database import Database
from mercato.adapters.sql.steps import Steps
from mercato.contracts.orders import OrderDesk
from mercato.contracts.payment_books import PaymentBook
from mercato.contracts.payment_reading import PaymentReader
from mercato.kernel.clock import Clock
from mercato.kernel.redaction import discreet
from mercato.kernel.tracing import UNTRACED, Tracing
from mercato.payments.counts import PaymentCounts
from mercato.payments.domain import CheckDelays
from mercato.payments.ports import Notices, Provider
from mercato.payments.providers import notices, sandbox
from mercato.payments.providers.notices import SignedNotices
from mercato.payments.providers.sandbox import Book, Sandbox
from mercato.payments.providers.sandbox_webhooks import HttpPost, Mode, SandboxWebhooks
from mercato.payments.routes import routes
from mercato.payments.service.payments import Payments
from mercato.payments.service.reading import PaymentReading
from mercato.payments.service.settlement import Settlement
from mercato.payments.service.webhooks import Webhooks
from mercato.payments.stores.reading import SqlPaymentReads
from mercato.payments.stores.sql import SqlPayments
from mercato.payments.subscribers import FAMILIES, handlers
from mercato.payments.workers import Reconciler, purge

WEBHOOKS_PATH = "/api/v1/payments/webhooks/"


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
    provider: str = Sandbox.name
    """Who charges: the sandbox, or Stripe."""
    sandbox_webhooks: Mode | None = None
    """How the sandbox reports what it did; None where it does not."""
    sandbox_spread_s: float = 3.0
    """How late its late webhooks are, and within what time it shuffles them."""
    own_url: str = ""
    """Where this process is reached, which the sandbox calls."""
    stripe_key: str = ""
    """The account's secret key; without one Stripe is not asked, and cannot be the provider."""
    stripe_webhook_secret: str = ""
    """What Stripe signs its webhooks with; without it they are not taken."""
    stripe_url: str = "https://api.stripe.com"

    __repr__ = discreet


@dataclass(frozen=True, slots=True)
class PaymentsService:
    """Payments, wired."""

    parts: ServiceParts
    service: Payments
    store: SqlPayments
    sandbox: Sandbox
    settlement: Settlement
    providers: Mapping[str, Provider]
    reconciler: Reconciler
    reader: PaymentReader

    async def books(self) -> list[PaymentBook]:
        """Return every store's payments, for reconciliation."""
        return await self.store.books()

    async def take_up(self) -> int:
        """Take up at once what a former process, known to be dead, left open; say how much."""
        return await self.store.make_due()

    async def close(self) -> None:
        """Let calls of the providers end, then close them. The database is the root's to close."""
        await self.settlement.close()
        for provider in self.providers.values():
            await provider.close()


def build(
    db: Database,
    *,
    clock: Clock,
    orders: OrderDesk,
    sandbox_book: Book,
    settings: PaymentsSettings,
    traces: Tracing = UNTRACED,
) -> PaymentsService:
    """Wire payments on its database.

    The sandbox is always there, since payments made by it may be open. Raises ValueError for a
    provider that is not set up.
    """
    steps = Steps(db, source="/mercato/payments", clock=clock)
    store, claims, counts = SqlPayments(steps), SqlClaims(db), PaymentCounts()
    steps.on_committed(counts.committed)
    book = Sandbox(sandbox_book, slow_s=settings.sandbox_slow_s)
    providers, dependencies = _providers(book, settings, clock)
    if settings.provider not in providers:
        raise ValueError(f"the provider {settings.provider} is not set up")
    settlement = Settlement(
        store,
        providers,
        provider_name=settings.provider,
        clock=clock,
        delays=CheckDelays(
            timedelta(seconds=settings.first_check_s), timedelta(seconds=settings.most_check_s)
        ),
        timeout_s=settings.provider_timeout_s,
        most_flights=settings.most_flights,
    )
    payments = Payments(store, orders, settlement)
    webhooks = Webhooks(store, settlement, _notices(book, settings))
    reconciler = Reconciler(
        store, settlement, clock=clock, sweep_s=settings.sweep_s, most=settings.most_checks, traces=traces
    )
    parts = ServiceParts(
        name="payments",
        steps=steps,
        claims=claims,
        routes=routes(payments, webhooks, store, claims),
        handlers=handlers(payments),
        families=FAMILIES,
        workers=(reconciler.run, purge(store, clock), *_reporting(book, settings, clock)),
        dependencies=dependencies,
        measures=counts.measures,
    )
    reader = PaymentReading(SqlPaymentReads(db))
    return PaymentsService(parts, payments, store, book, settlement, providers, reconciler, reader)


def _providers(
    book: Sandbox, settings: PaymentsSettings, clock: Clock
) -> tuple[Mapping[str, Provider], tuple[Dependency, ...]]:
    """Return who may be asked about payments. One that charges no more may have some that are open."""
    providers: dict[str, Provider] = {book.name: book}
    dependencies: list[Dependency] = []
    if settings.stripe_key:
        # The HTTP client is there for those who need it.
        from mercato.payments.providers.stripe import Stripe  # noqa: PLC0415
        from mercato.payments.providers.stripe_api import StripeApi  # noqa: PLC0415

        api = StripeApi(settings.stripe_url, settings.stripe_key, timeout_s=settings.provider_timeout_s)
        providers[Stripe.name] = Stripe(api, clock=clock)
        dependencies.append(api.dependency)
    return providers, tuple(dependencies)


def _notices(book: Sandbox, settings: PaymentsSettings) -> Mapping[str, Notices]:
    """Return who reads webhooks: of the providers that have a secret to sign them with."""
    found: dict[str, Notices] = {
        book.name: SignedNotices(
            book.webhook_secret,
            header=notices.SANDBOX_HEADER,
            types=notices.SANDBOX_TYPES,
            tenant_name=sandbox.TENANT,
            key_name=sandbox.KEY,
        )
    }
    if settings.stripe_key and settings.stripe_webhook_secret:
        from mercato.payments.providers import stripe  # noqa: PLC0415

        found[stripe.Stripe.name] = SignedNotices(
            settings.stripe_webhook_secret,
            header=notices.STRIPE_HEADER,
            types=notices.STRIPE_TYPES,
            tenant_name=stripe.TENANT,
            key_name=stripe.KEY,
        )
    return found


def _reporting(book: Sandbox, settings: PaymentsSettings, clock: Clock) -> tuple[Worker, ...]:
    """Have the sandbox report what it does, if it is told to, and return the worker that sends it."""
    if settings.sandbox_webhooks is None:
        return ()
    webhooks = SandboxWebhooks(
        HttpPost(f"{settings.own_url}{WEBHOOKS_PATH}{book.name}"),
        book.webhook_secret,
        mode=settings.sandbox_webhooks,
        spread_s=settings.sandbox_spread_s,
        clock=clock,
    )
    book.on_news(webhooks.tell)
    return (webhooks.run,)
