"""The rules of machines: programs with logins of their own, which may do what their scopes say."""

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated

import msgspec

from mercato.kernel.errors import Conflict, FieldError, Forbidden, ValidationFailed
from mercato.kernel.ids import UserId, is_id
from mercato.kernel.principal import ANY_STORE, SCOPES, Principal, Role
from mercato.kernel.redaction import discreet
from mercato.kernel.tenancy import TenantId, is_slug
from mercato.kernel.text import LINE_PATTERN

ClientName = Annotated[
    str, msgspec.Meta(max_length=100, pattern=LINE_PATTERN, description="one line of 1 to 100 characters")
]
Scopes = Annotated[
    tuple[Annotated[str, msgspec.Meta(max_length=64)], ...],
    msgspec.Meta(min_length=1, max_length=len(SCOPES)),
]
Expiry = Annotated[datetime, msgspec.Meta(tz=True)]

MAX_API_CLIENTS = 100
"""How many machine clients a store may have."""


class TooManyClients(Conflict):
    """The store has as many machine clients as it may."""


class NewApiClient(msgspec.Struct, frozen=True, kw_only=True):
    """A machine that is to have a login of its own."""

    name: ClientName
    scopes: Scopes
    expires_at: Expiry | None = None


class ApiClient(msgspec.Struct, frozen=True, kw_only=True):
    """A machine with a login in one store. `secret_hash` never leaves the service."""

    id: UserId
    tenant_id: TenantId
    name: str
    scopes: tuple[str, ...]
    """Sorted, each once."""
    secret_hash: bytes
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    version: int = 1

    __repr__ = discreet

    @property
    def client_id(self) -> str:
        """What the machine signs in as. It names the store, so that signing in needs no other hint."""
        return f"{self.tenant_id}.{self.id}"

    def is_valid(self, at: datetime) -> bool:
        """Say whether the login has not expired."""
        return self.expires_at is None or at < self.expires_at

    def principal(self, scopes: Iterable[str]) -> Principal:
        """Return the machine as a caller with some of its scopes."""
        return Principal(self.id, "", Role.SERVICE, self.tenant_id, frozenset(scopes))


def read_client_id(client_id: str) -> tuple[TenantId, UserId] | None:
    """Return the store and the machine that a client id names; None if it has not the form of one."""
    tenant, _, machine = client_id.partition(".")
    return (TenantId(tenant), UserId(machine)) if is_slug(tenant) and is_id(machine) else None


def create_api_client(
    new: NewApiClient, tenant: TenantId, client: UserId, secret_hash: bytes, *, by: Principal, at: datetime
) -> ApiClient:
    """Make a machine's login.

    Raises ValidationFailed naming every field that is not acceptable, and Forbidden if anybody but an
    operator gives the scope of all stores.
    """
    words = f"must be one of {', '.join(sorted(SCOPES))}"
    refused = [
        FieldError(f"scopes[{index}]", words) for index, each in enumerate(new.scopes) if each not in SCOPES
    ]
    if not new.scopes:
        refused.append(FieldError("scopes", "must name at least one scope"))
    if new.expires_at is not None and new.expires_at <= at:
        refused.append(FieldError("expires_at", "must be in the future"))
    if refused:
        raise ValidationFailed.of(*refused)
    check_given_scopes(new.scopes, by)
    return ApiClient(
        id=client,
        tenant_id=tenant,
        name=new.name,
        scopes=tuple(sorted(set(new.scopes))),
        secret_hash=secret_hash,
        created_by=by.user_id,
        created_at=at,
        expires_at=new.expires_at,
    )


def check_given_scopes(scopes: Iterable[str], by: Principal) -> None:
    """Refuse scopes that only an operator gives. Raises Forbidden."""
    if ANY_STORE in scopes and by.role is not Role.OPERATOR:
        raise Forbidden(f"Only an operator gives the scope {ANY_STORE}.")


def is_visible(client: ApiClient, caller: Principal) -> bool:
    """Say whether a machine of the store is in the caller's scope.

    One that acts in any store is the operators' own, wherever it lives: no store's admin sees it.
    """
    return caller.role is Role.OPERATOR or ANY_STORE not in client.scopes


def granted(client: ApiClient, scope: str | None) -> tuple[str, ...]:
    """Return the scopes a machine's token gets: those asked for (RFC 6749, section 3.3), else all.

    Raises ValidationFailed naming `scope` where it asks for one that the client does not have.
    """
    if scope is None:
        return client.scopes
    asked = tuple(sorted(set(scope.split())))
    if not asked or not set(asked) <= set(client.scopes):
        raise ValidationFailed.field(
            "scope", f"must be some of the client's scopes, separated by spaces: {' '.join(client.scopes)}"
        )
    return asked
