"""The HTTP endpoints of orders."""

from mercato.orders.ports import OrderStore
from mercato.orders.routes.flat import DIALECT, flat
from mercato.orders.routes.orders import declare
from mercato.orders.service.orders import Orders
from mercato.web.endpoint import Routes
from mercato.web.idempotency import Claims


def routes(orders: Orders, store: OrderStore, claims: Claims) -> Routes:
    """Declare the endpoints."""
    api = Routes("orders", prefix="/api/v1", claims=claims)
    declare(api, orders, store)
    flat(api.speaking(DIALECT, prefix=""), orders, store)
    return api
