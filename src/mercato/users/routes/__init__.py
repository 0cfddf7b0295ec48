"""Users, stores and the public keys over HTTP."""

from collections.abc import Awaitable, Callable

from mercato.users.ports import AuditLog
from mercato.users.routes.accounts import accounts
from mercato.users.routes.audit import audit
from mercato.users.routes.discovery import discovery
from mercato.users.routes.flat import DIALECT, flat
from mercato.users.routes.links import links
from mercato.users.routes.machines import machines
from mercato.users.routes.sessions import sessions
from mercato.users.routes.stores import Onboarding, stores
from mercato.users.service.credentials import Credentials
from mercato.users.service.machines import Machines
from mercato.users.service.stores import Stores
from mercato.users.service.users import Users
from mercato.web.endpoint import Routes
from mercato.web.idempotency import Claims


def routes(  # noqa: PLR0913  each is one collaborator
    users: Users,
    desk: Stores,
    machine_desk: Machines,
    credentials: Credentials,
    claims: Claims,
    log: AuditLog,
    *,
    onboarding: Onboarding,
    issuer: str,
    jwks: Callable[[], Awaitable[bytes]],
) -> Routes:
    """Declare the endpoints."""
    api = Routes("users", claims=claims)
    stores(api, desk, users, onboarding)
    machines(api, machine_desk)
    accounts(api, users)
    flat(api.speaking(DIALECT, prefix="/users"), users)
    sessions(api, users, credentials)
    links(api, credentials)
    audit(api, log)
    discovery(api, issuer, jwks)
    return api
