"""How users is put together."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import msgspec

from mercato.adapters.identity.attempts import LinkLimit, MemoryAttempts
from mercato.adapters.identity.keys import KeyRing
from mercato.adapters.identity.passwords import Argon2Passwords
from mercato.adapters.identity.revocations import Revocations
from mercato.adapters.identity.tokens import TokenIssuer, TokenTerms, TokenVerifier
from mercato.adapters.service import ServiceParts, Worker
from mercato.adapters.sql.claims import SqlClaims
from mercato.adapters.sql.database import Database
from mercato.adapters.sql.steps import Steps
from mercato.contracts.stores import StoreDirectory
from mercato.contracts.users import People
from mercato.kernel.clock import Clock
from mercato.kernel.tenancy import Tier
from mercato.users.routes import routes
from mercato.users.routes.stores import Onboarding
from mercato.users.service.credentials import Credentials
from mercato.users.service.directory import CachedDirectory
from mercato.users.service.links import Links
from mercato.users.service.machines import Machines
from mercato.users.service.people import KnownPeople
from mercato.users.service.sessions import Sessions, SessionTerms
from mercato.users.service.stores import Stores
from mercato.users.service.users import Users
from mercato.users.stores.sql_audit import SqlAuditLog
from mercato.users.stores.sql_cuts import SqlCuts
from mercato.users.stores.sql_machines import SqlApiClients
from mercato.users.stores.sql_quotas import SqlQuotas
from mercato.users.stores.sql_sessions import SqlSessions
from mercato.users.stores.sql_tenants import SqlTenants
from mercato.users.stores.sql_users import SqlUsers
from mercato.users.subscribers import FAMILIES, handlers
from mercato.users.workers import purger
from mercato.web.auth import FindStore


class UsersSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How users behaves."""

    issuer: str
    """The URL at which clients reach the platform: the tokens' `iss`."""
    own_url: str
    """Where the pages served here are reached."""
    audience: str = "mercato"
    onboarding: Onboarding = "open"
    default_tier: Tier = Tier.UNLIMITED
    token_ttl_s: int = 900
    refresh_ttl_days: int = 30
    audit_retention_days: int = 365
    link_url: str = ""
    """Where links lead to, with the places {action} and {token}; empty for the pages served here."""

    @property
    def link(self) -> str:
        """Where links lead to."""
        return self.link_url or f"{self.own_url}/account/{{action}}?token={{token}}"


@dataclass(frozen=True, slots=True)
class UsersService:
    """Users, wired. Nothing has been imported or made that only a first sign-in needs."""

    parts: ServiceParts
    service: Users
    stores: Stores
    directory: StoreDirectory
    quotas: SqlQuotas
    find_store: FindStore
    verifier: TokenVerifier
    keys: KeyRing
    tokens: TokenIssuer
    sessions: SqlSessions
    cuts: SqlCuts
    links: Links
    people: People
    take_up: Callable[[], Awaitable[None]]
    """Takes up what was cut before a restart; before the first request."""


def build(db: Database, *, clock: Clock, key_folder: Path, settings: UsersSettings) -> UsersService:
    """Wire users on its database. `key_folder` holds the signing keys, and is made when needed."""
    steps = Steps(db, source="/mercato/users", clock=clock)
    claims, log = SqlClaims(db), SqlAuditLog(steps)
    keys = KeyRing(key_folder)
    lifetime = timedelta(seconds=settings.token_ttl_s)
    tokens, verifier, cuts = _identity(db, keys, settings, clock)
    tenants = SqlTenants(steps, cuts)
    directory = CachedDirectory(tenants, clock=clock)
    tenants.on_change(directory.forget)
    passwords = Argon2Passwords()
    signed_in, users_store = SqlSessions(steps, cuts), SqlUsers(steps, cuts)
    sessions = Sessions(tokens, SessionTerms(lifetime, timedelta(days=settings.refresh_ttl_days)), signed_in)
    stores = Stores(tenants, passwords, sessions, default_tier=settings.default_tier)
    attempts = MemoryAttempts()
    machines = Machines(SqlApiClients(steps, cuts), stores, tokens, attempts, lifetime=lifetime)
    links = Links(users_store, LinkLimit(), secret=keys.hash_secret, url=settings.link)
    users = Users(
        users_store, stores, passwords, sessions, signed_in=signed_in, attempts=attempts, links=links
    )
    credentials = Credentials(users_store, stores, passwords, sessions, attempts=attempts, links=links)

    parts = ServiceParts(
        name="users",
        steps=steps,
        claims=claims,
        routes=routes(
            users,
            stores,
            machines,
            credentials,
            claims,
            log,
            onboarding=settings.onboarding,
            issuer=settings.issuer,
            jwks=_jwks(keys),
        ),
        handlers=handlers(log),
        families=FAMILIES,
        workers=(links.run, *_purgers(signed_in, cuts, log, settings, clock)),
    )
    return UsersService(
        parts=parts,
        service=users,
        stores=stores,
        directory=directory,
        quotas=SqlQuotas(db),
        find_store=directory.find,
        verifier=verifier,
        keys=keys,
        tokens=tokens,
        sessions=signed_in,
        cuts=cuts,
        links=links,
        people=KnownPeople(users_store, links, clock=clock),
        take_up=lambda: cuts.load(at=clock()),
    )


def _purgers(
    signed_in: SqlSessions, cuts: SqlCuts, log: SqlAuditLog, settings: UsersSettings, clock: Clock
) -> tuple[Worker, ...]:
    """Wire what deletes what is no longer kept."""
    kept = timedelta(days=settings.audit_retention_days)
    return (
        purger("refresh tokens", signed_in.purge, clock=clock),
        purger("cuts", cuts.purge, clock=clock),
        purger("audit entries", log.purge, clock=lambda: clock() - kept),
    )


def _jwks(keys: KeyRing) -> Callable[[], Awaitable[bytes]]:
    async def jwks() -> bytes:
        return (await keys.keys()).jwks

    return jwks


def _identity(
    db: Database, keys: KeyRing, settings: UsersSettings, clock: Clock
) -> tuple[TokenIssuer, TokenVerifier, SqlCuts]:
    """Wire what makes tokens, verifies them and cuts them off."""
    lifetime = timedelta(seconds=settings.token_ttl_s)
    terms = TokenTerms(settings.issuer, settings.audience, lifetime)
    revocations = Revocations(lifetime, clock=clock)
    verifier = TokenVerifier(keys, terms, clock=clock, revocations=revocations)
    keys.on_drop(verifier.forget)
    return TokenIssuer(keys, terms), verifier, SqlCuts(db, revocations)
