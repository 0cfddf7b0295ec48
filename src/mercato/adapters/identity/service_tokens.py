"""Tokens between services: short-lived, signed with the secret that the services of a cluster share.

A token is for one audience, from one issuer, and for one store, or for the platform. Whoever holds one
can do for a minute what its issuer may ask of its audience, and nothing else: repeating the call is
harmless where the call itself is.
"""

import base64
import binascii
import hmac
from datetime import timedelta
from typing import TypeVar

import msgspec

from mercato.kernel.clock import Clock
from mercato.kernel.errors import Unauthenticated
from mercato.kernel.ids import UserId
from mercato.kernel.principal import Principal, Role
from mercato.kernel.tenancy import TenantId

LIFETIME = timedelta(seconds=60)
LEEWAY = timedelta(seconds=30)
"""How far the clocks of two machines may lie apart."""
MAX_TOKEN = 2048
MIN_SECRET = 32
FORWARDED_HEADER = "x-mercato-forwarded"
"""Carries what the gateway tells a service of the client."""
PLATFORM = TenantId("")
"""No store: what is asked is about the platform."""

_CALL = b"mercato service call 1"
_FORWARDED = b"mercato forwarded request 1"
_IDEMPOTENCY = b"mercato idempotent bodies 1"


class _Call(msgspec.Struct, frozen=True):
    """What a token for a call says."""

    iss: str
    aud: str
    exp: int
    tenant: TenantId


class Forwarded(msgspec.Struct, frozen=True):
    """What the gateway knows of the client whose request it passes on."""

    aud: str
    exp: int
    client: str
    secure: bool


_T = TypeVar("_T")


class ClusterSecret:
    """Signs and verifies what services of one cluster tell each other."""

    def __init__(self, secret: str, *, clock: Clock) -> None:
        self._keys = {
            purpose: hmac.digest(secret.encode(), purpose, "sha256")
            for purpose in (_CALL, _FORWARDED, _IDEMPOTENCY)
        }
        self._clock = clock

    @property
    def hash_secret(self) -> bytes:
        """What keys the hashes of idempotent bodies, the same in every process of the cluster."""
        return self._keys[_IDEMPOTENCY]

    def call(self, *, issuer: str, audience: str, tenant: TenantId = PLATFORM) -> str:
        """Return a token with which `issuer` calls `audience` for a store, or for the platform."""
        return self._sign(_CALL, _Call(issuer, audience, self._expiry(), tenant))

    def caller(self, token: str, *, audience: str) -> Principal:
        """Return who a call's token stands for. Raises Unauthenticated for every other token."""
        call = self._verify(_CALL, token, _Call)
        self._check(call.aud, call.exp, audience)
        return Principal(UserId(f"service:{call.iss}"), "", Role.SERVICE, call.tenant)

    def forwarding(self, *, audience: str, client: str, secure: bool) -> str:
        """Return what tells `audience` of the client whose request is passed on."""
        return self._sign(_FORWARDED, Forwarded(audience, self._expiry(), client, secure))

    def forwarded(self, token: str, *, audience: str) -> Forwarded:
        """Return what the gateway says of a request's client. Raises Unauthenticated."""
        told = self._verify(_FORWARDED, token, Forwarded)
        self._check(told.aud, told.exp, audience)
        return told

    def _expiry(self) -> int:
        return int((self._clock() + LIFETIME).timestamp())

    def _check(self, aud: str, exp: int, audience: str) -> None:
        now = self._clock()
        if aud != audience or exp <= (now - LEEWAY).timestamp():
            raise _refused()
        if exp > (now + LIFETIME + LEEWAY).timestamp():
            raise _refused()

    def _sign(self, purpose: bytes, said: msgspec.Struct) -> str:
        payload = base64.urlsafe_b64encode(msgspec.json.encode(said))
        return f"{payload.decode()}.{hmac.digest(self._keys[purpose], payload, 'sha256').hex()}"

    def _verify(self, purpose: bytes, token: str, kind: type[_T]) -> _T:
        payload, _, signature = token.partition(".")
        if len(token) > MAX_TOKEN or not token.isascii():
            raise _refused()
        good = hmac.digest(self._keys[purpose], payload.encode(), "sha256").hex()
        # Nothing in a token is read before it is known who wrote it.
        if not hmac.compare_digest(good, signature):
            raise _refused()
        try:
            return msgspec.json.decode(base64.urlsafe_b64decode(payload), type=kind)
        except (binascii.Error, msgspec.MsgspecError):
            raise _refused() from None


class ServiceCallers:
    """See web.auth.Authenticator: of the calls that other services make of this one."""

    def __init__(self, secret: ClusterSecret, audience: str) -> None:
        self._secret = secret
        self._audience = audience

    async def authenticate(self, token: str) -> Principal:
        """Return which service calls, for which store. Raises Unauthenticated."""
        return self._secret.caller(token, audience=self._audience)


def _refused() -> Unauthenticated:
    """One answer for whatever is wrong with a token."""
    return Unauthenticated("The token is not valid.")
