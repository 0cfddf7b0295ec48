"""What carries out operations in tests of the transports: a handful of fields, found by their names."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from mercato.gateway.live.executes import Operation, Result
from mercato.gateway.live.feed import Feed
from mercato.gateway.live.sse import EventStreams
from mercato.kernel.acting import acting_for
from mercato.kernel.errors import MercatoError
from mercato.kernel.ids import OrderId
from mercato.kernel.passing import request_id
from mercato.web.call import Call
from mercato.web.decode import Body, Query
from mercato.web.endpoint import PUBLIC, Endpoint, Routes
from mercato.web.http import Response

FLOOD_BYTES = 64 * 1024


@dataclass(frozen=True)
class Told:
    """One answer."""

    body: bytes
    executed: bool = True


def data(**fields: object) -> Told:
    return Told(msgspec.json.encode({"data": fields}))


def refused(message: str, code: str) -> Told:
    return Told(
        msgspec.json.encode({"errors": [{"message": message, "extensions": {"code": code}}]}), executed=False
    )


Answers = Callable[[Call, Mapping[str, Any]], AsyncGenerator[Told, None]]


@dataclass
class StandIn:
    """See gateway.live.executes.Executes."""

    feed: Feed
    fields: dict[str, Answers] = field(default_factory=dict)
    running: int = 0
    """How many operations go on."""
    poured: int = 0
    """How many answers of a flood were made."""

    def __post_init__(self) -> None:
        own: dict[str, Answers] = {
            "orderStatusChanged": self._orders,
            "paymentStatusChanged": self._payments,
            "whoami": _whoami,
            "never": _never,
            "breaks": _breaks,
            "fence": _fence,
            "flood": self._flood,
        }
        self.fields = own | self.fields

    async def run(self, operation: Operation, call: Call) -> AsyncGenerator[Result, None]:
        """Answer the first field that the document names."""
        self.running += 1
        try:
            document = operation.query or ""
            found = next((answers for name, answers in self.fields.items() if name in document), None)
            if found is None:
                yield refused("There is no such field.", "GRAPHQL_VALIDATION_FAILED")
                return
            try:
                async for told in found(call, operation.variables or {}):
                    yield told
            except MercatoError as error:
                yield refused(error.message, error.code)
        finally:
            self.running -= 1

    async def _orders(self, call: Call, variables: Mapping[str, Any]) -> AsyncGenerator[Told, None]:
        order = variables.get("orderId")
        async for told in self.feed.orders(call.caller, None if order is None else OrderId(order)):
            yield data(orderStatusChanged={"id": told.order_id, "status": told.status})

    async def _flood(self, _: Call, __: Mapping[str, Any]) -> AsyncGenerator[Told, None]:
        while True:
            yield data(flood=FLOOD_BYTES * "x")
            self.poured += 1
            await asyncio.sleep(0)

    async def _payments(self, call: Call, variables: Mapping[str, Any]) -> AsyncGenerator[Told, None]:
        order = variables.get("orderId")
        async for told in self.feed.payments(call.caller, None if order is None else OrderId(order)):
            yield data(paymentStatusChanged={"id": told.payment_id, "status": told.status})


async def _whoami(call: Call, _: Mapping[str, Any]) -> AsyncGenerator[Told, None]:
    yield data(whoami=None if call.caller is None else call.caller.email, store=call.tenant)


async def _fence(call: Call, _: Mapping[str, Any]) -> AsyncGenerator[Told, None]:
    yield data(fence=acting_for(), passed=request_id() == call.request_id)


async def _never(_: Call, __: Mapping[str, Any]) -> AsyncGenerator[Told, None]:
    await asyncio.Event().wait()
    yield data(never=True)


async def _breaks(_: Call, __: Mapping[str, Any]) -> AsyncGenerator[Told, None]:
    yield data(breaks=1)
    raise LookupError("a defect, of which clients must not hear")


class Ask(Body, frozen=True):
    """A POST of an operation."""

    query: str
    variables: dict[str, Any] | None = None


class Asked(Query, frozen=True):
    """A GET of one."""

    query: str = ""


def endpoints_of(streams: EventStreams, stand_in: StandIn) -> list[Endpoint]:
    """Return where operations are asked for by requests; all are answered with event streams."""
    api = Routes("graphql")

    @api.post("/graphql", allow=PUBLIC)
    async def post_graphql(call: Call, body: Ask) -> Response:
        """Answer an operation with an event stream."""
        return streams.answer(call, stand_in.run(Operation(body.query, variables=body.variables), call))

    @api.get("/graphql", allow=PUBLIC)
    async def get_graphql(call: Call, query: Asked) -> Response:
        """Answer an operation with an event stream."""
        return streams.answer(call, stand_in.run(Operation(query.query), call))

    return api.endpoints
