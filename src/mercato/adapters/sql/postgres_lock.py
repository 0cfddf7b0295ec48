"""A name that one process holds for as long as it works, of all that work on a database."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from mercato.adapters.sql.database import StorageUnavailable
from mercato.adapters.sql.postgres import PostgresDatabase

_DEADLINE_S = 5.0


@asynccontextmanager
async def held(db: PostgresDatabase, name: str) -> AsyncIterator[bool]:
    """Hold a name until the block ends, unless somebody else does: yields whether it is held.

    It is the name of `Tx.lock_name`. Raises StorageUnavailable, also at the end if it was lost meanwhile.
    """
    try:
        # In a transaction, which keeps its connection behind every pooler, and of no pool's connections.
        connection = await asyncpg.connect(db.system_url, timeout=_DEADLINE_S, command_timeout=_DEADLINE_S)
    except (OSError, TimeoutError, asyncpg.PostgresError) as error:
        raise StorageUnavailable("The database cannot be used now.") from error
    try:
        await connection.execute("BEGIN; SET LOCAL idle_in_transaction_session_timeout = 0")
        yield await connection.fetchval("SELECT pg_try_advisory_xact_lock(hashtextextended($1, 0))", name)
        await connection.execute("COMMIT")
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise StorageUnavailable("The database cannot be used now.") from error
    finally:
        connection.terminate()
