"""Changing and resetting passwords, and verifying emails."""

from datetime import datetime

from mercato.contracts.events import Events
from mercato.contracts.users import LinkAction
from mercato.kernel.acting import reaching
from mercato.kernel.cause import Cause
from mercato.kernel.errors import NotFound, Unauthenticated, ValidationFailed
from mercato.kernel.ids import uuid7
from mercato.kernel.principal import Principal
from mercato.kernel.tenancy import TenantId
from mercato.users.domain import User, email_key, home, password_refusals, verify_email
from mercato.users.ports import Attempts, ByUser, Passwords, UserStore
from mercato.users.service.links import Links, refused
from mercato.users.service.sessions import Sessions, SignedIn, check_active
from mercato.users.service.stores import Stores


class Credentials:
    """The use cases of what proves who a user is."""

    def __init__(
        self,
        users: UserStore,
        stores: Stores,
        passwords: Passwords,
        sessions: Sessions,
        *,
        attempts: Attempts,
        links: Links,
    ) -> None:
        self._users = users
        self._stores = stores
        self._passwords = passwords
        self._sessions = sessions
        self._attempts = attempts
        self._links = links

    async def change_password(
        self, caller: Principal, current: str, new: str, *, address: str, at: datetime, by: Cause
    ) -> SignedIn:
        """Replace the caller's password; every other session and token of theirs ends.

        Raises ValidationFailed naming `current_password` if it is wrong, which counts as a failed
        attempt to sign in; an error of the kind RATE_LIMITED after too many; Unauthenticated if the
        account is gone.
        """
        if bad := password_refusals("new_password", new):
            raise ValidationFailed.of(*bad)
        with reaching(home(caller)):
            return await self._change_password(caller, current, new, address=address, at=at, by=by)

    async def _change_password(
        self, caller: Principal, current: str, new: str, *, address: str, at: datetime, by: Cause
    ) -> SignedIn:
        account = await self._users.account_of(home(caller), caller.user_id)
        if account is None:
            raise _gone()
        user = account.user
        key = email_key(user.email)
        async with self._attempts.attempt(user.tenant_id, key, address, at=at) as attempt:
            right = await self._passwords.verify(current, account.usable_hash)
            if right:
                attempt.succeeded()
            else:
                attempt.failed()
        if not right:
            raise _wrong_password()
        new_hash = await self._passwords.hash(new)
        secret, session = self._sessions.new(user, at=at)
        if not await self._users.change_password(account, new_hash, session, at=at, by=by):
            raise _wrong_password()
        # The change cut every token of before; and the user may have changed since.
        token_id = uuid7()
        fresh = await self._users.find(user.tenant_id, user.id)
        if fresh is None:
            raise _gone()
        check_active(fresh)
        return await self._sessions.signed_in(fresh, secret, token_id=token_id, at=at)

    async def forgot(self, tenant: TenantId, email: str, *, at: datetime) -> None:
        """Send a link to reset the password, if there is such an account; nobody is told whether.

        Raises Unavailable while too many links wait.
        """
        await self._links.reset(tenant, email, at=at)

    async def reset_password(self, token: str, new: str, *, at: datetime, by: ByUser) -> None:
        """Set a new password by a link's token; every session and token of the user ends.

        Of somebody invited it accepts the invitation. Raises ValidationFailed for a token that is used,
        expired, or none; Forbidden while the store is suspended, NotFound if it is closed.
        """
        await self._set_password(token, "reset-password", new, at=at, by=by)

    async def accept_invitation(self, token: str, new: str, *, at: datetime, by: ByUser) -> None:
        """Set the first password by a link's token, which verifies the email; raises as reset_password."""
        await self._set_password(token, "accept-invitation", new, at=at, by=by)

    async def _set_password(
        self, token: str, action: LinkAction, new: str, *, at: datetime, by: ByUser
    ) -> None:
        if bad := password_refusals("new_password", new):
            raise ValidationFailed.of(*bad)
        account = await self._links.account(token, action, at=at)
        user = account.user
        await self._stores.trading(user.tenant_id)
        new_hash = await self._passwords.hash(new)

        def accept(found: User) -> tuple[User, Events]:
            verified = verify_email(found, user.email, at=at) if user.is_invited else None
            return (found, ()) if verified is None else verified

        with reaching(user.tenant_id):
            changed = await self._users.change_password(
                account, new_hash, None, also=accept, at=at, by=by(user)
            )
        if not changed:
            raise refused()
        await self._attempts.forgive(user.tenant_id, email_key(user.email))

    async def send_verification(self, caller: Principal, *, at: datetime) -> int:
        """Send the caller a link that verifies their email, unless it is verified.

        Return 0, or in how many seconds another may be sent. Raises NotFound if the account is gone.
        """
        with reaching(home(caller)):
            user = await self._users.find(home(caller), caller.user_id)
        if user is None:
            raise NotFound("There is no such user.")
        return 0 if user.email_verified else await self._links.verify(user, at=at)

    async def verify_email(self, token: str, *, at: datetime, by: Cause) -> User:
        """Note, by a link's token, that the user reads their email.

        Raises ValidationFailed for a token that is used, expired, or none; Forbidden while the store is
        suspended, NotFound if it is closed.
        """
        user = (await self._links.account(token, "verify-email", at=at)).user
        await self._stores.trading(user.tenant_id)

        def decide(found: User) -> tuple[User, Events]:
            verified = verify_email(found, user.email, at=at)
            if verified is None:
                raise refused()
            return verified

        try:
            with reaching(user.tenant_id):
                return await self._users.change(user.tenant_id, user.id, decide, by=by)
        except NotFound:
            raise refused() from None


def _wrong_password() -> ValidationFailed:
    return ValidationFailed.field("current_password", "must be the password that you sign in with")


def _gone() -> Unauthenticated:
    return Unauthenticated("The account is gone.")
