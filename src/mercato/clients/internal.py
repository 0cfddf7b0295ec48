"""Declaring the endpoints that services call of each other. The gateway routes none of them."""

from mercato.adapters.identity.service_tokens import PLATFORM
from mercato.kernel.acting import act_for
from mercato.kernel.errors import Forbidden
from mercato.kernel.principal import Role
from mercato.kernel.tenancy import TenantId
from mercato.web.call import Call
from mercato.web.decode import Body
from mercato.web.endpoint import Handler, Routes

PREFIX = "/internal/v1"
_SERVICES = frozenset({Role.SERVICE})


class Asked(Body, frozen=True, forbid_unknown_fields=False):
    """What a call says. Unknown fields are left out: newer callers may say more."""


class Nothing(Asked, frozen=True):
    """The body of a call that says all by its path."""


class Internal:
    """Collects the endpoints of one service."""

    def __init__(self) -> None:
        self.routes = Routes("internal", prefix=PREFIX)
        self.quiet: set[str] = set()
        """The routes that are called all the time, which is no news."""

    def on(self, path: str, handler: Handler, *, quiet: bool = False) -> None:
        """Answer calls of a path below the prefix."""
        if quiet:
            self.quiet.add(f"POST {PREFIX}{path}")
        declare = self.routes.post(path, allow=_SERVICES, scope=None, in_contract=False)
        declare(handler)


def store_of(call: Call) -> TenantId:
    """Return the store that the caller's token names, and work for it. Raises Forbidden without one."""
    tenant = call.principal.tenant
    if tenant == PLATFORM:
        raise Forbidden("This is about one store, which the token must name.")
    act_for(tenant)
    return tenant
