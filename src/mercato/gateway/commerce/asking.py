"""Who asks, in which store, and what can be asked."""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Protocol

import msgspec

from mercato.contracts.order_reading import OrderReader
from mercato.contracts.orders import OrderEvent
from mercato.contracts.payment_reading import PaymentReader
from mercato.contracts.payments import PaymentEvent
from mercato.contracts.product_reading import ProductReader
from mercato.contracts.user_reading import UserReader
from mercato.kernel.errors import FieldError, MercatoError, Unauthenticated
from mercato.kernel.ids import OrderId
from mercato.kernel.principal import Principal
from mercato.kernel.tenancy import TenantId


class Refusal(MercatoError):
    """What a service refused a call with: its own code, words and fields."""

    def __init__(self, code: str, message: str, details: tuple[FieldError, ...] = ()) -> None:
        super().__init__(message, details)
        self.code = code  # type: ignore[misc]  # this one stands for every refusal of the REST contract


class RestCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call of the REST contract, which is where all changes are made."""

    method: str
    path: str
    body: Mapping[str, object] | None = None
    key: str | None = None
    """The Idempotency-Key."""
    version: int | None = None
    """The version that If-Match binds the call to."""


class Rest(Protocol):
    """Calls the REST contract in somebody's name: their rights and limits are those of REST."""

    async def call(self, asking: "Asking", wanted: RestCall) -> bytes:
        """Return the `data` of the answer, as JSON; nothing where it has none.

        Raises Refusal for what is refused, and Unavailable.
        """
        ...


class Feed(Protocol):
    """Tells what happens as it happens, of what the caller may read; see gateway.live.feed.Feed."""

    def orders(
        self, caller: Principal | None, order: OrderId | None = None
    ) -> AsyncGenerator[OrderEvent, None]:
        """Tell what happens to orders, or to one of them."""
        ...

    def payments(
        self, caller: Principal | None, order: OrderId | None = None
    ) -> AsyncGenerator[PaymentEvent, None]:
        """Tell what happens to payments, or to those of one order."""
        ...


@dataclass(frozen=True, slots=True)
class Services:
    """What the gateway asks."""

    users: UserReader
    products: ProductReader
    orders: OrderReader
    payments: PaymentReader
    rest: Rest
    feed: Feed


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """One request: the context of every field of it."""

    request_id: str
    tenant: TenantId
    principal: Principal | None
    """None where there is no token."""
    services: Services
    client: str
    """The address that the limits of REST count."""
    headers: Mapping[str, str]
    """Those that calls of REST carry on: the token, and the store that is named."""

    @property
    def caller(self) -> Principal:
        """Whoever has signed in. Raises Unauthenticated where nobody has."""
        if self.principal is None:
            raise Unauthenticated("Sign in: this needs a token.")
        return self.principal
