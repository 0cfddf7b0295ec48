"""Random GraphQL documents that are valid for the schema of `graphql_world`, with variables for them."""

import random
from dataclasses import dataclass, field
from typing import Any

from graphql import (
    GraphQLArgument,
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLObjectType,
    GraphQLSchema,
    get_named_type,
    is_leaf_type,
    is_list_type,
    is_non_null_type,
    is_required_argument,
    is_required_input_field,
)

_MOST_DEPTH = 4
_ALIASES = ("x", "y", "z")


@dataclass
class Drawn:
    """A document, and variables to execute it with."""

    text: str
    variables: list[dict[str, Any]]
    operation_name: str | None


@dataclass
class _Variable:
    name: str
    type: str
    has_default: bool


@dataclass
class Documents:
    """Draws documents. Everything is decided by `chance`, so that failures can be made smaller."""

    schema: GraphQLSchema
    chance: random.Random
    may_conflict: bool = False
    """Fields of one name in the answer may be such as cannot be merged."""
    variables: list[_Variable] = field(default_factory=list)
    fragments: dict[str, tuple[str, str]] = field(default_factory=dict)
    """By name, the type and the text."""
    keys: dict[tuple[str, str], str] = field(default_factory=dict)
    """By type and name in the answer, the field that has it, with its arguments."""

    def document(self, kind: str) -> Drawn:
        """Draw a document with an operation of a kind, and perhaps another."""
        root = getattr(self.schema, f"{kind}_type")
        selection = self._root(root, kind)
        names = " ".join(f"${each.name}: {each.type}" for each in self.variables)
        operation = f"{kind} Main{f'({names})' if names else ''} {selection}"
        others = self.chance.choice([[], [], ["query Other { number }"]])
        parts = [operation, *(text for _, text in self.fragments.values()), *others]
        self.chance.shuffle(parts)
        variables = [self._values() for _ in range(3)]
        return Drawn(
            "\n".join(parts), variables, self.chance.choice(["Main", None]) if not others else "Main"
        )

    def _root(self, root: GraphQLObjectType, kind: str) -> str:
        if kind != "subscription":
            return self._selection(root, 0)
        # Nothing may be skipped at the root of a subscription.
        (name,) = root.fields
        nested = self._selection(get_named_type(root.fields[name].type), 1)
        return f"{{ {name}{self._arguments(root.fields[name].args)} {nested} }}"

    def _selection(self, of: GraphQLObjectType, depth: int) -> str:
        parts = [
            self._part(of, depth)
            for _ in range(self.chance.choice([1, 1, 2, 2, 3] if depth else [1, 2, 3, 4]))
        ]
        return f"{{ {' '.join(parts)} }}"

    def _part(self, of: GraphQLObjectType, depth: int) -> str:
        what = self.chance.random()
        if what < 0.08:
            return f"{self.chance.choice(['', 'kind: '])}__typename"
        if what < 0.18:
            condition = self.chance.choice(["", f" on {of.name}"])
            return f"...{condition}{self._directives()} {self._selection(of, depth)}"
        if what < 0.28:
            return self._spread(of, depth)
        names = list(of.fields)
        if depth >= _MOST_DEPTH:
            names = [name for name in names if is_leaf_type(get_named_type(of.fields[name].type))]
        return self._field(of, self.chance.choice(names), depth)

    def _spread(self, of: GraphQLObjectType, depth: int) -> str:
        known = [name for name, (type_, text) in self.fragments.items() if type_ == of.name and text]
        if known and self.chance.random() < 0.6:
            return f"...{self.chance.choice(known)}{self._directives()}"
        name = f"F{len(self.fragments)}"
        self.fragments[name] = (of.name, "")  # Nothing within it may spread it.
        text = f"fragment {name} on {of.name} {self._selection(of, depth)}"
        self.fragments[name] = (of.name, text)
        return f"...{name}{self._directives()}"

    def _field(self, of: GraphQLObjectType, name: str, depth: int) -> str:
        alias = self.chance.choice(
            ["x", "x", "y", None] if self.may_conflict else [None, None, None, *_ALIASES]
        )
        key = (of.name, alias or name)
        call = self.keys.get(key)
        if call is None or self.may_conflict:
            call = self.keys[key] = name + self._arguments(of.fields[name].args)
        inner = get_named_type(of.fields[call.partition("(")[0]].type)
        nested = ""
        if isinstance(inner, GraphQLObjectType):
            # A field that another place has chosen may lead on from the deepest level.
            nested = f" {self._selection(inner, depth + 1)}" if depth < _MOST_DEPTH else " { __typename }"
        return f"{f'{alias}: ' if alias else ''}{call}{self._directives()}{nested}"

    def _directives(self) -> str:
        if self.chance.random() < 0.8:
            return ""
        which = self.chance.random()
        if which < 0.4:
            value = self.chance.choice(["true", "false"])
        elif which < 0.9:
            value = self._variable("Boolean!", None)
        else:
            # It may be null where nothing may.
            value = self._variable("Boolean", self.chance.choice(["true", "false"]))
        return f" @{self.chance.choice(['skip', 'include'])}(if: {value})"

    def _arguments(self, arguments: dict[str, GraphQLArgument]) -> str:
        given = [
            f"{name}: {self._argument(argument)}"
            for name, argument in arguments.items()
            if is_required_argument(argument) or self.chance.random() < 0.5
        ]
        return f"({', '.join(given)})" if given else ""

    def _argument(self, argument: GraphQLArgument) -> str:
        if (
            is_non_null_type(argument.type)
            and not is_required_argument(argument)
            and self.chance.random() < 0.4
        ):
            # It has a default, so the variable may be null, which is found out when it is.
            return self._variable(str(argument.type.of_type), None)
        return self._literal(argument.type, 0)

    def _literal(self, type_: Any, depth: int) -> str:
        if self.chance.random() < 0.3:
            return self._variable(str(type_), None)
        if is_non_null_type(type_):
            return self._literal_of(type_.of_type, depth)
        return "null" if self.chance.random() < 0.1 else self._literal_of(type_, depth)

    def _literal_of(self, type_: Any, depth: int) -> str:
        if is_non_null_type(type_):
            return self._literal_of(type_.of_type, depth)
        if is_list_type(type_):
            if self.chance.random() < 0.2 and not is_list_type(type_.of_type):
                return self._literal_of(type_.of_type, depth)
            return (
                f"[{', '.join(self._literal(type_.of_type, depth) for _ in range(self.chance.randrange(3)))}]"
            )
        if isinstance(type_, GraphQLInputObjectType):
            given = [
                f"{name}: {self._literal(each.type, depth + 1)}"
                for name, each in type_.fields.items()
                if is_required_input_field(each) or (depth < 2 and self.chance.random() < 0.4)
            ]
            self.chance.shuffle(given)
            return f"{{{', '.join(given)}}}"
        if isinstance(type_, GraphQLEnumType):
            return str(self.chance.choice(list(type_.values)))
        return self.chance.choice(_LITERALS[type_.name])

    def _variable(self, type_: str, default: str | None) -> str:
        known = [each for each in self.variables if each.type == type_ and default is None]
        if known and self.chance.random() < 0.7:
            return f"${self.chance.choice(known).name}"
        name = f"v{len(self.variables)}"
        self.variables.append(
            _Variable(name, type_ if default is None else f"{type_} = {default}", bool(default))
        )
        return f"${name}"

    def _values(self) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for each in self.variables:
            type_, _, default = each.type.partition(" = ")
            is_required = type_.endswith("!") and not default
            if is_required or self.chance.random() < 0.7:
                values[each.name] = self._value(type_)
        if self.chance.random() < 0.1:
            values["unknown"] = 1
        return values

    def _value(self, type_: str) -> Any:
        if self.chance.random() < 0.03:
            return self.chance.choice(["wrong", 1.5, {"min": "x"}, [None], True])
        if type_.endswith("!"):
            type_ = type_[:-1]
        elif self.chance.random() < 0.2:
            return None
        if type_.startswith("["):
            if self.chance.random() < 0.2:
                return self._value(type_[1:-1])
            return [self._value(type_[1:-1]) for _ in range(self.chance.randrange(3))]
        if type_ == "Filter":
            value: dict[str, Any] = {"min": self._value("Int!")}
            for name, inner in (
                ("name", "String"),
                ("levels", "[Level!]"),
                ("sizeOf", "Float"),
                ("inner", "Filter"),
            ):
                if self.chance.random() < 0.3:
                    value[name] = self._value(inner)
            return value
        return self.chance.choice(_VALUES[type_])


_LITERALS = {
    "Int": ["0", "1", "-7", "2147483647"],
    "Float": ["1", "2.5", "-1e3"],
    "String": ['""', '"text"', '"""block"""'],
    "ID": ['"one"', "2"],
    "Boolean": ["true", "false"],
    "Stamp": ['"s1"'],
}
_VALUES: dict[str, list[Any]] = {
    "Int": [0, 1, -7, 3.0],
    "Float": [1, 2.5],
    "String": ["", "text"],
    "ID": ["one", 2],
    "Boolean": [True, False],
    "Stamp": ["s1"],
    "Level": ["LOW", "MID", "HIGH"],
}
