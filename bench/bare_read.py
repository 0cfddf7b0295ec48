"""The ceiling of uncached reads: a bare ASGI handler on granian that reads a product with asyncpg.

`python -m bench.bare_read PORT ANSWER DATABASE CONNECTIONS` answers every request for a product with the
raw HTTP answer that the file ANSWER holds, once it has read that product's row on a connection that is idle.
"""

import asyncio
import sys
from pathlib import Path
from typing import Any

import asyncpg

from bench.bare import Send, answering, serve_handler
from bench.shop import STORE

_READ = (
    "SELECT id, tenant_id, sku, name, description, price, currency, category, shelf, created_at, updated_at,"
    " version FROM products WHERE tenant_id = $1 AND id = $2 AND shelf > 0"
)
_ID = 36


async def serve(port: int, raw: bytes, database: str, connections: int) -> None:
    """Serve until SIGTERM."""
    idle = [await asyncpg.connect(database) for _ in range(connections)]
    answer = answering(raw)

    async def handle(scope: dict[str, Any], receive: object, send: Send) -> None:
        path: str = scope["path"]
        if len(path) > _ID:
            connection = idle.pop()
            row = await connection.fetchrow(_READ, STORE, path[-_ID:])
            idle.append(connection)
            assert row is not None, path
        await answer(scope, receive, send)

    await serve_handler(port, handle)


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), Path(sys.argv[2]).read_bytes(), sys.argv[3], int(sys.argv[4])))
