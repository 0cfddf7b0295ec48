# Made by `make client` from the OpenAPI document; edits are lost.
"""Tokens of machines."""

from typing import Literal

from msgspec import UNSET, UnsetType

from mercato_client.answers import Answer
from mercato_client.models.auth import AskToken, MachineTokenView
from mercato_client.transport import Request, Transport, decode, encode


class Auth:
    """Tokens of machines."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def token(
        self,
        *,
        client_id: str,
        client_secret: str,
        grant_type: Literal["client_credentials"] | UnsetType = UNSET,
        scope: str | UnsetType | None = UNSET,
    ) -> MachineTokenView:
        """Sign a machine in: an access token for its client id and secret.

        Needs no token.
        """
        request = Request(
            "POST",
            "/api/v1/auth/token",
            content=encode(
                AskToken(client_id=client_id, client_secret=client_secret, grant_type=grant_type, scope=scope)
            ),
        )
        return decode(await self._transport.send(request), Answer[MachineTokenView]).data
