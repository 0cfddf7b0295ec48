"""Registering and signing in, and the care of accounts."""

from datetime import datetime

from mercato.contracts.events import Events
from mercato.kernel.acting import reaching
from mercato.kernel.cause import Cause
from mercato.kernel.errors import NotFound, Unauthenticated
from mercato.kernel.ids import UserId, is_id, uuid7
from mercato.kernel.paging import Window
from mercato.kernel.principal import Principal, Role
from mercato.kernel.tenancy import DEFAULT_TENANT, TenantId
from mercato.kernel.versions import Expected
from mercato.users.domain import (
    NO_PASSWORD,
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
    is_email,
    is_visible,
)
from mercato.users.ports import Attempts, ByUser, Passwords, SessionStore, UserFilter, UserStore
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
        """Make a customer of the store, signed in. The mail that welcomes them has a link to verify it.

        Raises ValidationFailed, DuplicateEmail, Forbidden while the store is suspended.
        """
        await self._stores.trading(tenant)
        token_id = uuid7()
        user, events = create_user(new, tenant, user_id, Role.CUSTOMER, at=at)
        account = Account(user, await self._passwords.hash(new.password))
        secret, session = self._sessions.new(user, at=at)
        await self._users.add(account, session, events, by=by)
        await self._links.welcome(user, at=at)
        return await self._sessions.signed_in(user, secret, token_id=token_id, at=at)

    async def login(
        self, tenant: TenantId, email: str, password: str, *, address: str, at: datetime, by: ByUser
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
            known = None if account is None else account.usable_hash
            right = await self._passwords.verify(password, known)
            if account is not None and right:
                attempt.succeeded()
            else:
                attempt.failed()
        if account is None or not right:
            raise _wrong_pair()
        check_active(account.user)
        secret, session = self._sessions.new(account.user, at=at)
        if not await self._signed_in.begin(account, session, by=by(account.user)):
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

    async def named(self, caller: Principal, name: str) -> User:
        """Return a user within the caller's scope by id or email. Raises NotFound."""
        if is_id(name):
            return await self.user(caller, UserId(name))
        found = None
        if is_email(name) and caller.is_staff:
            account = await self._users.account(caller.tenant, name)
            found = None if account is None else account.user
        elif is_email(name):
            own = await self._users.find(home(caller), caller.user_id)
            found = own if own is not None and email_key(own.email) == email_key(name) else None
        if found is None:
            raise _no_such_user()
        _check_visible(found, caller)
        return found

    async def search(self, caller: Principal, wanted: UserFilter, window: Window) -> list[User]:
        """Return a window of the users of the store that the caller acts in, newest first."""
        return await self._users.search(caller.tenant, wanted, window)

    async def count(self, caller: Principal, wanted: UserFilter) -> int:
        """Return how many users there are."""
        return await self._users.count(caller.tenant, wanted)

    async def create(
        self, caller: Principal, new: NewAccount, user_id: UserId, *, at: datetime, by: Cause
    ) -> User:
        """Make a user of the store that the caller acts in, whom a mail with a link welcomes.

        Without a password it is an invitation: the link is one by which the user sets it.

        Raises ValidationFailed, DuplicateEmail, and Forbidden for a role that the caller may not give.
        """
        role = Role(new.role)
        check_given_role(caller, role, caller.tenant)
        user, events = create_user(new, caller.tenant, user_id, role, at=at, is_active=new.is_active)
        hashed = NO_PASSWORD if new.password is None else await self._passwords.hash(new.password)
        made = await self._users.add(Account(user, hashed), None, events, by=by)
        await self._links.welcome(made, at=at)
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

        Somebody invited who gets another email, or may come in again, is sent another invitation.

        Raises NotFound, VersionMismatch, ValidationFailed, DuplicateEmail, LastAdmin, and Forbidden for
        one's own role and standing, and for a role that the caller may not give.
        """
        seen: list[User] = []

        def decide(found: User) -> tuple[User, Events]:
            _check_visible(found, caller)
            expected.check(found.version)
            seen[:] = [found]
            return change_user(found, change, caller, at=at)

        store = _store_of(caller, user_id)
        with reaching(store):
            changed = await self._users.change(store, user_id, decide, by=by)
        returns = changed.is_invited and changed.is_active and not seen[0].is_active
        if changed.email != seen[0].email or returns:
            await self._prove(changed, at=at)
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

    async def create_operator(self, new: NewUser, user_id: UserId, *, at: datetime, by: Cause) -> User:
        """Make an operator of the platform, who lives in the store `default`.

        Raises ValidationFailed, DuplicateEmail, and NotFound before the store is there.
        """
        return await self._create(DEFAULT_TENANT, new, user_id, Role.OPERATOR, at=at, by=by)

    async def create_admin(
        self, tenant: TenantId, new: NewUser, user_id: UserId, *, at: datetime, by: Cause
    ) -> User:
        """Make an admin of a store. Raises ValidationFailed, DuplicateEmail, NotFound."""
        return await self._create(tenant, new, user_id, Role.ADMIN, at=at, by=by)

    async def _create(
        self, tenant: TenantId, new: NewUser, user_id: UserId, role: Role, *, at: datetime, by: Cause
    ) -> User:
        await self._stores.store(tenant)
        user, events = create_user(new, tenant, user_id, role, at=at)
        account = Account(user, await self._passwords.hash(new.password))
        return await self._users.add(account, None, events, by=by)

    async def _prove(self, user: User, *, at: datetime) -> None:
        """Send a link by which somebody proves to be who reads the email."""
        if user.is_invited:
            await self._links.invite(user, at=at)
        else:
            await self._links.verify(user, at=at)

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
