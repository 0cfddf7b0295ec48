"""Makes plans of validated operations."""

from collections.abc import Sequence
from operator import attrgetter

from graphql import (
    FieldNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLIncludeDirective,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLSkipDirective,
    GraphQLType,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionNode,
    SelectionSetNode,
    VariableNode,
    get_directive_values,
    get_nullable_type,
    is_leaf_type,
    is_list_type,
    is_object_type,
)
from graphql.execution.values import VariableValues

from mercato.gateway.graphql.bindings import Attribute, Resolve, snake
from mercato.gateway.graphql.costs import constant_cost, size
from mercato.gateway.graphql.merging import Fragments, merge
from mercato.gateway.graphql.plan import Field, Plan, Selection
from mercato.gateway.graphql.schema import Schema
from mercato.gateway.graphql.variables import NONE, Arguments

_CONDITIONS = frozenset({"skip", "include"})
_SCHEMA_COST = 100
"""What a question about the schema costs."""


class Planner:
    """Makes the plan of an operation for given values of its conditions."""

    def __init__(
        self, schema: Schema, fragments: Fragments, list_size: int, variables: VariableValues
    ) -> None:
        """Of the variables only those count that are conditions."""
        self._schema = schema
        self._fragments = fragments
        self._list_size = list_size
        self._variables = variables

    def plan(self, operation: OperationDefinitionNode) -> Plan:
        """Return the plan."""
        root = self._schema.graphql.get_root_type(operation.operation)
        assert root is not None  # noqa: S101  validation has looked
        return Plan(operation.operation.value, self._select(root, [operation.selection_set], None))

    def _select(
        self, of: GraphQLObjectType, selection_sets: Sequence[SelectionSetNode], owner: Field | None
    ) -> Selection:
        selection = Selection(of.name, owner)
        try:
            merged = merge(selection_sets, self._fragments, self._includes)
        except GraphQLError as error:
            merged = {}
            selection.failure = error
        for index, (key, nodes) in enumerate(merged.items()):
            field = Field(key, nodes, selection, index)
            selection.fields.append(field)
            if field.asks_schema:
                field.cost = _SCHEMA_COST
            elif not field.is_typename:
                self._describe(field, of)
        selection.loads = [each for each in selection.fields if each.get is None and not each.is_typename]
        selection.links = [each for each in selection.fields if each.get is not None and not each.is_local]
        selection.cost = constant_cost(selection)
        return selection

    def _describe(self, field: Field, of: GraphQLObjectType) -> None:
        definition = of.fields[field.name]
        binding = field.binding = self._schema.binding(of.name, field.name)
        if isinstance(binding, Attribute):
            field.get = attrgetter(binding.get) if isinstance(binding.get, str) else binding.get
        field.arguments = Arguments(definition, field.nodes[0])
        field.cost = binding.cost
        field.levels, inner = _unwrapped(definition.type)
        if is_leaf_type(inner):
            field.leaf = inner
        elif is_object_type(inner):
            nested = [node.selection_set for node in field.nodes if node.selection_set is not None]
            field.selection = self._select(inner, nested, field)
            field.many = self._many(field, binding.many)
            if isinstance(binding, Resolve) and binding.without is not None:
                dear, resolve = binding.without
                if all(each.label != dear for each in field.selection.all_fields()):
                    field.binding = resolve

    def _many(self, field: Field, many: int | str | None) -> int | str:
        if many is None:
            return self._list_size if len(field.levels) > 1 else 1
        if isinstance(many, int) or field.arguments is None:
            return many
        argument = snake(many)
        return argument if field.arguments.varies else size(field, argument, NONE, self._list_size)

    def _includes(self, node: SelectionNode) -> bool:
        """Say whether a part of a selection is asked for. Raises GraphQLError where a condition is null."""
        if not node.directives:
            return True
        skip = get_directive_values(GraphQLSkipDirective, node, self._variables)
        if skip is not None and skip["if"]:
            return False
        include = get_directive_values(GraphQLIncludeDirective, node, self._variables)
        return include is None or bool(include["if"])


def conditions(operation: OperationDefinitionNode, fragments: Fragments) -> tuple[str, ...]:
    """Return the variables that decide what of an operation is asked for."""
    names: dict[str, None] = {}
    visited: set[str] = set()
    stack: list[SelectionNode] = list(operation.selection_set.selections)
    while stack:
        node = stack.pop()
        for directive in node.directives or ():
            for argument in directive.arguments or ():
                if directive.name.value in _CONDITIONS and isinstance(argument.value, VariableNode):
                    names[argument.value.name.value] = None
        match node:
            case FieldNode(selection_set=SelectionSetNode() as inner):
                stack.extend(inner.selections)
            case InlineFragmentNode(selection_set=inner):
                stack.extend(inner.selections)
            case FragmentSpreadNode(name=name) if name.value not in visited:
                visited.add(name.value)
                stack.extend(fragments[name.value].selection_set.selections)
            case _:
                pass
    return tuple(names)


def _unwrapped(type_: GraphQLOutputType) -> tuple[tuple[bool, ...], GraphQLType]:
    """Return for a type and for each list in it whether null may stand there, and the innermost type."""
    levels: list[bool] = []
    while True:
        nullable = get_nullable_type(type_)
        levels.append(nullable is type_)
        if not is_list_type(nullable):
            return tuple(levels), nullable
        type_ = nullable.of_type
