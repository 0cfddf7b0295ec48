"""Links that prove that somebody reads an email address: signed, for one use, and not for long.

A token is signed over the state that using it changes: the password's hash, or the email that is
not verified. So it is void once it was used, and nothing has to be kept of it.
"""

import asyncio
import base64
import binascii
import hashlib
import hmac
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import msgspec

from mercato.contracts.users import LinkAction
from mercato.kernel.acting import acting
from mercato.kernel.errors import Unavailable, ValidationFailed
from mercato.kernel.ids import UserId
from mercato.kernel.tenancy import TenantId
from mercato.users.domain import Account, User, email_key
from mercato.users.ports import LinkLimit, LinkSender, UserStore

log = logging.getLogger(__name__)

VALID: dict[LinkAction, timedelta] = {
    "reset-password": timedelta(hours=1),
    "verify-email": timedelta(hours=48),
    "accept-invitation": timedelta(days=7),
}
MAX_TOKEN = 1024
MAX_WAITING = 1_000
"""How many links wait to be sent; more are refused."""
_PURPOSE = b"mercato links 1"


class _Claims(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What a token says. `expires_at` is in seconds since the epoch."""

    action: LinkAction
    tenant: TenantId
    user_id: UserId
    expires_at: int


class _Wanted(msgspec.Struct, frozen=True):
    """A link to send to whoever has that email, if anybody has."""

    action: LinkAction
    tenant: TenantId
    email: str
    at: datetime


class Links:
    """Makes links and sends them, apart from the requests that ask for them."""

    def __init__(
        self,
        users: UserStore,
        sender: LinkSender,
        limit: LinkLimit,
        *,
        secret: Callable[[], bytes],
        url: str,
    ) -> None:
        """`secret` returns what tokens are signed with. `url` has the places {action} and {token}."""
        self._users = users
        self._sender = sender
        self._limit = limit
        self._secret = secret
        self._url = url
        self._key: bytes | None = None
        self._waiting: asyncio.Queue[_Wanted] = asyncio.Queue(MAX_WAITING)

    def reset(self, tenant: TenantId, email: str, *, at: datetime) -> None:
        """Send a link to reset the password, if there is such an account; nobody is told whether.

        Beyond the limit nothing is sent. Raises Unavailable while too many wait.
        """
        self._ask(_Wanted("reset-password", tenant, email, at))

    def verify(self, user: User, *, at: datetime) -> int:
        """Send a link to verify the email; return 0, or in how many seconds another may be sent.

        Where too many wait none is sent: the user may ask again.
        """
        try:
            return self._ask(_Wanted("verify-email", user.tenant_id, user.email, at))
        except Unavailable:
            log.warning("too many links wait", extra={"tenant": user.tenant_id, "user": user.id})
            return 0

    def _ask(self, wanted: _Wanted) -> int:
        if self._waiting.full():
            raise Unavailable("Too many emails are waiting to be sent.")
        wait = self._limit.take((wanted.action, wanted.tenant, email_key(wanted.email)), at=wanted.at)
        if not wait:
            self._waiting.put_nowait(wanted)
        return wait

    async def run(self) -> None:
        """Send what waits, for ever. What cannot be sent is logged and given up: it can be asked for again.

        So an answer takes the same time whether there is somebody to send a link to or not.
        """
        while True:
            await self.send_next()

    async def send_next(self) -> None:
        """Wait for a link that is wanted, and send it."""
        wanted = await self._waiting.get()
        try:
            account = await self._users.account(wanted.tenant, wanted.email)
            if account is not None and _is_due(wanted, account.user):
                await self._send(wanted, account)
        except Exception:
            log.exception("link could not be sent", extra={"tenant": wanted.tenant, "action": wanted.action})

    async def send_waiting(self) -> None:
        """Send what waits now."""
        while not self._waiting.empty():
            await self.send_next()

    async def _send(self, wanted: _Wanted, account: Account) -> None:
        user = account.user
        expires_at = wanted.at + VALID[wanted.action]
        claims = _Claims(wanted.action, user.tenant_id, user.id, int(expires_at.timestamp()))
        payload = msgspec.json.encode(claims)
        token = f"{_encode(payload)}.{_encode(self._mac(payload, _stamp(claims.action, account)))}"
        url = self._url.replace("{action}", wanted.action).replace("{token}", token)
        await self._sender.send(user.tenant_id, user.email, wanted.action, url)

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


def _is_due(wanted: _Wanted, user: User) -> bool:
    return user.is_active and not (wanted.action == "verify-email" and user.email_verified)


def _stamp(action: LinkAction, account: Account) -> bytes:
    """Return the state that using the link changes."""
    state = str(account.user.email_verified) if action == "verify-email" else account.password_hash
    return msgspec.json.encode((account.user.email, account.user.is_active, state))


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _decode(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
