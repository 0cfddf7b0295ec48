"""Links that prove that somebody reads an email address: signed, for one use, and not for long.

That somebody wants one is told by an event. The link is made when its mail is sent, so that it is kept
nowhere on the way. A token is signed over the state that using it changes: the password's hash, or the
email that is not verified. So it is void once it was used, and nothing has to be kept of it.
"""

import asyncio
import base64
import binascii
import contextlib
import hashlib
import hmac
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import assert_never

import msgspec

from mercato.contracts.events import Events
from mercato.contracts.users import LinkAction, LinkRequested
from mercato.kernel.acting import acting
from mercato.kernel.cause import BySystem
from mercato.kernel.errors import NotFound, Unavailable, ValidationFailed
from mercato.kernel.ids import UserId
from mercato.kernel.principal import Role
from mercato.kernel.tenancy import TenantId
from mercato.users.domain import Account, User, email_key
from mercato.users.ports import LinkLimit, UserStore

log = logging.getLogger(__name__)

VALID: dict[LinkAction, timedelta] = {
    "reset-password": timedelta(hours=1),
    "verify-email": timedelta(hours=48),
    "accept-invitation": timedelta(days=7),
}
MAX_TOKEN = 1024
MAX_WAITING = 1_000
"""How many links wait to be asked for; more are refused."""
_PURPOSE = b"mercato links 1"


class _Claims(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What a token says. `expires_at` is in seconds since the epoch."""

    action: LinkAction
    tenant: TenantId
    user_id: UserId
    expires_at: int


class _Wanted(msgspec.Struct, frozen=True):
    """A link for whoever has that email, if anybody has."""

    action: LinkAction
    tenant: TenantId
    email: str


class Links:
    """Makes links, and has them mailed, apart from the requests that ask for them."""

    def __init__(self, users: UserStore, limit: LinkLimit, *, secret: Callable[[], bytes], url: str) -> None:
        """`secret` returns what tokens are signed with. `url` has the places {action} and {token}."""
        self._users = users
        self._limit = limit
        self._secret = secret
        self._url = url
        self._key: bytes | None = None
        self._waiting: asyncio.Queue[_Wanted] = asyncio.Queue(MAX_WAITING)

    async def reset(self, tenant: TenantId, email: str, *, at: datetime) -> None:
        """Have a link mailed to reset the password, if there is such an account; nobody is told whether.

        Beyond the limit nothing is mailed. Raises Unavailable while too many wait.
        """
        await self._ask(_Wanted("reset-password", tenant, email), at)

    async def verify(self, user: User, *, at: datetime) -> int:
        """Have a link mailed to verify the email; return 0, or in how many seconds another may be.

        Where too many wait none is mailed: the user may ask again.
        """
        try:
            return await self._ask(_Wanted("verify-email", user.tenant_id, user.email), at)
        except Unavailable:
            log.warning("too many links wait", extra={"tenant": user.tenant_id, "user": user.id})
            return 0

    async def invite(self, user: User, *, at: datetime) -> None:
        """Have another link mailed to accept an invitation. Where too many wait none is."""
        try:
            await self._ask(_Wanted("accept-invitation", user.tenant_id, user.email), at)
        except Unavailable:
            log.warning("too many links wait", extra={"tenant": user.tenant_id, "user": user.id})

    async def welcome(self, user: User, *, at: datetime) -> None:
        """Count the link that the first mail to a new user carries: it verifies the email, or invites."""
        action: LinkAction = "accept-invitation" if user.is_invited else "verify-email"
        await self._limit.take(_key(_Wanted(action, user.tenant_id, user.email)), at=at)

    async def _ask(self, wanted: _Wanted, at: datetime) -> int:
        if self._waiting.full():
            raise Unavailable("Too many emails are waiting to be sent.")
        wait = await self._limit.take(_key(wanted), at=at)
        if not wait:
            if self._waiting.full():
                raise Unavailable("Too many emails are waiting to be sent.")
            self._waiting.put_nowait(wanted)
        return wait

    async def run(self) -> None:
        """Ask for what waits, for ever. What cannot be asked for is given up: its user may ask again.

        So an answer takes the same time whether there is somebody to mail a link to or not.
        """
        while True:
            await self.request_next()

    async def request_next(self) -> None:
        """Wait for a link that is wanted, and tell that it is to be mailed."""
        wanted = await self._waiting.get()
        try:
            account = await self._users.account(wanted.tenant, wanted.email)
            if account is not None and _is_due(wanted.action, account):
                await self._request(account.user, wanted.action)
        except Exception:
            about = {"tenant": wanted.tenant, "action": wanted.action}
            log.exception("link could not be asked for", extra=about)

    async def request_waiting(self) -> None:
        """Ask for what waits now."""
        while not self._waiting.empty():
            await self.request_next()

    async def _request(self, user: User, action: LinkAction) -> None:
        wanted = LinkRequested(tenant_id=user.tenant_id, user_id=user.id, action=action)

        def decide(found: User) -> tuple[User, Events]:
            return found, (wanted,)

        with contextlib.suppress(NotFound):
            await self._users.change(user.tenant_id, user.id, decide, by=BySystem("links"))

    def make(self, account: Account, action: LinkAction, *, at: datetime) -> str | None:
        """Return a new link for a user. None where there is nothing left for it to do."""
        if not _is_due(action, account):
            return None
        user, expires_at = account.user, at + VALID[action]
        payload = msgspec.json.encode(_Claims(action, user.tenant_id, user.id, int(expires_at.timestamp())))
        token = f"{_encode(payload)}.{_encode(self._mac(payload, _stamp(action, account)))}"
        return self._url.replace("{action}", action).replace("{token}", token)

    async def account(self, token: str, action: LinkAction, *, at: datetime) -> Account:
        """Return whose token this is. Raises ValidationFailed, in the same words for all that is wrong."""
        try:
            payload, mac = (_decode(part) for part in token.split("."))
            claims = msgspec.json.decode(payload, type=_Claims)
        except (ValueError, binascii.Error, msgspec.MsgspecError):
            raise refused() from None
        if claims.action != action or claims.expires_at <= at.astimezone(UTC).timestamp():
            raise refused()
        with acting(claims.tenant):
            found = await self._users.account_of(claims.tenant, claims.user_id)
        if found is None or not hmac.compare_digest(mac, self._mac(payload, _stamp(action, found))):
            raise refused()
        return found

    def _mac(self, payload: bytes, stamp: bytes) -> bytes:
        if self._key is None:
            self._key = hmac.digest(self._secret(), _PURPOSE, hashlib.sha256)
        return hmac.digest(self._key, payload + b"\0" + stamp, hashlib.sha256)


def refused() -> ValidationFailed:
    """One answer for whatever is wrong with a link's token."""
    return ValidationFailed.field("token", "must be of a link that has been neither used nor has expired")


def _key(wanted: _Wanted) -> tuple[str, ...]:
    return wanted.action, wanted.tenant, email_key(wanted.email)


def _is_due(action: LinkAction, account: Account) -> bool:
    """Say whether there is something that a link lets the user do."""
    if not account.user.is_active:
        return False
    match action:
        case "reset-password":
            return True
        case "verify-email":
            return not account.user.email_verified
        case "accept-invitation":
            return account.user.is_invited
        case _:
            assert_never(action)


def _stamp(action: LinkAction, account: Account) -> bytes:
    """Return the state that using the link changes, and what else makes it void."""
    user = account.user
    state = str(user.email_verified) if action == "verify-email" else account.password_hash
    # A store's admins may have read a link in the mailbox before its owner was set above them.
    return msgspec.json.encode((user.email, user.is_active, user.role is Role.OPERATOR, state))


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _decode(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
