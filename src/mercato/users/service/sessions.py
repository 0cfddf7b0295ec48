"""Sessions: the tokens of somebody who has signed in."""

import hashlib
import secrets
from datetime import datetime, timedelta

import msgspec

from mercato.kernel.cause import Cause
from mercato.kernel.errors import Forbidden, Unauthenticated
from mercato.kernel.ids import uuid7
from mercato.kernel.redaction import discreet
from mercato.kernel.tenancy import TenantId
from mercato.users.domain import RefreshToken, User
from mercato.users.ports import SessionStore, TokenIssuer

_REFRESH_BYTES = 32


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

    __repr__ = discreet


class Sessions:
    """Makes tokens, renews and ends them."""

    def __init__(self, tokens: TokenIssuer, terms: SessionTerms, sessions: SessionStore) -> None:
        self._tokens = tokens
        self._terms = terms
        self._sessions = sessions

    def new(self, user: User, *, at: datetime) -> tuple[str, RefreshToken]:
        """Return a refresh token and the record of it, which does not hold it."""
        return self._refresh_token(user, uuid7(), at=at)

    async def signed_in(self, user: User, secret: str, *, token_id: str, at: datetime) -> SignedIn:
        """Return the user with a fresh access token beside the refresh token.

        `token_id` was made before the user was read or made; see TokenIssuer.
        """
        token = await self._tokens.issue(user.principal, token_id=token_id, at=at)
        return SignedIn(user, token, secret, int(self._terms.token.total_seconds()))

    async def refresh(self, tenant: TenantId, secret: str, *, at: datetime, by: Cause) -> SignedIn:
        """Replace a refresh token, which can be used once, and give an access token with it.

        Used again, it ends its family and the user's access tokens. Raises Unauthenticated for every
        token that is worth nothing, Forbidden while the account is disabled.
        """
        token_id = uuid7()
        secrets_made: list[str] = []

        def successor(user: User, family: str) -> RefreshToken:
            check_active(user)
            made, session = self._refresh_token(user, family, at=at)
            secrets_made[:] = [made]
            return session

        user = await self._sessions.rotate(tenant, _hash(secret), successor, at=at, by=by)
        if user is None:
            raise Unauthenticated("The refresh token is not valid.")
        return await self.signed_in(user, secrets_made[0], token_id=token_id, at=at)

    async def end(self, tenant: TenantId, secret: str, *, by: Cause) -> None:
        """End the family of a refresh token. Idempotent: one that is worth nothing ends nothing."""
        await self._sessions.end(tenant, _hash(secret), by=by)

    def _refresh_token(self, user: User, family: str, *, at: datetime) -> tuple[str, RefreshToken]:
        secret = secrets.token_urlsafe(_REFRESH_BYTES)
        session = RefreshToken(
            token_hash=_hash(secret),
            family_id=family,
            tenant_id=user.tenant_id,
            user_id=user.id,
            created_at=at,
            expires_at=at + self._terms.refresh,
        )
        return secret, session


def check_active(user: User) -> None:
    """Refuse a disabled account. Raises Forbidden."""
    if not user.is_active:
        raise Forbidden("This account is disabled.")


def _hash(secret: str) -> bytes:
    # A secret of 32 random bytes needs neither salt nor a slow hash.
    return hashlib.sha256(secret.encode()).digest()
