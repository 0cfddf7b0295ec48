"""Registering and signing in, and the care of accounts."""

from datetime import datetime

from mercato.contracts.events import Events
from mercato.kernel.acting import reaching
from mercato.kernel.cause import BySystem, Cause
from mercato.kernel.errors import NotFound, Unauthenticated
from mercato.kernel.ids import UserId, uuid7
from mercato.kernel.paging import Window
from mercato.kernel.principal import Principal, Role
from mercato.kernel.tenancy import DEFAULT_TENANT, TenantId
from mercato.kernel.versions import Expected
from mercato.users.domain import (
    Account,
    NewAccount,
    NewUser,
    User,
    UserChange,
    change_user,
    check_given_role,
    create_user,
    delete_user,
    email_key,
    home,
    is_visible,
)
from mercato.users.ports import Attempts, Passwords, SessionStore, UserFilter, UserStore
from mercato.users.service.links import Links
from mercato.users.service.sessions import Sessions, SignedIn, check_active
from mercato.users.service.stores import Stores


class Users:
    """The use cases of users."""

    def __init__(  # noqa: PLR0913  each is one collaborator
        self,
        users: UserStore,
        stores: Stores,
        passwords: Passwords,
        sessions: Sessions,
        *,
        signed_in: SessionStore,
        attempts: Attempts,
        links: Links,
    ) -> None:
        self._users = users
        self._stores = stores
        self._passwords = passwords
        self._sessions = sessions
        self._signed_in = signed_in
        self._attempts = attempts
        self._links = links

    async def register(
        self, tenant: TenantId, new: NewUser, user_id: UserId, *, at: datetime, by: Cause
    ) -> SignedIn:
        """Make a customer of the store, signed in, and send a link that verifies the email.

        Raises ValidationFailed, DuplicateEmail, Forbidden while the store is suspended.
        """
        await self._stores.trading(tenant)
        token_id = uuid7()
        user, events = create_user(new, tenant, user_id, Role.CUSTOMER, at=at)
        account = Account(user, await self._passwords.hash(new.password))
        secret, session = self._sessions.new(user, at=at)
        await self._users.add(account, session, events, by=by)
        self._links.verify(user, at=at)
        return await self._sessions.signed_in(user, secret, token_id=token_id, at=at)

    async def login(
        self, tenant: TenantId, email: str, password: str, *, address: str, at: datetime, by: Cause
    ) -> SignedIn:
        """Sign in with email and password, from a client's network address.

        Raises Unauthenticated for a wrong pair, in the same time whichever of the two is wrong;
        Forbidden for a disabled account, told to whoever knows its password, and while the store
        is suspended; an error of the kind RATE_LIMITED after too many wrong pairs.
        """
        await self._stores.trading(tenant)
        async with self._attempts.attempt(tenant, email_key(email), address, at=at) as attempt:
            token_id = uuid7()
            account = await self._users.account(tenant, email)
            known = None if account is None else account.password_hash
            right = await self._passwords.verify(password, known)
            if account is not None and right:
                attempt.succeeded()
            else:
                attempt.failed()
        if account is None or not right:
            raise _wrong_pair()
        check_active(account.user)
        secret, session = self._sessions.new(account.user, at=at)
        if not await self._signed_in.begin(account, session, by=by):
            # The password was changed while it was being verified.
            raise _wrong_pair()
        return await self._sessions.signed_in(account.user, secret, token_id=token_id, at=at)

    async def refresh(self, tenant: TenantId, secret: str, *, at: datetime, by: Cause) -> SignedIn:
        """Replace a refresh token of the store; see Sessions.refresh. Raises also what suspends a store."""
        await self._stores.trading(tenant)
        return await self._sessions.refresh(tenant, secret, at=at, by=by)

    async def logout(self, tenant: TenantId, secret: str, *, by: Cause) -> None:
        """End the session of a refresh token. Idempotent."""
        await self._sessions.end(tenant, secret, by=by)

    async def me(self, caller: Principal) -> User:
        """Return the caller's own account. Raises NotFound if it is gone."""
        return await self._found(home(caller), caller.user_id)

    async def user(self, caller: Principal, user_id: UserId) -> User:
        """Return a user within the caller's scope. Raises NotFound."""
        user = await self._found(_store_of(caller, user_id), user_id)
        _check_visible(user, caller)
        return user

    async def search(self, caller: Principal, wanted: UserFilter, window: Window) -> list[User]:
        """Return a window of the users of the store that the caller acts in, newest first."""
        return await self._users.search(caller.tenant, wanted, window)

    async def count(self, caller: Principal, wanted: UserFilter) -> int:
        """Return how many users there are."""
        return await self._users.count(caller.tenant, wanted)

    async def create(
        self, caller: Principal, new: NewAccount, user_id: UserId, *, at: datetime, by: Cause
    ) -> User:
        """Make a user of the store that the caller acts in, and send a link that verifies the email.

        Raises ValidationFailed, DuplicateEmail, and Forbidden for a role that the caller may not give.
        """
        role = Role(new.role)
        check_given_role(caller, role, caller.tenant)
        user, events = create_user(new, caller.tenant, user_id, role, at=at, is_active=new.is_active)
        account = Account(user, await self._passwords.hash(new.password))
        made = await self._users.add(account, None, events, by=by)
        self._links.verify(made, at=at)
        return made

    async def change(
        self,
        caller: Principal,
        user_id: UserId,
        change: UserChange,
        *,
        expected: Expected,
        at: datetime,
        by: Cause,
    ) -> User:
        """Change a user within the caller's scope. A new email is sent a link that verifies it.

        Raises NotFound, VersionMismatch, ValidationFailed, DuplicateEmail, LastAdmin, and Forbidden for
        one's own role and standing, and for a role that the caller may not give.
        """
        emails: list[str] = []

        def decide(found: User) -> tuple[User, Events]:
            _check_visible(found, caller)
            expected.check(found.version)
            emails[:] = [found.email]
            return change_user(found, change, caller, at=at)

        store = _store_of(caller, user_id)
        with reaching(store):
            changed = await self._users.change(store, user_id, decide, by=by)
        if changed.email not in emails:
            self._links.verify(changed, at=at)
        return changed

    async def delete(
        self, caller: Principal, user_id: UserId, *, expected: Expected, at: datetime, by: Cause
    ) -> None:
        """Delete a user within the caller's scope: tokens and sessions end, the email is free at once.

        Raises NotFound, VersionMismatch, LastAdmin, and Forbidden for a machine that deletes staff.
        """

        def decide(found: User) -> tuple[User, Events]:
            _check_visible(found, caller)
            expected.check(found.version)
            return delete_user(found, caller, at=at)

        store = _store_of(caller, user_id)
        with reaching(store):
            await self._users.delete(store, user_id, decide, by=by)

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
        with reaching(tenant):
            user = await self._users.find(tenant, user_id)
        if user is None:
            raise _no_such_user()
        return user


def _store_of(caller: Principal, user_id: UserId) -> TenantId:
    """Return the store in which that user, seen by the caller, is looked for.

    Raises NotFound for another's, where the caller sees only themselves.
    """
    if user_id == caller.user_id:
        return home(caller)
    if not caller.is_staff:
        raise _no_such_user()
    return caller.tenant


def _check_visible(user: User, caller: Principal) -> None:
    if not is_visible(user, caller):
        raise _no_such_user()


def _no_such_user() -> NotFound:
    return NotFound("There is no such user.")


def _wrong_pair() -> Unauthenticated:
    return Unauthenticated("The email or the password is wrong.")
