"""The HTTP client between processes, and what they tell each other besides requests."""

import asyncio
from datetime import timedelta

from pyreqwest.client import Client, ClientBuilder

from mercato.web.http import LINGER_S

DEADLINE_HEADER = "x-request-deadline"
"""How many milliseconds the caller still waits."""
_MOST_CONNECTIONS = 256
_IDLE_S = LINGER_S / 2
"""How long a connection is kept for the next request."""
_CONNECT_S = 1.0
_SETTLING_S = 0.05


def http_client(most_connections: int = _MOST_CONNECTIONS) -> Client:
    """Return a client that follows nothing, unpacks nothing, and knows no proxy."""
    return (
        ClientBuilder()
        .http1_only()
        .max_connections(most_connections)
        .connect_timeout(timedelta(seconds=_CONNECT_S))
        .pool_idle_timeout(timedelta(seconds=_IDLE_S))
        .follow_redirects(enable=False)
        .referer(enable=False)
        .no_proxy()
        .gzip(enable=False)
        .brotli(enable=False)
        .zstd(enable=False)
        .deflate(enable=False)
        .user_agent("mercato")
        .build()
    )


async def close(client: Client) -> None:
    """Close every connection, so that the process may end.

    The client's threads let go of Python a moment later than it says, and an interpreter that ends before
    is aborted.
    """
    await client.close()
    await asyncio.sleep(_SETTLING_S)
