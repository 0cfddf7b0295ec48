"""The engine: takes operations as clients send them, and answers.

```
engine = Engine(Bound(sdl, {"Query": {"orders": Resolve(orders)}, "Order": {"user": Load(users)}}))
prepared = engine.prepare(Operation(query, variables))  # raises Refused
answer = encode(await prepared.execute(context))
```
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from graphql import ExecutionResult
from graphql.execution.values import VariableValues

from mercato.gateway.graphql.answer import (
    BAD_USER_INPUT,
    OPERATION_RESOLUTION_FAILURE,
    ErrorExtensions,
    Problem,
    Refused,
    Result,
    ResultExtensions,
    refused,
)
from mercato.gateway.graphql.bindings import Bound, Context, Events, Value
from mercato.gateway.graphql.documents import Documents, Executable
from mercato.gateway.graphql.errors import Reporter, told
from mercato.gateway.graphql.execution import Execution
from mercato.gateway.graphql.introspection import ask_schema
from mercato.gateway.graphql.limits import Limits
from mercato.gateway.graphql.plan import Field
from mercato.gateway.graphql.projection import compile_plan
from mercato.gateway.graphql.schema import Schema

_RUNS_UNCOMPILED = 1
"""A document that comes once is not worth being compiled."""


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation, as a client sends it."""

    query: str
    variables: Mapping[str, Value] = field(default_factory=dict)
    operation_name: str | None = None


class Prepared:
    """An operation with its variables: valid, and within all limits."""

    __slots__ = (
        "_executable",
        "_extensions",
        "_given",
        "_plan",
        "_schema",
        "_variables",
        "cost",
    )

    def __init__(
        self,
        schema: Schema,
        executable: Executable,
        given: Mapping[str, Value],
        variables: VariableValues,
    ) -> None:
        self._schema = schema
        self._executable = executable
        self._given = given
        self._variables = variables
        self._plan = executable.plan(variables)
        self.cost = executable.cost(self._plan, variables)
        self._extensions = ResultExtensions(self.cost)

    @property
    def kind(self) -> str:
        """Is query, mutation or subscription."""
        return self._plan.kind

    @property
    def is_public(self) -> bool:
        """It is a query, and all that it asks for may be shown to anybody: the answer may be kept for all."""
        return self._plan.is_public

    @property
    def root_fields(self) -> tuple[str, ...]:
        """The fields at its root, by their names in the schema."""
        return self._plan.root_fields

    async def execute(self, context: Context) -> Result:
        """Execute a query or a mutation. Whatever its fields do is in the answer, nothing is raised."""
        if self._plan.root.failure is not None:
            return Result(None, [told(self._plan.root.failure, BAD_USER_INPUT)], self._extensions)
        execution = self._execution(context)
        if self._plan.kind == "mutation":
            data = await execution.mutation()
        else:
            data = await execution.query(self._ask_schema)
        return Result(data, execution.problems, self._extensions)

    async def subscribe(self, context: Context) -> AsyncGenerator[Result, None]:
        """Execute a subscription: give an answer for each event, until there are no more.

        Raises Refused where the source refuses or fails, at first or later. Whoever leaves early closes it.
        """
        async with aclosing(self._events(context)) as events:
            async for event in events:
                execution = self._execution(context)
                data = await execution.event(event)
                yield Result(data, execution.problems, self._extensions)

    async def _events(self, context: Context) -> AsyncGenerator[Value, None]:
        (field,) = self._plan.starts
        assert isinstance(field.binding, Events) and field.arguments is not None  # noqa: S101, PT018  see Schema
        try:
            args = field.arguments.values(self._variables)
            async with aclosing(field.binding.events(context, args)) as events:
                async for event in events:
                    yield event
        except Exception as error:  # noqa: BLE001  whatever it is, the client is told as of a field's error
            reporter = Reporter(context.request_id)
            raise Refused([reporter.field(error, (field.key,), field.nodes, field.label)]) from None

    def _execution(self, context: Context) -> Execution:
        if self._plan.runs == _RUNS_UNCOMPILED:
            compile_plan(self._plan, self._schema.plain)
        self._plan.runs += 1
        return Execution(self._plan, self._variables, context)

    def _ask_schema(self, fields: Sequence[Field]) -> ExecutionResult:
        nodes = [node for field in fields for node in field.nodes]
        executable = self._executable
        return ask_schema(self._schema.graphql, executable.node, executable.fragments, nodes, self._given)


class Engine:
    """Executes operations on one schema."""

    def __init__(
        self,
        bound: Bound,
        limits: Limits | None = None,
        *,
        introspection: bool = True,
        trusted: frozenset[str] | None = None,
    ) -> None:
        """With `trusted`, only documents are executed whose SHA-256, in hexadecimal, is one of these.

        Raises ValueError where the bindings do not fit the schema, TypeError where the schema is none.
        """
        self._limits = limits or Limits()
        self._schema = Schema(bound)
        self.documents = Documents(self._schema, self._limits, introspection=introspection, trusted=trusted)

    def prepare(self, operation: Operation) -> Prepared:
        """Read an operation and check it, and what it would cost. Raises Refused."""
        executable = self.documents.get(operation.query).operation(operation.operation_name)
        variables = executable.variables.coerce(operation.variables)
        prepared = Prepared(self._schema, executable, operation.variables, variables)
        cost, most = prepared.cost, self._limits.cost
        if cost > most:
            message = f"The operation costs {cost}, and may cost {most}: ask for shorter lists."
            raise Refused([Problem(message, ErrorExtensions("MAX_COST_EXCEEDED"))], cost)
        return prepared

    async def execute(self, operation: Operation, context: Context) -> Result:
        """Prepare a query or a mutation and execute it; what is refused is answered, too."""
        try:
            prepared = self.prepare(operation)
            if prepared.kind == "subscription":
                message = "A subscription needs a way to send more than one answer."
                raise refused(message, OPERATION_RESOLUTION_FAILURE)
        except Refused as refusal:
            return refusal.result
        return await prepared.execute(context)
