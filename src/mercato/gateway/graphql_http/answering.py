"""From what is asked for over HTTP to the response that answers it."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Protocol

import msgspec

from mercato.gateway.graphql.answer import ErrorExtensions, Problem, Refused, Result, encode, refused
from mercato.gateway.graphql_http.accept import EVENTS, GRAPHQL, JSON, names, wanted
from mercato.gateway.graphql_http.asked import Asked
from mercato.gateway.graphql_http.operations import (
    MUTATION,
    SUBSCRIPTION,
    Operations,
    Prepared,
    Told,
    answer_of,
)
from mercato.kernel.errors import BadRequest, MercatoError
from mercato.web.call import Call
from mercato.web.dialect import Dialect
from mercato.web.envelope import PageMeta
from mercato.web.errors import MethodNotAllowed
from mercato.web.http import Header, Response

_CHARSET = "; charset=utf-8"
_FOR_ONE: Header = ("cache-control", "private, no-store")
_VARY: Header = ("vary", "Accept")
_PREFLIGHT = ("authorization", "x-tenant-id", "apollo-require-preflight", "x-apollo-operation-name")
"""A page of another origin can send these only after asking whether it may."""


class Streams(Protocol):
    """Answers with server-sent events; see mercato.gateway.live.sse.EventStreams."""

    def answer(self, call: Call, results: AsyncGenerator[Told, None]) -> Response:
        """Answer with all that comes of an operation."""
        ...


class ChangeByGet(MethodNotAllowed):
    """A mutation was asked for by GET, which changes nothing."""

    def __init__(self) -> None:
        super().__init__("POST")
        self.message = "A mutation needs POST."


def _refusal(error: MercatoError, request_id: str) -> bytes:  # noqa: ARG001  it is in a header
    return encode(answer_of(error))


def _bare(data: bytes, _: PageMeta | None) -> bytes:
    return data


def _no_headers(_: PageMeta) -> list[Header]:
    return []


DIALECT = Dialect(_bare, _no_headers, _refusal)
"""How the shell refuses what never becomes an operation: a wrong token, a body that is too long."""


@dataclass(frozen=True, slots=True)
class Answering:
    """Answers what is asked for over HTTP."""

    operations: Operations
    public_age_s: int = 0
    """For how long caches may keep what is public; 0 for not at all."""
    streams: Streams | None = None

    async def posted(self, call: Call, asked: Asked) -> Response:
        """Answer a POST of one operation."""
        return await self._one(call, asked, by_get=False)

    async def got(self, call: Call, asked: Asked) -> Response:
        """Answer a GET. Raises ChangeByGet for a mutation, BadRequest for what some page might have sent."""
        if not _is_meant(call.headers):
            raise BadRequest(
                "Some page might have sent this by itself. Send `Accept: application/json`,"
                " or the header Apollo-Require-Preflight."
            )
        return await self._one(call, asked, by_get=True)

    async def batch(self, call: Call, asked: list[Asked]) -> Response:
        """Answer several operations, at the same time, each for itself. Each counts against the limits."""
        kinds = [kind for kind in self._kinds(call) if kind != EVENTS]
        if not kinds:
            return _not_acceptable()
        await call.count(len(asked) - 1)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._of_batch(call, each)) for each in asked]
        return _whole(encode([task.result() for task in tasks]), kinds[0])

    def _kinds(self, call: Call) -> list[str]:
        """Return the types to answer with, best first.

        Whoever takes anything, or names JSON, may well take everything but a 200 for a broken connection.
        """
        accept = call.headers.get("accept")
        offered = [GRAPHQL, JSON] if names(accept, GRAPHQL) else [JSON, GRAPHQL]
        return wanted(accept, offered if self.streams is None else [*offered, EVENTS])

    async def _one(self, call: Call, asked: Asked, *, by_get: bool) -> Response:
        kinds = self._kinds(call)
        if not kinds:
            return _not_acceptable()
        plain = next((kind for kind in kinds if kind != EVENTS), None)
        try:
            prepared = await self.operations.prepare(asked)
            if by_get and prepared.kind == MUTATION:
                raise ChangeByGet
            if (
                self.streams is not None
                and EVENTS in kinds
                and (plain is None or prepared.kind == SUBSCRIPTION)
            ):
                return self.streams.answer(call, self.operations.follow(prepared, call))
            _check_kind(prepared)
            result = await self.operations.execute(prepared, call)
        except Refused as error:
            return _told(error.result, plain or GRAPHQL)
        kind = plain or GRAPHQL
        if by_get and self.public_age_s and prepared.is_public and call.caller is None and not result.errors:
            return self._kept(result, kind)
        return _told(result, kind)

    async def _of_batch(self, call: Call, asked: Asked) -> Result:
        try:
            prepared = await self.operations.prepare(asked)
            _check_kind(prepared)
            return await self.operations.execute(prepared, call)
        except Refused as error:
            return error.result
        except MercatoError as error:
            return answer_of(error)

    def _kept(self, result: Result, kind: str) -> Response:
        """Answer what caches may keep: it is the same for everybody."""
        body = encode(result)
        headers: list[Header] = [
            ("cache-control", f"public, max-age={self.public_age_s}"),
            ("etag", f'"{hashlib.sha256(kind.encode() + body).hexdigest()[:32]}"'),
            _VARY,
        ]
        return Response(200, body, content_type=kind + _CHARSET, headers=headers)


def _told(result: Result, kind: str) -> Response:
    """Answer what is for one alone. What was not executed is a 400, for those who know that type."""
    status = 400 if result.data is msgspec.UNSET and kind == GRAPHQL else 200
    return _whole(encode(result), kind, status)


def _whole(body: bytes, kind: str, status: int = 200) -> Response:
    return Response(status, body, content_type=kind + _CHARSET, headers=[_FOR_ONE, _VARY])


def _check_kind(prepared: Prepared) -> None:
    if prepared.kind == SUBSCRIPTION:
        message = "A subscription is answered over a WebSocket, or as text/event-stream."
        raise refused(message, "OPERATION_RESOLUTION_FAILURE")


def _not_acceptable() -> Response:
    problem = Problem(f"The answer can be {GRAPHQL} or {JSON}.", ErrorExtensions("NOT_ACCEPTABLE"))
    return _whole(encode(Result(errors=(problem,))), JSON, 406)


def _is_meant(headers: Mapping[str, str]) -> bool:
    """Say whether a GET was sent by a program that meant to, and by no image or link on some page.

    Browsers send pages' own requests with Accept headers that name no JSON, and all of them, and no other
    program, call themselves Mozilla.
    """
    if names(headers.get("accept"), JSON, GRAPHQL) or any(name in headers for name in _PREFLIGHT):
        return True
    return "origin" not in headers and not headers.get("user-agent", "").startswith("Mozilla/")
