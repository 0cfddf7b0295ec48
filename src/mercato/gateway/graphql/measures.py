"""How large a document is where all its fragments are spread, found without spreading them.

Each definition is walked once; what it has of its fragments is added up from their own measures. So the work
is that of the text, whatever the text would grow to.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    InlineFragmentNode,
    ListValueNode,
    ObjectValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    ValueNode,
)

from mercato.gateway.graphql.answer import PARSE_FAILED, VALIDATION_FAILED, refused
from mercato.gateway.graphql.limits import Limits

_SCHEMA_FIELDS = frozenset({"__schema", "__type"})
_SCHEMA_LISTS = frozenset({"fields", "inputFields", "interfaces", "possibleTypes"})
"""Of the types that these lead to, each leads on to others: within each other they multiply the answer."""
_MOST_SCHEMA_LISTS = 1
_MOST_SCHEMA_DEPTH = 20
"""What tools ask for is 15 deep."""
_ENDLESS = 1 << 40


@dataclass(slots=True)
class _Spread:
    """A fragment somewhere in a definition: within how many fields, and lists of the schema's own."""

    name: str
    depth: int
    lists: int
    in_schema: bool


@dataclass(slots=True)
class _Size:
    """What a definition has: of its own at first, and then with all its fragments."""

    depth: int = 0
    schema_depth: int = 0
    """Of the fields that ask about the schema."""
    schema_lists: int = 0
    schema_aliases: int = 0
    aliases: int = 0
    selections: int = 0
    input_depth: int = 0
    root_fields: int = 0
    spreads: list[_Spread] = field(default_factory=list)

    def add(self, spread: _Spread, other: "_Size") -> None:
        """Add what a fragment has where it is spread."""
        inner = max(other.depth, other.schema_depth)
        if spread.in_schema:
            self.schema_depth = max(self.schema_depth, spread.depth + inner)
        else:
            self.depth = max(self.depth, spread.depth + other.depth)
            if other.schema_depth:
                self.schema_depth = max(self.schema_depth, spread.depth + other.schema_depth)
        self.schema_lists = max(self.schema_lists, spread.lists + other.schema_lists)
        self.schema_aliases = min(self.schema_aliases + other.schema_aliases, _ENDLESS)
        self.aliases = min(self.aliases + other.aliases, _ENDLESS)
        self.selections = min(self.selections + other.selections, _ENDLESS)
        self.input_depth = max(self.input_depth, other.input_depth)
        if spread.depth == 0:
            self.root_fields = min(self.root_fields + other.root_fields, _ENDLESS)


def check_size(document: DocumentNode, limits: Limits, *, introspection: bool) -> None:
    """Raise Refused where a document is over a limit, or has fragments in a circle."""
    fragments: dict[str, _Size] = {}
    operations: list[_Size] = []
    for definition in document.definitions:
        match definition:
            case FragmentDefinitionNode():
                about_schema = definition.type_condition.name.value.startswith("__")
                fragments[definition.name.value] = _walk(definition.selection_set, in_schema=about_schema)
            case OperationDefinitionNode():
                operations.append(_walk(definition.selection_set, in_schema=False))
                _add_defaults(operations[-1], definition)
            case _:
                pass  # Validation refuses it.
    for name in _inner_first(fragments):
        _spread(fragments[name], fragments)
    for operation in operations:
        _spread(operation, fragments)
        _check_operation(operation, limits, introspection=introspection)
    # Validation looks at each definition on its own, with all that it spreads.
    if sum(size.selections for size in (*operations, *fragments.values())) > limits.selections:
        raise refused(
            f"The document has more than {limits.selections} selections, with its fragments.",
            "TOO_MANY_SELECTIONS",
        )


def value_depth(value: object) -> int:
    """Return how many lists and objects are within each other in a variable's value, as JSON has it."""
    deepest, stack = 0, [(value, 0)]
    while stack:
        each, depth = stack.pop()
        deepest = max(deepest, depth)
        if isinstance(each, dict):
            stack.extend((inner, depth + 1) for inner in each.values())
        elif isinstance(each, list):
            stack.extend((inner, depth + 1) for inner in each)
    return deepest


def _walk(selection_set: SelectionSetNode, *, in_schema: bool) -> _Size:
    size = _Size()
    stack = [(selection_set, 0, 0, in_schema)]
    while stack:
        selections, depth, lists, about_schema = stack.pop()
        if not selections.selections:
            raise refused("A selection of fields is empty.", PARSE_FAILED)
        size.selections += len(selections.selections)
        for node in selections.selections:
            match node:
                case FieldNode():
                    asks = about_schema or node.name.value in _SCHEMA_FIELDS
                    within = lists + (asks and node.name.value in _SCHEMA_LISTS)
                    _add_field(size, node, depth, within, asks=asks)
                    if node.selection_set is not None:
                        stack.append((node.selection_set, depth + 1, within, asks))
                case InlineFragmentNode():
                    stack.append((node.selection_set, depth, lists, about_schema))
                case FragmentSpreadNode():
                    size.spreads.append(_Spread(node.name.value, depth, lists, about_schema))
    return size


def _add_field(size: _Size, node: FieldNode, depth: int, lists: int, *, asks: bool) -> None:
    if asks:
        size.schema_depth = max(size.schema_depth, depth + 1)
        size.schema_lists = max(size.schema_lists, lists)
        size.schema_aliases += node.alias is not None
    else:
        size.depth = max(size.depth, depth + 1)
    size.aliases += node.alias is not None
    size.root_fields += depth == 0
    for argument in node.arguments or ():
        size.input_depth = max(size.input_depth, _literal_depth(argument.value))


def _add_defaults(size: _Size, operation: OperationDefinitionNode) -> None:
    for variable in operation.variable_definitions or ():
        if variable.default_value is not None:
            size.input_depth = max(size.input_depth, _literal_depth(variable.default_value))


def _literal_depth(node: ValueNode) -> int:
    deepest, stack = 0, [(node, 0)]
    while stack:
        value, depth = stack.pop()
        deepest = max(deepest, depth)
        match value:
            case ListValueNode():
                stack.extend((each, depth + 1) for each in value.values)
            case ObjectValueNode():
                stack.extend((each.value, depth + 1) for each in value.fields)
            case _:
                pass
    return deepest


def _inner_first(fragments: dict[str, _Size]) -> Iterable[str]:
    spread = {name: {each.name for each in size.spreads} for name, size in fragments.items()}
    try:
        # Who spreads what does not exist hears of it from validation.
        return [name for name in TopologicalSorter(spread).static_order() if name in fragments]
    except CycleError as error:
        name = error.args[1][0]
        raise refused(f"Cannot spread fragment '{name}' within itself.", VALIDATION_FAILED) from None


def _spread(size: _Size, fragments: dict[str, _Size]) -> None:
    for spread in size.spreads:
        if (inner := fragments.get(spread.name)) is not None:
            size.add(spread, inner)


def _check_operation(size: _Size, limits: Limits, *, introspection: bool) -> None:
    if size.schema_depth and not introspection:
        raise refused("Questions about the schema are switched off here.", "INTROSPECTION_DISABLED")
    for held, most, what, code in (
        (size.depth, limits.depth, "fields within each other", "TOO_DEEP"),
        (size.schema_depth, _MOST_SCHEMA_DEPTH, "fields of the schema within each other", "TOO_DEEP"),
        (size.schema_lists, _MOST_SCHEMA_LISTS, "lists of the schema within each other", "TOO_DEEP"),
        (size.schema_aliases, 0, "aliases in questions about the schema", "TOO_MANY_ALIASES"),
        (size.aliases, limits.aliases, "aliases", "TOO_MANY_ALIASES"),
        (size.root_fields, limits.root_fields, "fields at its root", "TOO_MANY_ROOT_FIELDS"),
        (size.input_depth, limits.input_depth, "lists and objects within each other", "TOO_DEEP"),
    ):
        if held > most:
            raise refused(
                f"An operation may have {f'at most {most}' if most else 'no'} {what}, with its fragments.",
                code,
            )
