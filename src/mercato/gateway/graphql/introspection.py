"""Questions about the schema itself, which graphql-core's own executor answers: no plan is made for them."""

from collections.abc import Mapping, Sequence

from graphql import (
    DocumentNode,
    ExecutionResult,
    FieldNode,
    GraphQLSchema,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    execute_sync,
)

from mercato.gateway.graphql.bindings import Value
from mercato.gateway.graphql.merging import Fragments


def ask_schema(
    schema: GraphQLSchema,
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
        schema,
        DocumentNode(definitions=(asking, *fragments.values())),
        variable_values=dict(variables),
        hide_suggestions=True,
    )
