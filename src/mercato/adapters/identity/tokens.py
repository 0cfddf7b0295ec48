"""Tokens: JWTs (RFC 7519) signed with ES256, with the claims of a Cognito ID token besides."""

import base64
import binascii
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, NamedTuple, Protocol

import msgspec

from mercato.adapters.identity.keys import KeyRing
from mercato.adapters.identity.revocations import LEEWAY, Revocations, of_store
from mercato.kernel.clock import Clock
from mercato.kernel.counting import CacheCounts, Measure, measures_of_cache
from mercato.kernel.errors import Unauthenticated
from mercato.kernel.ids import UserId
from mercato.kernel.principal import Principal, Role
from mercato.kernel.tenancy import TenantId

MAX_TOKEN = 8192
MAX_REMEMBERED = 10_000

COGNITO_ROLES: dict[Role, str] = {
    Role.CUSTOMER: "TenantUser",
    Role.ADMIN: "TenantAdmin",
    Role.OPERATOR: "SystemAdmin",
    Role.SERVICE: "TenantUser",
}
"""What the claim `custom:userRole` calls each role."""
if set(COGNITO_ROLES) != set(Role):
    raise TypeError(f"no Cognito role for {set(Role) - set(COGNITO_ROLES)}")

_compact = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{86}").fullmatch
"""A compact JWS (RFC 7515) with the 64 bytes of an ES256 signature."""


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The only header a token of ours has. So `jku`, `jwk`, `x5u`, `crit` and all else are refused."""

    alg: Literal["ES256"]
    kid: str
    typ: Literal["JWT"]


class _Claims(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a token says. Times are whole seconds since the epoch."""

    iss: str
    aud: str
    sub: UserId
    exp: int
    iat: int
    nbf: int
    jti: str
    email: str
    role: Role
    tenant_id: TenantId
    token_use: Literal["id"]
    cognito_tenant: str = msgspec.field(name="custom:tenantId")
    cognito_role: str = msgspec.field(name="custom:userRole")
    cognito_username: str = msgspec.field(name="cognito:username")
    scope: str = ""
    """What a machine may do, separated by spaces (RFC 8693, section 4.2)."""
    cut: str = ""
    """The last cut of the subject that the issuer knew of, if it lies after the token's id."""
    store_cut: str = ""
    """The same of the store."""


@dataclass(frozen=True, slots=True)
class TokenTerms:
    """Who issues tokens, for whom, and for how long."""

    issuer: str
    audience: str
    lifetime: timedelta


class _Verified(NamedTuple):
    principal: Principal
    token_id: str
    cut: str
    store_cut: str
    until: datetime


class TokenIssuer:
    """Signs tokens with the newest key."""

    def __init__(self, ring: KeyRing, terms: TokenTerms, revocations: Revocations | None = None) -> None:
        """`revocations` are the cuts that are known here, which are past for what is issued from then on."""
        self._ring = ring
        self._terms = terms
        self._cuts = revocations

    async def issue(
        self, principal: Principal, *, token_id: str, at: datetime, until: datetime | None = None
    ) -> str:
        """Return a token that stands for `principal` from `at` on, and not longer than `until`.

        `token_id` is a uuid7 made before `principal` was read from the store, so that a cut which
        falls between the two refuses the token.
        """
        keys = await self._ring.keys()
        issued_at = int(at.timestamp())
        expires_at = issued_at + int(self._terms.lifetime.total_seconds())
        claims = _Claims(
            iss=self._terms.issuer,
            aud=self._terms.audience,
            sub=principal.user_id,
            exp=expires_at if until is None else min(expires_at, int(until.timestamp())),
            iat=issued_at,
            nbf=issued_at,
            jti=token_id,
            email=principal.email,
            role=principal.role,
            tenant_id=principal.tenant,
            token_use="id",  # noqa: S106  a kind of token
            cognito_tenant=principal.tenant,
            cognito_role=COGNITO_ROLES[principal.role],
            cognito_username=principal.user_id,
            scope=" ".join(sorted(principal.scopes)),
            cut=self._allowed(principal.user_id, token_id),
            store_cut=self._allowed(of_store(principal.tenant), token_id),
        )
        return keys.sign(msgspec.json.encode(claims))

    def _allowed(self, subject: str, token_id: str) -> str:
        return "" if self._cuts is None else self._cuts.allowed_for(subject, token_id)


class Ring(Protocol):
    """The keys that verify tokens."""

    async def verified(self, token: str, kid: str) -> bytes | None:
        """Return the payload that the key `kid` has signed, or None. Raises Unavailable."""
        ...


class TokenVerifier:
    """See web.auth.Authenticator. A token once verified is remembered until it expires or is cut."""

    def __init__(
        self, ring: Ring, terms: TokenTerms, *, clock: Clock, revocations: Revocations | None = None
    ) -> None:
        """Without `revocations` every token holds until it expires."""
        self._ring = ring
        self._terms = terms
        self._clock = clock
        if revocations is None:
            revocations = Revocations(terms.lifetime, clock=clock)
        self._revocations = revocations
        self._counts = CacheCounts()
        self._remembered: dict[str, _Verified] = {}

    @property
    def measures(self) -> tuple[Measure, ...]:
        """Return what is told of it."""
        return measures_of_cache("tokens", self._counts, lambda: len(self._remembered))

    async def authenticate(self, token: str) -> Principal:
        """Return who the token stands for. Raises Unauthenticated for every other token."""
        verified = self._remembered.get(token)
        if verified is None:
            self._counts.misses += 1
            verified = await self._verify(token)
        else:
            self._counts.hits += 1
        principal, token_id, cut, store_cut, until = verified
        if until <= self._clock():
            self._remembered.pop(token, None)
            raise Unauthenticated("The token has expired.")
        refuses = self._revocations.refuses
        if refuses(principal.user_id, token_id, cut) or refuses(
            of_store(principal.tenant), token_id, store_cut
        ):
            self._remembered.pop(token, None)
            raise _refused()
        return principal

    def forget(self) -> None:
        """Verify every token anew: a key has stopped verifying."""
        self._remembered.clear()

    async def _verify(self, token: str) -> _Verified:
        payload = await self._ring.verified(token, _kid(token))
        if payload is None:
            raise _refused()
        claims = _claims(payload)
        until = self._check(claims)
        scopes = frozenset(claims.scope.split())
        principal = Principal(claims.sub, claims.email, claims.role, claims.tenant_id, scopes)
        if len(self._remembered) >= MAX_REMEMBERED:
            del self._remembered[next(iter(self._remembered))]
        verified = _Verified(principal, claims.jti, claims.cut, claims.store_cut, until)
        self._remembered[token] = verified
        return verified

    def _check(self, claims: _Claims) -> datetime:
        """Return until when the claims hold; refuse them if that is not now, or they are not for us."""
        now = self._clock()
        earliest = max(claims.nbf, claims.iat)
        if claims.iss != self._terms.issuer or claims.aud != self._terms.audience:
            raise _refused()
        if earliest > (now + LEEWAY).timestamp():
            raise Unauthenticated("The token is not valid yet.")
        if claims.exp <= (now - LEEWAY).timestamp():
            raise Unauthenticated("The token has expired.")
        return datetime.fromtimestamp(claims.exp, now.tzinfo) + LEEWAY


_header_decoder = msgspec.json.Decoder(_Header)
_claims_decoder = msgspec.json.Decoder(_Claims)


def _kid(token: str) -> str:
    """Return which key is said to have signed the token. Nothing else in it has been looked at."""
    if len(token) > MAX_TOKEN or not _compact(token):
        raise _refused()
    segment = token.partition(".")[0]
    try:
        return _header_decoder.decode(base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))).kid
    except (msgspec.MsgspecError, binascii.Error, UnicodeDecodeError):
        raise _refused() from None


def _claims(payload: bytes) -> _Claims:
    try:
        return _claims_decoder.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise _refused() from None


def _refused() -> Unauthenticated:
    """One answer for whatever is wrong with a token."""
    return Unauthenticated("The token is not valid.")
