# Made by `make client` from the OpenAPI document; edits are lost.
"""Events that kept failing, for operators."""

from collections.abc import AsyncIterator

from mercato_client.answers import Answer, Listed, Page, each_of
from mercato_client.models.dead_letters import DeadLetterView
from mercato_client.transport import Request, Transport, decode, path_of


class DeadLetters:
    """Events that kept failing, for operators."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def list(
        self, *, consumer: str | None = None, limit: int | None = None, after: str | None = None
    ) -> Page[DeadLetterView]:
        """List dead letters of every consumer, oldest first.

        For the roles operator.
        """
        request = Request(
            "GET", "/api/v1/dead-letters", query={"consumer": consumer, "limit": limit, "after": after}
        )
        listed = decode(await self._transport.send(request), Listed[DeadLetterView])
        return Page(listed.data, listed.meta)

    def iterate(self, *, consumer: str | None = None, limit: int = 100) -> AsyncIterator[DeadLetterView]:
        """Go through the whole list, which is fetched page by page."""
        return each_of(lambda after: self.list(consumer=consumer, limit=limit, after=after))

    async def get(self, event_id: str) -> tuple[DeadLetterView, ...]:
        """Show a dead letter, once for each consumer that has it.

        For the roles operator.
        """
        request = Request("GET", path_of("/api/v1/dead-letters/{event_id}", event_id=event_id))
        return decode(await self._transport.send(request), Answer[tuple[DeadLetterView, ...]]).data

    async def drop(self, event_id: str) -> None:
        """Delete a dead letter: its event will never have its effect.

        For the roles operator.
        """
        request = Request("DELETE", path_of("/api/v1/dead-letters/{event_id}", event_id=event_id))
        await self._transport.send(request)

    async def replay(self, event_id: str) -> None:
        """Have a dead letter tried anew, within a second.

        For the roles operator.
        """
        request = Request("POST", path_of("/api/v1/dead-letters/{event_id}/replay", event_id=event_id))
        await self._transport.send(request)
