"""What operations cost: each field as often as its object may be there."""

from graphql import GraphQLError
from graphql.execution.values import VariableValues

from mercato.gateway.graphql.bindings import Value
from mercato.gateway.graphql.plan import Field, Selection


def constant_cost(selection: Selection) -> int | None:
    """Return what a selection costs whatever the variables; None if that depends on them."""
    total = 0
    for field in selection.fields:
        total += field.cost
        if field.selection is not None:
            if field.selection.cost is None or isinstance(field.many, str):
                return None
            total += field.many * field.selection.cost
    return total


def cost(selection: Selection, variables: VariableValues, list_size: int) -> int:
    """Return what a selection costs. `list_size` is for lists of which nothing is said."""
    if selection.cost is not None:
        return selection.cost
    total = 0
    for field in selection.fields:
        total += field.cost
        if field.selection is not None:
            times = field.many
            if isinstance(times, str):
                times = size(field, times, variables, list_size)
            total += times * cost(field.selection, variables, list_size)
    return total


def size(field: Field, argument: str, variables: VariableValues, list_size: int) -> int:
    """Return how many objects a field may hold: what its argument says, or how many that names."""
    value: Value = None
    if field.arguments is not None:
        try:
            value = field.arguments.values(variables).get(argument)
        except GraphQLError:
            return list_size  # The field fails for this, and holds nothing.
    if isinstance(value, list):
        return len(value)
    return max(value, 0) if isinstance(value, int) else list_size
