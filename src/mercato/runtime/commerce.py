"""GraphQL on the commerce schema: over the services in this process, or over those apart."""

from collections.abc import Callable
from dataclasses import dataclass

from mercato.contracts.order_reading import OrderReader
from mercato.contracts.payment_reading import PaymentReader
from mercato.contracts.product_reading import ProductReader
from mercato.contracts.user_reading import UserReader
from mercato.gateway.commerce.asking import Asking, Services
from mercato.gateway.commerce.bound import bound
from mercato.gateway.commerce.rest import ShellRest
from mercato.runtime import graphql
from mercato.runtime.live import Live, Plugged, PlugIn
from mercato.runtime.settings import Settings
from mercato.web.call import Call

_CARRIED_ON = ("authorization", "x-tenant-id", "host")
"""What calls of REST say of who calls, and for which store."""


@dataclass(frozen=True, slots=True)
class Readers:
    """What the services let be read."""

    users: UserReader
    products: ProductReader
    orders: OrderReader
    payments: PaymentReader


def plug_in(settings: Settings, readers: Readers) -> PlugIn:
    """Return what makes GraphQL of the readers and of the process's own shell. It raises WrongSetting."""

    def plug(live: Live) -> Plugged:
        rest = ShellRest()
        services = Services(
            readers.users, readers.products, readers.orders, readers.payments, rest, live.feed
        )
        operations = graphql.operations(settings, bound, _context(services), live.registry, live.traces)
        return Plugged(operations, graphql.endpoints(settings, operations, live.streams), rest.bind)

    return plug


def _context(services: Services) -> Callable[[Call], Asking]:
    def context(call: Call) -> Asking:
        headers = call.headers
        return Asking(
            request_id=call.request_id,
            tenant=call.tenant,
            principal=call.caller,
            services=services,
            client=call.client,
            headers={name: headers[name] for name in _CARRIED_ON if name in headers},
        )

    return context
