"""graphql-core's own executor over the same bindings, for what no plan is made of.

That is what is asked about the schema itself, and operations that @skip or @include on null. It loads for one
object at a time.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from operator import attrgetter

from graphql import (
    DocumentNode,
    ExecutionResult,
    FieldNode,
    GraphQLError,
    GraphQLResolveInfo,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    execute,
    execute_sync,
)

from mercato.gateway.graphql.answer import BAD_USER_INPUT, Problem
from mercato.gateway.graphql.bindings import Attribute, Context, Events, Load, Resolve, Value
from mercato.gateway.graphql.errors import Reporter, told
from mercato.gateway.graphql.merging import Fragments
from mercato.gateway.graphql.schema import Schema

_Resolver = Callable[..., Value]


def bind(schema: Schema) -> None:
    """Give the schema's fields resolvers that do what their bindings say."""
    for field, binding in schema.bindings():
        match binding:
            case Attribute(get=str() as name):
                field.resolve = _got(attrgetter(name))
            case Attribute(get=get) if callable(get):
                field.resolve = _got(get)
            case Load():
                field.resolve = _loaded(binding)
            case Resolve():
                field.resolve = _resolved(binding)
            case Events() | Attribute():
                field.resolve = _got(lambda event: event)


async def run(
    schema: Schema,
    document: DocumentNode,
    operation: OperationDefinitionNode,
    variables: Mapping[str, Value],
    context: Context,
    root: Value = None,
) -> ExecutionResult:
    """Execute an operation; `root` is the event that a subscription is executed for."""
    result = execute(
        schema.graphql,
        document,
        root_value=root,
        context_value=context,
        variable_values=dict(variables),
        operation_name=operation.name.value if operation.name else None,
        hide_suggestions=True,
    )
    return await result if isinstance(result, Awaitable) else result


def ask_schema(
    schema: Schema,
    operation: OperationDefinitionNode,
    fragments: Fragments,
    fields: Sequence[FieldNode],
    variables: Mapping[str, Value],
) -> ExecutionResult:
    """Answer those fields of an operation's root that ask about the schema."""
    asking = OperationDefinitionNode(
        operation=OperationType.QUERY,
        variable_definitions=operation.variable_definitions,
        directives=(),
        selection_set=SelectionSetNode(selections=tuple(fields)),
    )
    return execute_sync(
        schema.graphql,
        DocumentNode(definitions=(asking, *fragments.values())),
        variable_values=dict(variables),
        hide_suggestions=True,
    )


def problems(result: ExecutionResult, reporter: Reporter) -> list[Problem]:
    """Return the errors of a result as the engine tells them."""
    return [_problem(error, reporter) for error in result.errors or ()]


def _problem(error: GraphQLError, reporter: Reporter) -> Problem:
    if error.path is None:
        return told(error, BAD_USER_INPUT)
    nodes = [node for node in error.nodes or () if isinstance(node, FieldNode)]
    name = nodes[0].name.value if nodes else ""
    return reporter.field(error.original_error or error, tuple(error.path), nodes, name)


def _got(get: Callable[[Value], Value]) -> _Resolver:
    def resolve(parent: Value, _: GraphQLResolveInfo[Value], /, **__: Value) -> Value:
        return get(parent)

    return resolve


def _loaded(binding: Load) -> _Resolver:
    async def resolve(parent: Value, info: GraphQLResolveInfo[Value], /, **args: Value) -> Value:
        (value,) = await binding.load(info.context, [parent], args)
        return value

    return resolve


def _resolved(binding: Resolve) -> _Resolver:
    async def resolve(_: Value, info: GraphQLResolveInfo[Value], /, **args: Value) -> Value:
        return await binding.resolve(info.context, args)

    return resolve
