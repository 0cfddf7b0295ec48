"""Registering and signing in."""

from datetime import datetime

from mercato.kernel.cause import BySystem, Cause
from mercato.kernel.errors import Forbidden, NotFound, Unauthenticated
from mercato.kernel.ids import UserId, uuid7
from mercato.kernel.principal import Principal, Role
from mercato.kernel.tenancy import DEFAULT_TENANT, TenantId
from mercato.users.domain import Account, NewUser, User, create_user, home
from mercato.users.ports import Passwords, UserStore
from mercato.users.service.sessions import Sessions, SignedIn
from mercato.users.service.stores import Stores


class Users:
    """The use cases of users."""

    def __init__(self, users: UserStore, stores: Stores, passwords: Passwords, sessions: Sessions) -> None:
        self._users = users
        self._stores = stores
        self._passwords = passwords
        self._sessions = sessions

    async def register(
        self, tenant: TenantId, new: NewUser, user_id: UserId, *, at: datetime, by: Cause
    ) -> SignedIn:
        """Make a customer of the store, signed in.

        Raises ValidationFailed, DuplicateEmail, Forbidden while the store is suspended.
        """
        await self._stores.trading(tenant)
        user, events = create_user(new, tenant, user_id, Role.CUSTOMER, at=at)
        account = Account(user, await self._passwords.hash(new.password))
        secret, session = self._sessions.new(user, at=at)
        await self._users.add(account, session, events, by=by)
        return await self._sessions.signed_in(user, secret, at=at)

    async def login(
        self, tenant: TenantId, email: str, password: str, *, at: datetime, by: Cause
    ) -> SignedIn:
        """Sign in with email and password.

        Raises Unauthenticated for a wrong pair, in the same time whichever of the two is wrong;
        Forbidden for a disabled account, told to whoever knows its password, and while the store
        is suspended.
        """
        await self._stores.trading(tenant)
        account = await self._users.account(tenant, email)
        right = await self._passwords.verify(password, None if account is None else account.password_hash)
        if account is None or not right:
            raise Unauthenticated("The email or the password is wrong.")
        if not account.user.is_active:
            raise Forbidden("This account is disabled.")
        secret, session = self._sessions.new(account.user, at=at)
        await self._users.sign_in(session, by=by)
        return await self._sessions.signed_in(account.user, secret, at=at)

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

    async def create_operator(self, new: NewUser, *, at: datetime) -> User:
        """Make an operator of the platform, who lives in the store `default`.

        Raises ValidationFailed, DuplicateEmail, and NotFound before the store is there.
        """
        return await self._create(DEFAULT_TENANT, new, Role.OPERATOR, at=at)

    async def create_admin(self, tenant: TenantId, new: NewUser, *, at: datetime) -> User:
        """Make an admin of a store. Raises ValidationFailed, DuplicateEmail, NotFound."""
        return await self._create(tenant, new, Role.ADMIN, at=at)

    async def _create(self, tenant: TenantId, new: NewUser, role: Role, *, at: datetime) -> User:
        await self._stores.store(tenant)
        user, events = create_user(new, tenant, UserId(uuid7()), role, at=at)
        account = Account(user, await self._passwords.hash(new.password))
        return await self._users.add(account, None, events, by=BySystem("command line"))

    async def _found(self, tenant: TenantId, user_id: UserId) -> User:
        user = await self._users.find(tenant, user_id)
        if user is None:
            raise NotFound("There is no such user.")
        return user
