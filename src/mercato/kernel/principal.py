"""Who is calling."""

import enum

import msgspec

from mercato.kernel.ids import UserId
from mercato.kernel.tenancy import TenantId


class Role(enum.StrEnum):
    """What a principal may do; the table is in the documentation under "Rights"."""

    CUSTOMER = "customer"
    ADMIN = "admin"
    OPERATOR = "operator"
    SERVICE = "service"


ANYONE = frozenset(Role)
STAFF = frozenset({Role.ADMIN, Role.OPERATOR, Role.SERVICE})
OPERATORS = frozenset({Role.OPERATOR})
PLATFORM = frozenset({Role.OPERATOR, Role.SERVICE})
"""Roles that belong to no store and name the one they act in."""


class Principal(msgspec.Struct, frozen=True):
    """An authenticated caller, as the token says.

    `tenant` is the store the call acts in: the token's own, or for a platform role the one
    it named.
    """

    user_id: UserId
    email: str
    role: Role
    tenant: TenantId

    @property
    def is_staff(self) -> bool:
        """Whether every object of the store is in scope, not only one's own."""
        return self.role in STAFF
