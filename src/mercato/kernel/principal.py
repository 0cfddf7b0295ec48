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
PEOPLE = ANYONE - {Role.SERVICE}
"""Roles of those who have an account."""

ANY_STORE = "stores:any"
"""The scope of a machine that acts in any store; only operators give it."""
AUDIT = "audit:read"
"""The scope of a machine that reads the audit log, which nobody writes to."""
SCOPED = ("products", "orders", "payments", "users", "notifications")
SCOPES = frozenset({f"{of}:{what}" for of in SCOPED for what in ("read", "write")} | {AUDIT, ANY_STORE})
"""What machines can be allowed."""


class Principal(msgspec.Struct, frozen=True):
    """An authenticated caller, as the token says.

    `tenant` is the store the call acts in: the token's own, or for a platform role the one
    it named.
    """

    user_id: UserId
    email: str
    role: Role
    tenant: TenantId
    scopes: frozenset[str] = frozenset()
    """What a machine may do; people's roles say all."""

    @property
    def names_store(self) -> bool:
        """Whether the caller may name the store that a call acts in."""
        return self.role is Role.OPERATOR or ANY_STORE in self.scopes

    @property
    def is_staff(self) -> bool:
        """Whether every object of the store is in scope, not only one's own."""
        return self.role in STAFF
