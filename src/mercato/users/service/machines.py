"""Machines: their logins, and the tokens they get for them."""

import hashlib
import hmac
import secrets
from datetime import UTC, datetime, timedelta

import msgspec

from mercato.kernel.acting import acting
from mercato.kernel.cause import Cause
from mercato.kernel.errors import NotFound, Unauthenticated
from mercato.kernel.ids import UserId, uuid7
from mercato.kernel.paging import Window
from mercato.kernel.principal import Principal, Role
from mercato.kernel.redaction import discreet
from mercato.kernel.tenancy import DEFAULT_TENANT
from mercato.kernel.versions import Expected
from mercato.users.machines import (
    ApiClient,
    NewApiClient,
    check_given_scopes,
    create_api_client,
    granted,
    is_visible,
    read_client_id,
)
from mercato.users.ports import ApiClientStore, Attempts, TokenIssuer
from mercato.users.service.stores import Stores

_SECRET_BYTES = 32
_NOBODY = (DEFAULT_TENANT, UserId("00000000-0000-0000-0000-000000000000"))
_NOBODYS_HASH = bytes(32)
"""No secret is known that has this hash."""


class MachineToken(msgspec.Struct, frozen=True):
    """A machine's access token."""

    token: str
    expires_in: int
    """Seconds until it expires."""
    scopes: tuple[str, ...]

    __repr__ = discreet


class Machines:
    """The use cases of machines."""

    def __init__(
        self,
        clients: ApiClientStore,
        stores: Stores,
        tokens: TokenIssuer,
        attempts: Attempts,
        *,
        lifetime: timedelta,
    ) -> None:
        """`lifetime` is how long a token is valid."""
        self._attempts = attempts
        self._clients = clients
        self._stores = stores
        self._tokens = tokens
        self._lifetime = lifetime

    async def create(
        self, caller: Principal, new: NewApiClient, client_id: UserId, *, at: datetime, by: Cause
    ) -> tuple[ApiClient, str]:
        """Make a login for a machine of the caller's store; return it with its secret, told only now.

        Raises ValidationFailed, TooManyClients, and Forbidden if anybody but an operator gives the scope
        of all stores.
        """
        secret, secret_hash = _new_secret()
        client = create_api_client(new, caller.tenant, client_id, secret_hash, by=caller, at=at)
        return await self._clients.add(client, by=by), secret

    async def new_secret(self, caller: Principal, client_id: UserId, *, by: Cause) -> tuple[ApiClient, str]:
        """Give a machine another secret; the former one is void.

        Raises NotFound, and Forbidden for scopes that the caller may not give, or no longer.
        """
        secret, secret_hash = _new_secret()

        def decide(found: ApiClient) -> None:
            check_given_scopes(found.scopes, caller)

        changed = await self._clients.change_secret(caller.tenant, client_id, secret_hash, decide, by=by)
        return changed, secret

    async def client(self, caller: Principal, client_id: UserId) -> ApiClient:
        """Return a machine within the caller's scope. Raises NotFound."""
        found = await self._clients.find(caller.tenant, client_id)
        if found is None or not is_visible(found, caller):
            raise _no_such_client()
        return found

    async def search(self, caller: Principal, window: Window) -> list[ApiClient]:
        """Return a window of the machines within the caller's scope, newest first."""
        return await self._clients.search(caller.tenant, window, any_store=caller.role is Role.OPERATOR)

    async def count(self, caller: Principal) -> int:
        """Return how many machines there are within the caller's scope."""
        return await self._clients.count(caller.tenant, any_store=caller.role is Role.OPERATOR)

    async def delete(
        self, caller: Principal, client_id: UserId, *, expected: Expected, at: datetime, by: Cause
    ) -> None:
        """Delete a machine within the caller's scope: its tokens stop at once.

        Raises NotFound, VersionMismatch.
        """

        def decide(found: ApiClient) -> None:
            if not is_visible(found, caller):
                raise _no_such_client()
            expected.check(found.version)

        await self._clients.delete(caller.tenant, client_id, decide, at=at, by=by)

    async def token(
        self, client_id: str, secret: str, scope: str | None, *, address: str, at: datetime
    ) -> MachineToken:
        """Return a token for the client's secret (RFC 6749, section 4.4), asked for from a network address.

        Raises Unauthenticated for a pair that is wrong, in the same time whichever of the two is, for a
        login that has expired and a store that is closed; Forbidden while the store is suspended;
        ValidationFailed for a scope that the client does not have; an error of the kind RATE_LIMITED
        after too many wrong pairs.
        """
        token_id = uuid7()
        tenant, machine = read_client_id(client_id) or _NOBODY
        async with self._attempts.attempt(tenant, machine, address, at=at) as attempt:
            with acting(tenant):
                found = await self._clients.find(tenant, machine)
            kept = _NOBODYS_HASH if found is None else found.secret_hash
            right = hmac.compare_digest(hashlib.sha256(secret.encode()).digest(), kept)
            if found is None or not right or not found.is_valid(at):
                attempt.failed()
                raise Unauthenticated("The client id or its secret is wrong, or the client has expired.")
            attempt.succeeded()
        try:
            await self._stores.trading(tenant)
        except NotFound:
            raise Unauthenticated("The client's store is closed.") from None
        scopes = granted(found, scope)
        until = min(at + self._lifetime, found.expires_at or datetime.max.replace(tzinfo=UTC))
        token = await self._tokens.issue(found.principal(scopes), token_id=token_id, at=at, until=until)
        return MachineToken(token, int((until - at).total_seconds()), scopes)


def _no_such_client() -> NotFound:
    return NotFound("There is no such API client.")


def _new_secret() -> tuple[str, bytes]:
    """Return a secret and its hash, which needs no salt or slowness: nobody can guess 32 random bytes."""
    secret = secrets.token_urlsafe(_SECRET_BYTES)
    return secret, hashlib.sha256(secret.encode()).digest()
