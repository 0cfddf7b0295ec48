"""Fetching the key set of the service that signs tokens."""

from pyreqwest.client import Client
from pyreqwest.exceptions import RequestError

from mercato.adapters.http.client import http_client
from mercato.adapters.identity.remote_keys import Fetch
from mercato.kernel.errors import Unavailable

_PATH = "/.well-known/jwks.json"


def fetch_keys(users_url: str) -> Fetch:
    """Return what fetches the key set from the users service."""
    clients: list[Client] = []

    async def fetch() -> bytes:
        if not clients:
            clients.append(http_client(2))
        try:
            response = await clients[0].get(users_url.rstrip("/") + _PATH).build().send()
            told = bytes(await response.bytes())
        except RequestError:
            raise Unavailable("The users service is away.") from None
        if response.status != 200:
            raise Unavailable(f"The users service answered {response.status}.")
        return told

    return fetch
