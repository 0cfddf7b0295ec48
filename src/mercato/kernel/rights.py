"""Whether somebody may do a thing at all, whatever it is done to."""

from mercato.kernel.errors import Forbidden
from mercato.kernel.principal import Principal, Role


def check_rights(caller: Principal, allow: frozenset[Role], scope: str | None) -> None:
    """Raise Forbidden for a role that is not allowed, and a machine without the scope where one is needed."""
    if caller.role not in allow:
        raise Forbidden("Your role may not do this.")
    if scope is not None and caller.role is Role.SERVICE and scope not in caller.scopes:
        raise Forbidden(f"This needs the scope {scope}.")
