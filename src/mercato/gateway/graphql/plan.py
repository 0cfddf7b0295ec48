"""Plans: what an operation asks for, worked out once for all requests that send it."""

from collections.abc import Callable, Iterator, Sequence

from graphql import FieldNode, GraphQLError, GraphQLLeafType

from mercato.gateway.graphql.bindings import Binding, Value
from mercato.gateway.graphql.variables import Arguments

TYPENAME = "__typename"
SCHEMA_FIELDS = frozenset({"__schema", "__type"})
Place = Callable[[Sequence[Value], Sequence[dict[str, Value]]], tuple[list[Value], list[dict[str, Value]]]]
"""Puts what came for a field into the rows that it came for.

Returns the objects beneath which more is to be loaded, and their rows. Raises if any value is not as it
should be; then it may have put some of them.
"""


class NotCompiled(Exception):
    """The plan is new, and is executed with care alone."""


def not_compiled(_: Value, __: Value) -> tuple[list[Value], list[dict[str, Value]]]:
    """Raise NotCompiled."""
    raise NotCompiled


class Field:
    """A field of a selection, with all the places of the document that ask for it."""

    __slots__ = (
        "arguments",
        "binding",
        "cost",
        "get",
        "index",
        "key",
        "leaf",
        "levels",
        "many",
        "name",
        "nodes",
        "place",
        "selection",
        "within",
    )

    def __init__(self, key: str, nodes: list[FieldNode], within: "Selection", index: int) -> None:
        self.key = key
        """Its name in the answer, which the client chose."""
        self.nodes = nodes
        self.within = within
        self.index = index
        """Its place in the selection, which is that of its errors, too."""
        self.name = nodes[0].name.value
        self.binding: Binding | None = None
        """None: `__typename`, and questions about the schema."""
        self.get: Callable[[Value], Value] | None = None
        """Gets it from the object's value; None where it is to be loaded."""
        self.levels: tuple[bool, ...] = (False,)
        """Whether null may stand for it; for its items, where it is a list; for theirs; and so on."""
        self.leaf: GraphQLLeafType | None = None
        self.selection: Selection | None = None
        self.arguments: Arguments | None = None
        self.cost = 0
        self.many: int | str = 1
        """How many objects it is taken to hold, or the argument that says so."""
        self.place: Place = not_compiled

    @property
    def label(self) -> str:
        """Its name in the schema."""
        return f"{self.within.of}.{self.name}"

    @property
    def asks_schema(self) -> bool:
        """It is answered by the schema itself."""
        return self.name in SCHEMA_FIELDS

    @property
    def is_typename(self) -> bool:
        """It is the name of the object's type."""
        return self.name == TYPENAME

    @property
    def is_local(self) -> bool:
        """It and all beneath it are parts of the object's value."""
        if self.get is None:
            return self.is_typename
        return self.selection is None or self.selection.is_local

    @property
    def is_placed(self) -> bool:
        """It is put into rows that are there already."""
        return not self.is_local and not self.asks_schema


class Selection:
    """What is asked for of objects of one type at one place of the operation."""

    __slots__ = ("cost", "failure", "fields", "links", "loads", "of", "owner")

    def __init__(self, of: str, owner: Field | None) -> None:
        self.of = of
        self.owner = owner
        """The field that gives the objects; None at the root."""
        self.fields: list[Field] = []
        self.links: list[Field] = []
        """Attributes beneath which something is to be loaded."""
        self.loads: list[Field] = []
        self.cost: int | None = None
        """None: that depends on variables."""
        self.failure: GraphQLError | None = None
        """Why nobody can say what is asked for, which is an error of each object."""

    @property
    def is_local(self) -> bool:
        """Nothing is to be loaded for it, nor beneath it."""
        return not self.links and not self.loads

    def all_fields(self) -> Iterator[Field]:
        """Go through its fields and all beneath them."""
        for field in self.fields:
            yield field
            if field.selection is not None:
                yield from field.selection.all_fields()


class Plan:
    """An operation, for given values of its conditions."""

    __slots__ = ("about_schema", "is_public", "kind", "root", "root_fields", "runs", "starts")

    def __init__(self, kind: str, root: Selection) -> None:
        self.kind = kind
        self.root = root
        self.starts = [field for field in root.loads if not field.asks_schema]
        """What an execution begins with."""
        self.about_schema = [field for field in root.loads if field.asks_schema]
        self.runs = 0
        self.is_public = kind == "query" and all(
            field.binding is None or field.binding.public for field in root.all_fields()
        )
        self.root_fields = tuple(field.name for field in root.fields)
