"""What users needs, in its own words."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Protocol

import msgspec

from mercato.contracts import user_reading
from mercato.contracts.events import Events
from mercato.kernel.cause import Cause
from mercato.kernel.counting import Measure
from mercato.kernel.ids import UserId
from mercato.kernel.paging import Window
from mercato.kernel.principal import Principal, Role
from mercato.kernel.tenancy import StoreStatus, TenantId, Tier
from mercato.users.domain import Account, AuditEntry, RefreshToken, Tenant, User
from mercato.users.machines import ApiClient

DecideTenant = Callable[[Tenant], tuple[Tenant, Events]]
"""Returns the changed store with its events, or the same one to change nothing. It may run again."""


class TenantFilter(msgspec.Struct, frozen=True):
    """Which stores are wanted; None is any."""

    status: StoreStatus | None = None
    tier: Tier | None = None


DecideUser = Callable[[User], tuple[User, Events]]
"""Returns the changed user with the events, or the same one to change nothing. It may run again."""


class UserFilter(msgspec.Struct, frozen=True):
    """Which users are wanted; None is any."""

    operators: bool
    """Whether operators may be among them."""
    search: str | None = None
    """Words that all have to be in email and names; a search without a word finds nobody."""
    active: bool | None = None
    role: Role | None = None


class TenantStore(Protocol):
    """Keeps the stores of the platform."""

    async def find(self, tenant: TenantId) -> Tenant | None:
        """Return one store, read fresh."""
        ...

    async def after(self, tenant: str, limit: int) -> list[Tenant]:
        """Return up to `limit` stores whose ids follow `tenant`, by id."""
        ...

    async def search(self, wanted: TenantFilter, window: Window) -> list[Tenant]:
        """Return a window of the stores, by id."""
        ...

    async def count(self, wanted: TenantFilter) -> int:
        """Return how many stores there are."""
        ...

    async def add(self, tenant: Tenant, events: Events, *, by: Cause) -> Tenant:
        """Store a new store with its events. Raises StoreTaken."""
        ...

    async def change(self, tenant: TenantId, decide: DecideTenant, *, by: Cause) -> Tenant:
        """Load a store, decide, and store it with the events, in one step.

        Raises NotFound, and what `decide` raises.
        """
        ...

    async def onboard(
        self,
        tenant: Tenant,
        admin: Account,
        session: RefreshToken,
        events: Events,
        *,
        first_token: str,
        by: Cause,
    ) -> Tenant:
        """Store a new store, its first admin and their session, in one step. Raises StoreTaken.

        Every token of the store whose id sorts before `first_token` is void: a store that had the same id
        was purged.
        """
        ...


class UserReads(Protocol):
    """Reads users for others, fresh, each call in one statement. Deleted ones are not there."""

    async def page(self, tenant: TenantId, wanted: UserFilter, window: Window) -> list[user_reading.User]:
        """Return a window of the store's users, and one more if there are more, newest first."""
        ...

    async def many(self, tenant: TenantId, user_ids: Sequence[str]) -> list[user_reading.User]:
        """Return those of the users that are there."""
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

    async def account_of(self, tenant: TenantId, user_id: UserId) -> Account | None:
        """Return a user's account, read fresh."""
        ...

    async def search(self, tenant: TenantId, wanted: UserFilter, window: Window) -> list[User]:
        """Return a window of the store's users, newest first."""
        ...

    async def count(self, tenant: TenantId, wanted: UserFilter) -> int:
        """Return how many users there are."""
        ...

    async def change(self, tenant: TenantId, user_id: UserId, decide: DecideUser, *, by: Cause) -> User:
        """Load a user, decide, and store them with the events, in one step.

        Tokens that must not outlive the change end. Raises NotFound, DuplicateEmail, LastAdmin, and
        what `decide` raises.
        """
        ...

    async def delete(self, tenant: TenantId, user_id: UserId, decide: DecideUser, *, by: Cause) -> User:
        """Delete a user as `decide` has it, in one step: sessions end, and the email is free.

        Raises NotFound, LastAdmin, and what `decide` raises.
        """
        ...

    async def change_password(
        self,
        account: Account,
        new_hash: str,
        session: RefreshToken | None,
        *,
        also: DecideUser | None = None,
        at: datetime,
        by: Cause,
    ) -> bool:
        """Replace the password of an account, unless it is no longer as `account` says: then return False.

        Every session and token ends, but for the new `session` where there is one. In the same step the user
        becomes what `also` has it, where more is to change.
        """
        ...


class SessionStore(Protocol):
    """Keeps who is signed in."""

    async def begin(self, account: Account, session: RefreshToken, *, by: Cause) -> bool:
        """Store a new session, unless the password is no longer as `account` says: then return False."""
        ...

    async def rotate(
        self,
        tenant: TenantId,
        used: bytes,
        successor: Callable[[User, str], RefreshToken],
        *,
        at: datetime,
        by: Cause,
    ) -> User | None:
        """Replace the refresh token with the hash `used`; return whose it is, or None if it is worth nothing.

        `successor` makes the next one for the user and the family, or raises, which changes nothing. A
        token that was used before ends its family and the user's access tokens.
        """
        ...

    async def end(self, tenant: TenantId, token_hash: bytes, *, by: Cause) -> None:
        """End the family of a refresh token. Idempotent."""
        ...


class Attempt(Protocol):
    """One attempt to sign in, under way."""

    def succeeded(self) -> None:
        """Forget what failed before: the password is right."""
        ...

    def failed(self) -> None:
        """Count it: the password is wrong."""
        ...


ByUser = Callable[[User], Cause]
"""Returns the cause of what somebody does of whom it is known only then who they are."""


class AuditFilter(msgspec.Struct, frozen=True):
    """Which entries of an audit log are wanted; what is None does not matter."""

    actor: str | None = None
    action: str | None = None
    object_kind: str | None = None
    object_id: str | None = None
    since: datetime | None = None
    before: datetime | None = None


class AuditLog(Protocol):
    """Keeps what was done in each store, by whom. Entries are never changed."""

    async def add(self, entry: AuditEntry, *, by: Cause) -> None:
        """Add an entry, once for its id."""
        ...

    async def search(self, tenant: TenantId, wanted: AuditFilter, window: Window) -> list[AuditEntry]:
        """Return a window of a store's entries, latest first."""
        ...

    async def count(self, tenant: TenantId, wanted: AuditFilter) -> int:
        """Return how many entries there are."""
        ...


class Attempts(Protocol):
    """Counts failed attempts to sign in. Those under way count as failed until they have ended."""

    @property
    def measures(self) -> tuple[Measure, ...]:
        """Return what is told of what was refused."""
        ...

    def attempt(
        self, tenant: TenantId, account: str, address: str, *, at: datetime
    ) -> AbstractAsyncContextManager[Attempt]:
        """Begin an attempt on an account, which may not exist; without an outcome it counts for nothing.

        Entering waits while others under way leave none to it; it raises an error of the kind
        RATE_LIMITED when too many have failed.
        """
        ...

    async def forgive(self, tenant: TenantId, account: str) -> None:
        """Forget an account's failures: its owner has proved to be it in another way."""
        ...


class LinkLimit(Protocol):
    """Limits how many links go to an address."""

    async def take(self, key: tuple[str, ...], *, at: datetime) -> int:
        """Count one, if it is allowed: return 0, or in how many seconds one will be."""
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

    async def issue(
        self, principal: Principal, *, token_id: str, at: datetime, until: datetime | None = None
    ) -> str:
        """Return a token that stands for `principal` from `at` on, and not longer than `until`.

        `token_id` is a uuid7 made before `principal` was read from the store.
        """
        ...


class ApiClientStore(Protocol):
    """Keeps the machines of each store."""

    async def find(self, tenant: TenantId, client: UserId) -> ApiClient | None:
        """Return one machine, read fresh."""
        ...

    async def search(self, tenant: TenantId, window: Window, *, any_store: bool) -> list[ApiClient]:
        """Return a window of a store's machines, newest first; with those that act in `any_store`, or not."""
        ...

    async def count(self, tenant: TenantId, *, any_store: bool) -> int:
        """Return how many machines the store has; with those that act in `any_store`, or not."""
        ...

    async def add(self, client: ApiClient, *, by: Cause) -> ApiClient:
        """Store a new machine. Raises TooManyClients."""
        ...

    async def change_secret(
        self,
        tenant: TenantId,
        client: UserId,
        secret_hash: bytes,
        decide: Callable[[ApiClient], None],
        *,
        by: Cause,
    ) -> ApiClient:
        """Replace a machine's secret, unless `decide` raises; the former one is void. Raises NotFound."""
        ...

    async def delete(
        self,
        tenant: TenantId,
        client: UserId,
        decide: Callable[[ApiClient], None],
        *,
        at: datetime,
        by: Cause,
    ) -> None:
        """Delete a machine and end its tokens, unless `decide` raises. Raises NotFound."""
        ...
