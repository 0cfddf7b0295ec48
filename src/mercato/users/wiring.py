"""How users is put together."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import msgspec

from mercato.adapters.identity import attempts as memory
from mercato.adapters.identity.cut_list import CutList, HeardCuts
from mercato.adapters.identity.keys import KeyRing
from mercato.adapters.identity.passwords import Argon2Passwords
from mercato.adapters.identity.revocations import Revocations
from mercato.adapters.identity.tokens import TokenIssuer, TokenTerms, TokenVerifier
from mercato.adapters.service import MOST_COUNTED, Gauge, ServiceParts, Worker
from mercato.adapters.signals.port import NO_SIGNALS, Signals
from mercato.adapters.sql.claims import SqlClaims
from mercato.adapters.sql.database import Database
from mercato.adapters.sql.steps import Steps
from mercato.contracts.stores import StoreDirectory
from mercato.contracts.user_reading import UserReader
from mercato.contracts.users import People
from mercato.kernel.clock import Clock
from mercato.kernel.tenancy import TenantId, Tier
from mercato.users.ports import Attempts, LinkLimit
from mercato.users.routes import routes
from mercato.users.routes.stores import Onboarding
from mercato.users.service.credentials import Credentials
from mercato.users.service.directory import CachedDirectory
from mercato.users.service.links import Links
from mercato.users.service.machines import Machines
from mercato.users.service.people import KnownPeople
from mercato.users.service.reading import UserReading
from mercato.users.service.sessions import Sessions, SessionTerms
from mercato.users.service.stores import Stores
from mercato.users.service.users import Users
from mercato.users.stores.reading import SqlUserReads
from mercato.users.stores.sql_audit import SqlAuditLog
from mercato.users.stores.sql_cuts import SqlCuts
from mercato.users.stores.sql_machines import SqlApiClients
from mercato.users.stores.sql_quotas import SqlQuotas
from mercato.users.stores.sql_sessions import SqlSessions
from mercato.users.stores.sql_tenants import SqlTenants
from mercato.users.stores.sql_users import SqlUsers
from mercato.users.subscribers import FAMILIES, handlers
from mercato.users.workers import CutSharing, purger
from mercato.web.auth import FindStore

STORES = "stores"
"""The topic of the signals that a store has changed."""


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
class UsersShared:
    """What the replicas of users share; alone, a process keeps it to itself."""

    signals: Signals = NO_SIGNALS
    attempts: Attempts = field(default_factory=memory.MemoryAttempts)
    link_limit: LinkLimit = field(default_factory=memory.LinkLimit)
    cuts: CutList | None = None
    """Where other services read the cuts of tokens."""


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
    reader: UserReader
    take_up: Callable[[], Awaitable[object]]
    """Takes up what was cut before a restart; before the first request."""


def build(
    db: Database,
    *,
    clock: Clock,
    key_folder: Path,
    settings: UsersSettings,
    shared: UsersShared | None = None,
) -> UsersService:
    """Wire users on its database. `key_folder` holds the signing keys, and is made when needed."""
    shared = shared or UsersShared()
    steps = Steps(db, source="/mercato/users", clock=clock)
    claims, log = SqlClaims(db), SqlAuditLog(steps)
    keys, lifetime = KeyRing(key_folder), timedelta(seconds=settings.token_ttl_s)
    tokens, verifier, revocations = _identity(keys, settings, clock)
    cuts = SqlCuts(db, revocations)
    tenants, directory = _tenants(steps, cuts, shared.signals, clock)
    passwords, attempts = Argon2Passwords(), shared.attempts
    signed_in, users_store = SqlSessions(steps, cuts), SqlUsers(steps, cuts)
    sessions = Sessions(tokens, SessionTerms(lifetime, timedelta(days=settings.refresh_ttl_days)), signed_in)
    stores = Stores(tenants, passwords, sessions, default_tier=settings.default_tier)
    machines = Machines(SqlApiClients(steps, cuts), stores, tokens, attempts, lifetime=lifetime)
    links = Links(users_store, shared.link_limit, secret=keys.hash_secret, url=settings.link)
    who = (users_store, stores, passwords, sessions)
    users = Users(*who, signed_in=signed_in, attempts=attempts, links=links)
    credentials = Credentials(*who, attempts=attempts, links=links)
    purgers = _purgers(signed_in, log, settings, clock)
    parts = ServiceParts(
        name="users",
        steps=steps,
        claims=claims,
        routes=routes(
            *(users, stores, machines, credentials, claims, log),
            onboarding=settings.onboarding,
            issuer=settings.issuer,
            jwks=lambda: _jwks(keys),
        ),
        handlers=handlers(log),
        families=FAMILIES,
        workers=(links.run, *purgers, *_cut_workers(db, cuts, revocations, shared, clock)),
        gauges=(_stores_gauge(tenants),),
        measures=(*attempts.measures, *directory.measures, *verifier.measures),
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
        reader=UserReading(SqlUserReads(db), users_store),
        people=KnownPeople(users_store, links, clock=clock),
        take_up=lambda: cuts.load(at=clock()),
    )


def _tenants(
    steps: Steps, cuts: SqlCuts, signals: Signals, clock: Clock
) -> tuple[SqlTenants, CachedDirectory]:
    """Wire the stores of the platform, and the directory that all replicas keep of them."""
    tenants = SqlTenants(steps, cuts)
    directory = CachedDirectory(tenants, clock=clock)
    tenants.on_change(_heard_by_all(directory, signals))
    return tenants, directory


def _stores_gauge(tenants: SqlTenants) -> Gauge:
    async def read() -> Mapping[tuple[str, ...], int]:
        counts = await tenants.counts(MOST_COUNTED)
        return {(tier.value, status.value): count for (tier, status), count in counts.items()}

    return Gauge(
        "mercato_stores",
        f"Stores of the platform, by tier and status; counted up to {MOST_COUNTED} in all.",
        ("tier", "status"),
        read,
    )


def _purgers(
    signed_in: SqlSessions, log: SqlAuditLog, settings: UsersSettings, clock: Clock
) -> tuple[Worker, ...]:
    """Wire what deletes what is no longer kept."""
    kept = timedelta(days=settings.audit_retention_days)
    return (
        purger("refresh tokens", signed_in.purge, clock=clock),
        purger("audit entries", log.purge, clock=lambda: clock() - kept),
    )


async def _jwks(keys: KeyRing) -> bytes:
    return (await keys.keys()).jwks


def _identity(
    keys: KeyRing, settings: UsersSettings, clock: Clock
) -> tuple[TokenIssuer, TokenVerifier, Revocations]:
    """Wire what makes tokens, verifies them, and knows which are cut off."""
    terms = TokenTerms(settings.issuer, settings.audience, timedelta(seconds=settings.token_ttl_s))
    revocations = Revocations(terms.lifetime, clock=clock)
    verifier = TokenVerifier(keys, terms, clock=clock, revocations=revocations)
    keys.on_drop(verifier.forget)
    return TokenIssuer(keys, terms, revocations), verifier, revocations


def _cut_workers(
    db: Database, cuts: SqlCuts, revocations: Revocations, shared: UsersShared, clock: Clock
) -> tuple[Worker, ...]:
    """Return what makes cuts known beyond this process, and forgets them."""
    purging = purger("cuts", cuts.purge, clock=clock)
    if db.dialect == "sqlite" and shared.cuts is None:
        # A database in a file is one process's own.
        return (purging,)
    sharing = CutSharing(cuts, shared.cuts, matters=revocations.kept, clock=clock)
    cuts.on_cut(sharing.made)
    if shared.cuts is None:
        return purging, sharing.run
    return purging, sharing.run, HeardCuts(revocations, shared.cuts, shared.signals, clock=clock).run


def _heard_by_all(directory: CachedDirectory, signals: Signals) -> Callable[[TenantId], None]:
    """Return what is to be called when a store has changed, so that no replica remembers it as it was."""

    def changed(tenant: TenantId) -> None:
        directory.forget(tenant)
        signals.tell(STORES, tenant)

    def heard(words: Sequence[str]) -> None:
        directory.forget(TenantId(words[0]))

    def gap(hearing: bool) -> None:  # noqa: ARG001, FBT001  the port's own form; a memory of a second is bound enough
        directory.forget_all()

    signals.listen(STORES, heard, gap)
    return changed
