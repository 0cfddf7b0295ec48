"""The fields of selections, merged by the name that they have in the answer.

graphql-core compares every two fields of a name, and every two fragments, which a short document can make
take seconds. Where all types are objects, as here, it is enough to compare each field with the first of its
name: whether fields may be merged is then an equivalence.
"""

from collections.abc import Callable, Iterable, Mapping

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionNode,
    SelectionSetNode,
    print_ast,
)
from graphql.utilities.sort_value_node import sort_value_node

Fragments = Mapping[str, FragmentDefinitionNode]
Merged = dict[str, list[FieldNode]]
"""By name in the answer, in its order."""


def merge(
    selection_sets: Iterable[SelectionSetNode],
    fragments: Fragments,
    includes: Callable[[SelectionNode], bool] = lambda _: True,
) -> Merged:
    """Return the fields of selections on one object type, as the specification's CollectFields does."""
    merged: Merged = {}
    visited: set[str] = set()
    # The next to be looked at is the last: selections are put there in reverse.
    stack: list[SelectionNode] = []
    for selection_set in selection_sets:
        stack.extend(reversed(selection_set.selections))
        while stack:
            node = stack.pop()
            if not includes(node):
                continue
            match node:
                case FieldNode():
                    merged.setdefault((node.alias or node.name).value, []).append(node)
                case InlineFragmentNode():
                    stack.extend(reversed(node.selection_set.selections))
                case FragmentSpreadNode():
                    name = node.name.value
                    if name not in visited and name in fragments:
                        visited.add(name)
                        stack.extend(reversed(fragments[name].selection_set.selections))
    return merged


def conflicts(operation: OperationDefinitionNode, fragments: Fragments) -> list[GraphQLError]:
    """Return an error for the first two fields of an operation that have one name and cannot be merged."""
    stack = [[operation.selection_set]]
    while stack:
        for name, (first, *others) in merge(stack.pop(), fragments).items():
            for other in others:
                if (reason := _differ(first, other)) is not None:
                    message = (
                        f"Fields '{name}' conflict because {reason}. Use different aliases on the fields"
                        " to fetch both if this was intentional."
                    )
                    return [GraphQLError(message, [first, other])]
            inner = [each.selection_set for each in (first, *others) if each.selection_set is not None]
            if inner:
                stack.append(inner)
    return []


def _differ(one: FieldNode, other: FieldNode) -> str | None:
    if one.name.value != other.name.value:
        return f"'{one.name.value}' and '{other.name.value}' are different fields"
    return "they have differing arguments" if _arguments(one) != _arguments(other) else None


def _arguments(node: FieldNode) -> dict[str, str]:
    return {each.name.value: print_ast(sort_value_node(each.value)) for each in node.arguments or ()}
