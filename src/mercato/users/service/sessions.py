"""Sessions: the tokens of somebody who has signed in."""

import hashlib
import secrets
from datetime import datetime, timedelta

import msgspec

from mercato.kernel.ids import uuid7
from mercato.users.domain import RefreshToken, User
from mercato.users.ports import TokenIssuer

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


class Sessions:
    """Makes tokens."""

    def __init__(self, tokens: TokenIssuer, terms: SessionTerms) -> None:
        self._tokens = tokens
        self._terms = terms

    def new(self, user: User, *, at: datetime) -> tuple[str, RefreshToken]:
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

    async def signed_in(self, user: User, secret: str, *, at: datetime) -> SignedIn:
        """Return the user with a fresh access token beside the refresh token."""
        token = await self._tokens.issue(user.principal, at=at)
        return SignedIn(user, token, secret, int(self._terms.token.total_seconds()))
