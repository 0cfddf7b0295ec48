"""Users, stores and the public keys over HTTP."""

from collections.abc import Awaitable, Callable

from mercato.users.routes.accounts import accounts
from mercato.users.routes.discovery import discovery
from mercato.users.routes.stores import Onboarding, stores
from mercato.users.service.stores import Stores
from mercato.users.service.users import Users
from mercato.web.endpoint import Routes
from mercato.web.idempotency import Claims


def routes(
    users: Users,
    desk: Stores,
    claims: Claims,
    *,
    onboarding: Onboarding,
    issuer: str,
    jwks: Callable[[], Awaitable[bytes]],
) -> Routes:
    """Declare the endpoints."""
    api = Routes("users", claims=claims)
    stores(api, desk, users, onboarding)
    accounts(api, users)
    discovery(api, issuer, jwks)
    return api
