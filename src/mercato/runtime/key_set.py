"""Fetching the key set of the service that signs tokens."""

from pyreqwest.client import Client
from pyreqwest.exceptions import RequestError

from mercato.adapters.http.client import close, http_client
from mercato.kernel.errors import Unavailable

_PATH = "/.well-known/jwks.json"


class KeySet:
    """The key set of a users service."""

    def __init__(self, users_url: str) -> None:
        """Connect to nothing yet."""
        self._url = users_url.rstrip("/") + _PATH
        self._client: Client | None = None

    async def fetch(self) -> bytes:
        """Return the key set as it is now. Raises Unavailable."""
        if self._client is None:
            self._client = http_client(2)
        try:
            response = await self._client.get(self._url).build().send()
            told = bytes(await response.bytes())
        except RequestError:
            raise Unavailable("The users service is away.") from None
        if response.status != 200:
            raise Unavailable(f"The users service answered {response.status}.")
        return told

    async def close(self) -> None:
        """Close the connection."""
        if self._client is not None:
            await close(self._client)
