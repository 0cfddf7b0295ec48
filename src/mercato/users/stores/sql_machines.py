"""Machines in a relational database."""

from collections.abc import Callable
from datetime import datetime

from mercato.adapters.sql.database import Row, Tx, Value
from mercato.adapters.sql.steps import Steps
from mercato.contracts.events import Events
from mercato.kernel.cause import Cause
from mercato.kernel.clock import from_micros, to_micros
from mercato.kernel.errors import NotFound
from mercato.kernel.ids import UserId
from mercato.kernel.paging import Window
from mercato.kernel.principal import ANY_STORE
from mercato.kernel.tenancy import TenantId
from mercato.users.machines import MAX_API_CLIENTS, ApiClient, TooManyClients
from mercato.users.stores.sql_cuts import SqlCuts

_COLUMNS = "tenant_id, id, name, scopes, secret_hash, created_by, created_at, expires_at, version"
_ONE = f"SELECT {_COLUMNS} FROM api_clients WHERE tenant_id = ? AND id = ?"


class SqlApiClients:
    """See users.ports.ApiClientStore."""

    def __init__(self, steps: Steps, cuts: SqlCuts) -> None:
        self._steps = steps
        self._db = steps.db
        self._cuts = cuts

    async def find(self, tenant: TenantId, client: UserId) -> ApiClient | None:
        """Return one machine, read fresh."""
        row = await self._db.fetch_one(_ONE, (tenant, client))
        return None if row is None else _load(row)

    async def search(self, tenant: TenantId, window: Window, *, any_store: bool) -> list[ApiClient]:
        """Return a window of a store's machines, newest first."""
        where, params = _where(any_store=any_store), list[Value]((tenant,))
        if window.after is not None:
            where += " AND id < ?"
            params.append(window.after)
        rows = await self._db.search(
            f"SELECT {_COLUMNS} FROM api_clients WHERE {where} ORDER BY id DESC LIMIT ? OFFSET ?",
            (*params, window.fetch, window.offset),
        )
        return [_load(row) for row in rows]

    async def count(self, tenant: TenantId, *, any_store: bool) -> int:
        """Return how many machines the store has."""
        where = _where(any_store=any_store)
        rows = await self._db.search(f"SELECT count(*) FROM api_clients WHERE {where}", (tenant,))
        return int(rows[0][0])

    async def add(self, client: ApiClient, *, by: Cause) -> ApiClient:
        """Store a new machine. Raises TooManyClients."""

        async def work(tx: Tx) -> tuple[ApiClient, Events]:
            await tx.lock_name(f"{client.tenant_id}/api-clients")
            counted = await tx.fetch_one(
                "SELECT count(*) FROM api_clients WHERE tenant_id = ?", (client.tenant_id,)
            )
            if counted is not None and counted[0] >= MAX_API_CLIENTS:
                raise TooManyClients(f"A store has at most {MAX_API_CLIENTS} API clients; delete one first.")
            marks = ", ".join("?" * 9)
            await tx.execute(f"INSERT INTO api_clients ({_COLUMNS}) VALUES ({marks})", _values(client))
            return client, ()

        return await self._steps.run(by, work)

    async def change_secret(
        self,
        tenant: TenantId,
        client: UserId,
        secret_hash: bytes,
        decide: Callable[[ApiClient], None],
        *,
        by: Cause,
    ) -> ApiClient:
        """Replace a machine's secret, unless `decide` raises; the former one is void. Raises NotFound."""

        async def work(tx: Tx) -> tuple[ApiClient, Events]:
            decide(await _found(tx, tenant, client))
            await tx.execute(
                "UPDATE api_clients SET secret_hash = ?, version = version + 1"
                " WHERE tenant_id = ? AND id = ?",
                (secret_hash, tenant, client),
            )
            return await _found(tx, tenant, client), ()

        return await self._steps.run(by, work)

    async def delete(
        self,
        tenant: TenantId,
        client: UserId,
        decide: Callable[[ApiClient], None],
        *,
        at: datetime,
        by: Cause,
    ) -> None:
        """Delete a machine and end its tokens, unless `decide` raises. Raises NotFound."""

        async def work(tx: Tx) -> tuple[None, Events]:
            decide(await _found(tx, tenant, client))
            await tx.execute("DELETE FROM api_clients WHERE tenant_id = ? AND id = ?", (tenant, client))
            await self._cuts.cut(tx, tenant, client, at=at)
            return None, ()

        await self._steps.run(by, work)


def _where(*, any_store: bool) -> str:
    """Return the condition of a store's machines, with or without those that act in any store."""
    if any_store:
        return "tenant_id = ?"
    return f"tenant_id = ? AND (' ' || scopes || ' ') NOT LIKE '% {ANY_STORE} %'"


async def _found(tx: Tx, tenant: TenantId, client: UserId) -> ApiClient:
    row = await tx.lock_one(_ONE, (tenant, client))
    if row is None:
        raise NotFound("There is no such API client.")
    return _load(row)


def _values(client: ApiClient) -> tuple[Value, ...]:
    return (
        client.tenant_id,
        client.id,
        client.name,
        " ".join(client.scopes),
        client.secret_hash,
        client.created_by,
        to_micros(client.created_at),
        None if client.expires_at is None else to_micros(client.expires_at),
        client.version,
    )


def _load(row: Row) -> ApiClient:
    tenant, client, name, scopes, secret_hash, created_by, created_at, expires_at, version = row
    return ApiClient(
        id=client,
        tenant_id=tenant,
        name=name,
        scopes=tuple(scopes.split(" ")),
        secret_hash=secret_hash,
        created_by=created_by,
        created_at=from_micros(created_at),
        expires_at=None if expires_at is None else from_micros(expires_at),
        version=version,
    )
