"""How users is put together."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import msgspec

from mercato.adapters.identity.keys import KeyRing
from mercato.adapters.identity.passwords import Argon2Passwords
from mercato.adapters.identity.tokens import TokenIssuer, TokenTerms, TokenVerifier
from mercato.adapters.service import ServiceParts
from mercato.adapters.sql.claims import SqlClaims
from mercato.adapters.sql.database import Database
from mercato.adapters.sql.steps import Steps
from mercato.contracts.stores import StoreDirectory
from mercato.kernel.clock import Clock
from mercato.kernel.tenancy import Tier
from mercato.users.routes import routes
from mercato.users.routes.stores import Onboarding
from mercato.users.service.directory import CachedDirectory
from mercato.users.service.sessions import Sessions, SessionTerms
from mercato.users.service.stores import Stores
from mercato.users.service.users import Users
from mercato.users.stores.sql_tenants import SqlTenants
from mercato.users.stores.sql_users import SqlUsers
from mercato.web.auth import FindStore


class UsersSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How users behaves."""

    issuer: str
    """The URL at which clients reach the platform: the tokens' `iss`."""
    audience: str = "mercato"
    onboarding: Onboarding = "open"
    default_tier: Tier = Tier.UNLIMITED
    token_ttl_s: int = 900
    refresh_ttl_days: int = 30


@dataclass(frozen=True, slots=True)
class UsersService:
    """Users, wired. Nothing has been imported or made that only a first sign-in needs."""

    parts: ServiceParts
    service: Users
    stores: Stores
    directory: StoreDirectory
    find_store: FindStore
    verifier: TokenVerifier
    keys: KeyRing


def build(db: Database, *, clock: Clock, key_folder: Path, settings: UsersSettings) -> UsersService:
    """Wire users on its database. `key_folder` holds the signing keys, and is made when needed."""
    steps = Steps(db, source="/mercato/users", clock=clock)
    claims = SqlClaims(db)
    keys = KeyRing(key_folder)
    lifetime = timedelta(seconds=settings.token_ttl_s)
    terms = TokenTerms(settings.issuer, settings.audience, lifetime)
    tenants = SqlTenants(steps)
    directory = CachedDirectory(tenants, clock=clock)
    passwords = Argon2Passwords()
    sessions = Sessions(
        TokenIssuer(keys, terms), SessionTerms(lifetime, timedelta(days=settings.refresh_ttl_days))
    )
    stores = Stores(tenants, passwords, sessions, default_tier=settings.default_tier)
    users = Users(SqlUsers(steps), stores, passwords, sessions)

    async def jwks() -> bytes:
        return (await keys.keys()).jwks

    parts = ServiceParts(
        name="users",
        steps=steps,
        claims=claims,
        routes=routes(
            users, stores, claims, onboarding=settings.onboarding, issuer=settings.issuer, jwks=jwks
        ),
    )
    return UsersService(
        parts=parts,
        service=users,
        stores=stores,
        directory=directory,
        find_store=directory.find,
        verifier=TokenVerifier(keys, terms, clock=clock),
        keys=keys,
    )
