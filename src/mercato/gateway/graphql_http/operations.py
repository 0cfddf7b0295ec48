"""Operations, whatever they come by: HTTP, a socket or an event stream."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from mercato.gateway.graphql.answer import ErrorExtensions, Problem, Refused, Result, encode
from mercato.gateway.graphql.bindings import Context
from mercato.gateway.graphql_http.asked import Asked
from mercato.gateway.graphql_http.counts import NOT_KNOWN, Counts
from mercato.gateway.graphql_http.documents import Documents
from mercato.kernel.errors import MercatoError, Unavailable
from mercato.kernel.tracing import UNTRACED, SpanKind, Tracing, span
from mercato.web.call import Call

SUBSCRIPTION = "subscription"
MUTATION = "mutation"


class Prepared(Protocol):
    """An operation that was found good; see mercato.gateway.graphql.engine.Prepared."""

    @property
    def kind(self) -> str:
        """Is query, mutation or subscription."""
        ...

    @property
    def cost(self) -> int:
        """What it costs."""
        ...

    @property
    def is_public(self) -> bool:
        """Whether all that it asks for may be shown to anybody."""
        ...

    async def execute(self, context: Context) -> Result:
        """Execute a query or a mutation."""
        ...

    def subscribe(self, context: Context) -> AsyncGenerator[Result, None]:
        """Execute a subscription. Raises Refused."""
        ...


Prepare = Callable[[str, Mapping[str, Any], str | None], Prepared]
"""Reads and checks a document, its variables and the operation's name. Raises Refused."""


class Sent(Protocol):
    """An operation as clients send it over sockets, too."""

    @property
    def query(self) -> str | None:
        """The document."""
        ...

    @property
    def operation_name(self) -> str | None:
        """Which of the document's operations it is."""
        ...

    @property
    def variables(self) -> Mapping[str, Any] | None:
        """The values of its variables."""
        ...

    @property
    def extensions(self) -> Mapping[str, Any] | None:
        """What is said beside it."""
        ...


@dataclass(frozen=True, slots=True)
class Told:
    """One answer, as it is sent."""

    body: bytes
    executed: bool
    """Whether there is data, or was but for an error: what was refused before has errors alone."""


class Operations:
    """Finds, prepares and executes operations."""

    def __init__(
        self,
        load: Callable[[], Prepare],
        documents: Documents,
        context: Callable[[Call], Context],
        counts: Counts,
        *,
        deadline_s: float,
        traces: Tracing = UNTRACED,
    ) -> None:
        """`load` makes the engine when the first operation comes, in a thread: it takes a while to import.

        `context` is what the schema's bindings get of a call. `deadline_s` is for a query or a mutation.
        `traces` begins those of what comes over sockets; a request has its own.
        """
        self._load = load
        self._documents = documents
        self._context = context
        self._counts = counts
        self._deadline_s = deadline_s
        self._traces = traces
        self._prepare: Prepare | None = None
        self._loading = asyncio.Lock()

    async def prepare(self, asked: Asked) -> Prepared:
        """Read and check what is asked for. Raises Refused, BadRequest."""
        try:
            query = self._documents.find(asked)
            prepare = self._prepare or await self._loaded()
            prepared = prepare(query, asked.variables or {}, asked.operation_name or None)
        except Refused as refusal:
            self._counts.answered(NOT_KNOWN, refusal.result)
            raise
        self._documents.remember(asked)
        self._counts.cost.observe(prepared.cost)
        return prepared

    async def execute(self, prepared: Prepared, call: Call) -> Result:
        """Execute a query or a mutation. Raises Unavailable if it takes too long."""
        try:
            with span(prepared.kind) as operation:
                operation.set("graphql.operation.type", prepared.kind)
                async with asyncio.timeout(self._deadline_s):
                    result = await prepared.execute(self._context(call))
                if result.errors:
                    operation.set("mercato.graphql.errors", len(result.errors))
        except TimeoutError:
            late = Unavailable("The operation took too long.")
            self._counts.answered(prepared.kind, answer_of(late))
            raise late from None
        self._counts.answered(prepared.kind, result)
        return result

    async def follow(self, prepared: Prepared, call: Call) -> AsyncGenerator[Told, None]:
        """Execute an operation of any kind: give one answer, or for a subscription one for each event."""
        if prepared.kind != SUBSCRIPTION:
            yield told(await self.execute(prepared, call))
            return
        try:
            async with aclosing(prepared.subscribe(self._context(call))) as results:
                async for result in results:
                    self._counts.answered(SUBSCRIPTION, result)
                    yield told(result)
        except Refused as refusal:
            self._counts.answered(SUBSCRIPTION, refusal.result)
            yield told(refusal.result)

    async def run(self, operation: Sent, call: Call) -> AsyncGenerator[Told, None]:
        """Answer what came over a socket: see mercato.gateway.live.executes.Executes."""
        asked = Asked(
            query=operation.query,
            operation_name=operation.operation_name,
            variables=operation.variables,
            extensions=operation.extensions,
        )
        try:
            prepared = await self.prepare(asked)
        except Refused as refusal:
            yield told(refusal.result)
            return
        if prepared.kind != SUBSCRIPTION:
            yield told(await self._execute_traced(prepared, call))
            return
        async with aclosing(self.follow(prepared, call)) as answers:
            async for answer in answers:
                yield answer

    async def _execute_traced(self, prepared: Prepared, call: Call) -> Result:
        """Execute what came by no request, in a trace of its own. Raises what `execute` does."""
        with self._traces.begin("WS /graphql", SpanKind.SERVER) as begun:
            begun.set("mercato.request_id", call.request_id)
            begun.set("mercato.tenant", call.tenant)
            return await self.execute(prepared, call)

    async def _loaded(self) -> Prepare:
        async with self._loading:
            if self._prepare is None:
                self._prepare = await asyncio.to_thread(self._load)
            return self._prepare


def told(result: Result) -> Told:
    """Return an answer as it is sent."""
    return Told(encode(result), executed=result.data is not msgspec.UNSET)


def answer_of(error: MercatoError) -> Result:
    """Return the answer to what is refused with one of the codes of REST."""
    return Result(errors=(Problem(error.message, ErrorExtensions(error.code, error.details)),))
