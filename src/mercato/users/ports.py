"""What users needs, in its own words."""

from datetime import datetime
from typing import Protocol

from mercato.contracts.events import Events
from mercato.kernel.cause import Cause
from mercato.kernel.ids import UserId
from mercato.kernel.principal import Principal
from mercato.kernel.tenancy import TenantId
from mercato.users.domain import Account, RefreshToken, Tenant, User


class TenantStore(Protocol):
    """Keeps the stores of the platform."""

    async def find(self, tenant: TenantId) -> Tenant | None:
        """Return one store, read fresh."""
        ...

    async def after(self, tenant: str, limit: int) -> list[Tenant]:
        """Return up to `limit` stores whose ids follow `tenant`, by id."""
        ...

    async def add(self, tenant: Tenant, events: Events, *, by: Cause) -> Tenant:
        """Store a new store with its events. Raises StoreTaken."""
        ...

    async def onboard(
        self, tenant: Tenant, admin: Account, session: RefreshToken, events: Events, *, by: Cause
    ) -> Tenant:
        """Store a new store, its first admin and their session, in one step. Raises StoreTaken."""
        ...


class UserStore(Protocol):
    """Keeps the users of each store."""

    async def find(self, tenant: TenantId, user_id: UserId) -> User | None:
        """Return one user, read fresh."""
        ...

    async def account(self, tenant: TenantId, email: str) -> Account | None:
        """Return the account with that email, however it is spelt."""
        ...

    async def add(self, account: Account, session: RefreshToken | None, events: Events, *, by: Cause) -> User:
        """Store a new user, signed in where there is a session, in one step. Raises DuplicateEmail."""
        ...

    async def sign_in(self, session: RefreshToken, *, by: Cause) -> None:
        """Store a new session."""
        ...


class Passwords(Protocol):
    """Hashes passwords."""

    async def hash(self, password: str) -> str:
        """Return a salted hash. Raises Unavailable when too many wait."""
        ...

    async def verify(self, password: str, hashed: str | None) -> bool:
        """Say whether the hash is the password's; without a hash, no, in the same time.

        Raises Unavailable when too many wait.
        """
        ...


class TokenIssuer(Protocol):
    """Signs access tokens."""

    async def issue(self, principal: Principal, *, at: datetime) -> str:
        """Return a token that stands for `principal` from `at` on."""
        ...
