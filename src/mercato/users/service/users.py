"""Opening stores, registering and signing in."""

import hashlib
import secrets
from datetime import datetime, timedelta

import msgspec

from mercato.kernel.cause import BySystem, Cause
from mercato.kernel.errors import Forbidden, NotFound, Unauthenticated
from mercato.kernel.ids import UserId, uuid7
from mercato.kernel.principal import Principal, Role
from mercato.kernel.tenancy import DEFAULT_TENANT, StoreStatus, TenantId, Tier
from mercato.users.domain import (
    Account,
    NewTenant,
    NewUser,
    RefreshToken,
    StoreTaken,
    Tenant,
    User,
    create_user,
    home,
    onboard,
    open_store,
)
from mercato.users.ports import Passwords, TenantStore, TokenIssuer, UserStore

_REFRESH_BYTES = 32
_PAGE = 500


class SessionTerms(msgspec.Struct, frozen=True):
    """How long a session lasts: its access tokens, and its right to new ones."""

    token: timedelta
    refresh: timedelta


class SignedIn(msgspec.Struct, frozen=True):
    """A user with fresh tokens. This is the only place where the refresh token is readable."""

    user: User
    token: str
    refresh_token: str
    expires_in: int
    """Seconds until the access token expires."""


class Users:
    """The use cases of users."""

    def __init__(
        self,
        tenants: TenantStore,
        users: UserStore,
        passwords: Passwords,
        tokens: TokenIssuer,
        *,
        default_tier: Tier,
        terms: SessionTerms,
    ) -> None:
        """`default_tier` is the tier of stores for which no operator chose one."""
        self._tenants = tenants
        self._users = users
        self._passwords = passwords
        self._tokens = tokens
        self._default_tier = default_tier
        self._terms = terms

    async def onboard(
        self, new: NewTenant, admin_id: UserId, *, by_operator: bool, at: datetime, by: Cause
    ) -> tuple[Tenant, SignedIn]:
        """Open a store with its first admin, signed in.

        Raises Forbidden if anybody but an operator chooses the tier, ValidationFailed, StoreTaken.
        """
        if new.tier is not None and not by_operator:
            raise Forbidden("Only an operator chooses the tier.")
        tenant, admin, events = onboard(new, admin_id, tier=new.tier or self._default_tier, at=at)
        account = Account(admin, await self._passwords.hash(new.admin.password))
        secret, session = self._new_session(admin, at=at)
        await self._tenants.onboard(tenant, account, session, events, by=by)
        return tenant, await self._signed_in(admin, secret, at=at)

    async def register(
        self, tenant: TenantId, new: NewUser, user_id: UserId, *, at: datetime, by: Cause
    ) -> SignedIn:
        """Make a customer of the store, signed in.

        Raises ValidationFailed, DuplicateEmail, Forbidden while the store is suspended.
        """
        await self._trading(tenant)
        user, events = create_user(new, tenant, user_id, Role.CUSTOMER, at=at)
        account = Account(user, await self._passwords.hash(new.password))
        secret, session = self._new_session(user, at=at)
        await self._users.add(account, session, events, by=by)
        return await self._signed_in(user, secret, at=at)

    async def login(
        self, tenant: TenantId, email: str, password: str, *, at: datetime, by: Cause
    ) -> SignedIn:
        """Sign in with email and password.

        Raises Unauthenticated for a wrong pair, in the same time whichever of the two is wrong;
        Forbidden for a disabled account, told to whoever knows its password, and while the store
        is suspended.
        """
        await self._trading(tenant)
        account = await self._users.account(tenant, email)
        right = await self._passwords.verify(password, None if account is None else account.password_hash)
        if account is None or not right:
            raise Unauthenticated("The email or the password is wrong.")
        if not account.user.is_active:
            raise Forbidden("This account is disabled.")
        secret, session = self._new_session(account.user, at=at)
        await self._users.sign_in(session, by=by)
        return await self._signed_in(account.user, secret, at=at)

    async def me(self, caller: Principal) -> User:
        """Return the caller's own account. Raises NotFound if it is gone."""
        return await self._found(home(caller), caller.user_id)

    async def user(self, caller: Principal, user_id: UserId) -> User:
        """Return a user within the caller's scope. Raises NotFound."""
        if user_id == caller.user_id:
            return await self.me(caller)
        if not caller.is_staff:
            raise NotFound("There is no such user.")
        return await self._found(caller.tenant, user_id)

    async def tenant(self, caller: Principal, tenant: TenantId) -> Tenant:
        """Return a store within the caller's scope: their own, an operator's any. Raises NotFound."""
        if tenant != caller.tenant and caller.role is not Role.OPERATOR:
            raise NotFound("There is no such store.")
        return await self.store(tenant)

    async def store(self, tenant: TenantId) -> Tenant:
        """Return a store, whatever its status. Raises NotFound."""
        found = await self._tenants.find(tenant)
        if found is None:
            raise NotFound("There is no such store.")
        return found

    async def list_stores(self) -> list[Tenant]:
        """Return all stores, by id."""
        stores: list[Tenant] = []
        while True:
            page = await self._tenants.after(stores[-1].id if stores else "", _PAGE)
            stores += page
            if len(page) < _PAGE:
                return stores

    async def ensure_default_store(self, *, at: datetime) -> None:
        """Open the store `default` if it is not there. Idempotent, also under a race."""
        if await self._tenants.find(DEFAULT_TENANT) is not None:
            return
        tenant, events = open_store(DEFAULT_TENANT, "Default store", "USD", Tier.UNLIMITED, at=at)
        try:
            await self._tenants.add(tenant, events, by=BySystem("mercato"))
        except StoreTaken:
            return

    async def create_operator(self, new: NewUser, *, at: datetime) -> User:
        """Make an operator of the platform, who lives in the store `default`.

        Raises ValidationFailed, DuplicateEmail, and NotFound before the store is there.
        """
        return await self._create(DEFAULT_TENANT, new, Role.OPERATOR, at=at)

    async def create_admin(self, tenant: TenantId, new: NewUser, *, at: datetime) -> User:
        """Make an admin of a store. Raises ValidationFailed, DuplicateEmail, NotFound."""
        return await self._create(tenant, new, Role.ADMIN, at=at)

    async def _create(self, tenant: TenantId, new: NewUser, role: Role, *, at: datetime) -> User:
        await self.store(tenant)
        user, events = create_user(new, tenant, UserId(uuid7()), role, at=at)
        account = Account(user, await self._passwords.hash(new.password))
        return await self._users.add(account, None, events, by=BySystem("command line"))

    async def _found(self, tenant: TenantId, user_id: UserId) -> User:
        user = await self._users.find(tenant, user_id)
        if user is None:
            raise NotFound("There is no such user.")
        return user

    async def _trading(self, tenant: TenantId) -> None:
        """Refuse sign-in where the store does not trade. Raises NotFound, Forbidden."""
        store = await self.store(tenant)
        if store.status is StoreStatus.OFFBOARDED:
            raise NotFound("There is no such store.")
        if store.status is StoreStatus.SUSPENDED:
            raise Forbidden("This store is suspended.")

    def _new_session(self, user: User, *, at: datetime) -> tuple[str, RefreshToken]:
        """Return a refresh token and the record of it, which does not hold it."""
        secret = secrets.token_urlsafe(_REFRESH_BYTES)
        session = RefreshToken(
            token_hash=hashlib.sha256(secret.encode()).digest(),
            family_id=uuid7(),
            tenant_id=user.tenant_id,
            user_id=user.id,
            created_at=at,
            expires_at=at + self._terms.refresh,
        )
        return secret, session

    async def _signed_in(self, user: User, secret: str, *, at: datetime) -> SignedIn:
        token = await self._tokens.issue(user.principal, at=at)
        return SignedIn(user, token, secret, int(self._terms.token.total_seconds()))
