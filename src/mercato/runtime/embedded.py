"""The embedded platform: every service in one process, on SQLite in one folder."""

from datetime import timedelta
from typing import TYPE_CHECKING

from mercato.adapters.bus.inprocess import InProcessBus
from mercato.adapters.signals.port import NO_SIGNALS
from mercato.contracts.orders import OrderDesk
from mercato.contracts.products import Stock
from mercato.contracts.stores import StoreDirectory
from mercato.contracts.users import People
from mercato.kernel.clock import Clock, utc_now
from mercato.kernel.tenancy import Tier
from mercato.kernel.tracing import UNTRACED, Tracing
from mercato.notifications import wiring as notifications_wiring
from mercato.orders import wiring as orders_wiring
from mercato.payments import wiring as payments_wiring
from mercato.products import wiring as products_wiring
from mercato.runtime.broker import broker_of
from mercato.runtime.commerce import Readers, plug_in
from mercato.runtime.databases import open_database, open_sandbox_book
from mercato.runtime.process import Composition, Process
from mercato.runtime.settings import Settings, WrongSetting, variable
from mercato.runtime.shared import open_shared
from mercato.users import wiring as users_wiring

if TYPE_CHECKING:
    from mercato.runtime.redis import Shared


def build_users(
    settings: Settings, clock: Clock, shared: "Shared | None" = None
) -> users_wiring.UsersService:
    """Wire users on its database in the data folder."""
    return users_wiring.build(
        open_database(settings, "users"),
        clock=clock,
        key_folder=settings.folder / "keys",
        settings=users_wiring.UsersSettings(
            issuer=settings.issuer,
            audience=settings.audience,
            onboarding=settings.onboarding,
            default_tier=Tier(settings.default_tier),
            token_ttl_s=int(settings.token_ttl),
            refresh_ttl_days=settings.refresh_ttl,
            own_url=settings.own_url,
            link_url=settings.link_url,
            audit_retention_days=settings.audit_retention,
        ),
        shared=None if shared is None else shared.of_users(),
    )


def build_products(
    settings: Settings, clock: Clock, stores: StoreDirectory, shared: "Shared | None" = None
) -> products_wiring.Products:
    """Wire products on its database in the data folder."""
    return products_wiring.build(
        open_database(settings, "products"),
        clock=clock,
        stores=stores,
        settings=products_wiring.ProductsSettings(
            hold_grace=timedelta(seconds=settings.orphan_grace), max_import=settings.max_import
        ),
        signals=NO_SIGNALS if shared is None else shared.signals,
    )


def build_orders(settings: Settings, clock: Clock, stock: Stock) -> orders_wiring.OrdersService:
    """Wire orders on its database in the data folder."""
    return orders_wiring.build(
        open_database(settings, "orders"),
        clock=clock,
        stock=stock,
        settings=orders_wiring.OrdersSettings(hold_s=settings.hold),
    )


def build_payments(
    settings: Settings,
    clock: Clock,
    desk: OrderDesk,
    sandbox_secret: str = "",
    traces: Tracing = UNTRACED,
) -> payments_wiring.PaymentsService:
    """Wire payments on its database in the data folder, with the sandbox beside it.

    Raises WrongSetting for a provider that cannot charge.
    """
    if settings.payment_provider == "stripe" and not settings.stripe_key:
        raise WrongSetting(
            "MERCATO_STRIPE_KEY is not set, which MERCATO_PAYMENT_PROVIDER=stripe needs: the secret key"
            " of the Stripe account."
        )
    return payments_wiring.build(
        open_database(settings, "payments"),
        clock=clock,
        orders=desk,
        sandbox_book=open_sandbox_book(settings, sandbox_secret),
        settings=payments_wiring.PaymentsSettings(
            provider_timeout_s=settings.provider_timeout,
            provider=settings.payment_provider,
            sandbox_webhooks=None if settings.sandbox_webhooks == "off" else settings.sandbox_webhooks,
            own_url="" if settings.sandbox_webhooks == "off" else settings.own_url,
            stripe_key=settings.stripe_key,
            stripe_webhook_secret=settings.stripe_webhook_secret,
            stripe_url=settings.stripe_url,
        ),
        traces=traces,
    )


def build_notifications(
    settings: Settings,
    clock: Clock,
    people: People,
    stores: StoreDirectory,
    traces: Tracing = UNTRACED,
) -> notifications_wiring.NotificationsService:
    """Wire notifications on its database in the data folder.

    Raises WrongSetting for a mail server that is not named, or that emails come from nobody to.
    """
    smtp = None
    if settings.mail_sender == "smtp":
        for name in ("smtp_host", "mail_from"):
            if getattr(settings, name) == getattr(Settings(), name):
                raise WrongSetting(f"{variable(name)} is not set, which MERCATO_MAIL_SENDER=smtp needs.")
        smtp = notifications_wiring.SmtpSettings(
            host=settings.smtp_host,
            port=settings.smtp_port,
            user=settings.smtp_user,
            password=settings.smtp_password,
            tls=settings.smtp_tls,
        )
    return notifications_wiring.build(
        open_database(settings, "notifications"),
        clock=clock,
        people=people,
        stores=stores,
        settings=notifications_wiring.NotificationsSettings(
            mail_from=settings.mail_from,
            reply_to=settings.mail_reply_to,
            smtp=smtp,
            keep=settings.mailbox_keep,
            timeout_s=settings.smtp_timeout,
            first_retry_s=settings.mail_retry,
            attempts=settings.mail_attempts,
            retention_days=settings.mail_retention,
        ),
        traces=traces,
    )


class Embedded:
    """All services, wired to each other directly and to one bus."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock = utc_now,
        *,
        serves: bool = True,
        traces: Tracing = UNTRACED,
    ) -> None:
        """Open the data folder, which is made and migrated if need be.

        Building it starts nothing; commands use it beside a running process. One that never `serves`
        makes no keys either, which may be on another machine.
        """
        shared = open_shared(settings)
        self.users = build_users(settings, clock, shared)
        self.products = build_products(settings, clock, self.users.directory, shared)
        self.orders = build_orders(settings, clock, self.products.stock)
        secret = self.users.keys.hash_secret() if serves else b""
        self.payments = build_payments(settings, clock, self.orders.desk, secret.hex(), traces)
        self.notifications = build_notifications(
            settings, clock, self.users.people, self.users.directory, traces
        )
        services = (self.users, self.products, self.orders, self.payments, self.notifications)
        quotas = self.users.quotas
        composition = Composition(
            name="mercato",
            services={each.parts.name: each.parts for each in services},
            bus=broker_of(settings, "mercato") or InProcessBus(),
            authenticator=self.users.verifier,
            find_store=self.users.find_store,
            limits=settings.limits(quotas) if shared is None else shared.limits(quotas),
            hash_secret=secret,
            is_alone=not settings.database_url,
            workers=(
                ("keys", self.users.keys.watch),
                ("orphans", self.products.orphan_worker(self.orders.desk)),
            ),
            before_start=(
                lambda: self.users.stores.ensure_default_store(at=clock()),
                self.users.take_up,
                *(() if settings.database_url else (self.payments.take_up, self.notifications.take_up)),
            ),
            closers=(self.payments.close, self.notifications.close),
            shared=shared,
            graphql=plug_in(
                settings,
                Readers(self.users.reader, self.products.reader, self.orders.reader, self.payments.reader),
            ),
        )
        retention = timedelta(seconds=settings.outbox_retention)
        self.process = Process(composition, clock=clock, retention=retention, traces=traces)
