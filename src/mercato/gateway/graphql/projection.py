"""Compiled placing: Python written for a plan, which makes rows of what came and puts them into the answer.

It takes the way on which nothing is wrong: attributes are read, their types looked at, dictionaries built.
Whatever is not as it should be raises, and `completion` does it again with care. What is written holds names
that come from here and from the bindings alone; all that comes from documents is passed to it as a value.

For `user { id name orders { id } }`, whose orders are to be loaded, this is written of `user`:

    def p0(values, rows):
        objects, made = [], []
        for row, v in zip(rows, values):
            a = v
            if a is not None:
                if isinstance(a, Exception): raise Abnormal
                a0 = a.id
                if a0.__class__ is not c1: a0 = w2(a0)
                a1 = ...
                objects.append(a)
                a = {k3: a0, k4: a1, k5: None}
                made.append(a)
            row[k6] = a
        return objects, made
"""

import math
from collections.abc import Callable, Hashable
from decimal import Decimal
from keyword import iskeyword

from graphql import GraphQLEnumType, GraphQLLeafType, Undefined

from mercato.gateway.graphql.bindings import Attribute, Value
from mercato.gateway.graphql.plan import Field, Plan

_TOO_DEEP = "    " * 19
"""Python takes no more than twenty loops within each other."""
_PLAIN: dict[str, type] = {"String": str, "ID": str, "Boolean": bool}


class Abnormal(Exception):
    """Something is not as it should be."""


def compile_plan(plan: Plan, plain: dict[str, type]) -> None:
    """Compile how all that a plan loads is placed. `plain` says by scalar what is put there as it is."""
    writer = _Writer(plain)
    for field in plan.root.all_fields():
        if field.is_placed:
            writer.place(field)
    writer.compile()


class _Writer:
    """Writes the source for one plan."""

    def __init__(self, plain: dict[str, type]) -> None:
        self._plain = _PLAIN | plain
        self._lines: list[str] = []
        self._names: dict[str, Value] = {"Abnormal": Abnormal, "Decimal": Decimal, "inf": math.inf}
        self._placed: list[Field] = []

    def place(self, field: Field) -> None:
        """Write the function that places what came for a field, unless Python would not take it."""
        lines = _indented(self._complete(field, 0, "v", "a"), 2)
        if any(line.startswith(_TOO_DEEP) for line in lines):
            return
        self._lines += [
            f"def p{len(self._placed)}(values, rows):",
            "    objects, made = [], []",
            "    for row, v in zip(rows, values):",
            *lines,
            f"        row[{self._name('k', field.key)}] = a",
            "    return objects, made",
        ]
        self._placed.append(field)

    def compile(self) -> None:
        """Compile what was written, and hand it to the plan."""
        exec(compile("\n".join(self._lines), "<plan>", "exec"), self._names)  # noqa: S102  nothing in it is a client's
        for number, field in enumerate(self._placed):
            field.place = self._names[f"p{number}"]

    def _complete(self, field: Field, level: int, source: str, target: str) -> list[str]:
        """Return the statements that take a value and leave in `target` what the answer shows of it."""
        if level == len(field.levels) - 1:
            if field.leaf is not None:
                return self._leaf(field.leaf, source, target, null=field.levels[level])
            lines = self._object(field, target)
        else:
            lines = self._list(field, level, target)
        if field.levels[level]:
            return [f"{target} = {source}", f"if {target} is not None:", *_indented(lines)]
        return [f"{target} = {source}", f"if {target} is None: raise Abnormal", *lines]

    def _list(self, field: Field, level: int, target: str) -> list[str]:
        item, items = f"{target}i", f"{target}l"
        return [
            f"if {target}.__class__ is not list and {target}.__class__ is not tuple: raise Abnormal",
            f"{items} = []",
            f"for {item} in {target}:",
            *_indented(self._complete(field, level + 1, item, f"{target}_")),
            f"    {items}.append({target}_)",
            f"{target} = {items}",
        ]

    def _object(self, field: Field, target: str) -> list[str]:
        """Return the statements that make of the object in `target` its row."""
        selection = field.selection
        assert selection is not None  # noqa: S101  what is no leaf has one
        if selection.failure is not None:
            return ["raise Abnormal"]
        lines = [f"if isinstance({target}, Exception): raise Abnormal"]
        entries: list[str] = []
        for each in selection.fields:
            value = "None"
            if each.is_typename:
                value = self._name("t", selection.of)
            elif each.is_local:
                value = f"{target}{len(entries)}"
                lines += self._complete(each, 0, self._source(each, target), value)
            entries.append(f"{self._name('k', each.key)}: {value}")
        row = f"{target} = {{{', '.join(entries)}}}"
        if selection.is_local:
            return [*lines, row]
        return [*lines, f"objects.append({target})", row, f"made.append({target})"]

    def _source(self, field: Field, target: str) -> str:
        assert isinstance(field.binding, Attribute)  # noqa: S101  all else is loaded
        get = field.binding.get
        if isinstance(get, str) and get.isidentifier() and not iskeyword(get):
            return f"{target}.{get}"
        return f"{self._name('g', field.get)}({target})"

    def _leaf(self, leaf: GraphQLLeafType, source: str, target: str, *, null: bool) -> list[str]:
        if isinstance(leaf, GraphQLEnumType):
            return [f"{target} = {self._name('e', _names_of(leaf, null=null))}[{source}]"]
        write = self._name("w", _writer(leaf, null=null))
        if leaf.name == "Float":
            lines = [
                f"if {target}.__class__ is Decimal: {target} = float({target})",
                f"elif {target}.__class__ is not float: {target} = {write}({target})",
                f"if not -inf < {target} < inf: raise Abnormal",
            ]
            lines = [f"if {target} is not None:", *_indented(lines)] if null else lines
            return [f"{target} = {source}", *lines]
        if leaf.name == "Int":
            test = f"{target}.__class__ is not int or not -2147483648 <= {target} <= 2147483647"
        elif leaf.name in self._plain:
            test = f"{target}.__class__ is not {self._name('c', self._plain[leaf.name])}"
        else:
            return [f"{target} = {write}({source})"]
        test = f"({test}) and {target} is not None" if null else test
        return [f"{target} = {source}", f"if {test}: {target} = {write}({target})"]

    def _name(self, prefix: str, value: Value) -> str:
        name = f"{prefix}{len(self._names)}"
        self._names[name] = value
        return name


def _indented(lines: list[str], times: int = 1) -> list[str]:
    return [f"{'    ' * times}{line}" for line in lines]


def _names_of(leaf: GraphQLEnumType, *, null: bool) -> dict[Hashable, str | None]:
    """Return by value what an enum calls it."""
    names: dict[Hashable, str | None] = {None: None} if null else {}
    for name, value in leaf.values.items():
        names.setdefault(value.value, name)
    return names


def _writer(leaf: GraphQLLeafType, *, null: bool) -> Callable[[Value], Value]:
    """Return what makes of a value of any type what the answer shows."""
    coerce = leaf.coerce_output_value

    def write(value: Value) -> Value:
        if value is None and null:
            return None
        if value is None or isinstance(value, Exception):
            raise Abnormal
        written = coerce(value)
        if written is None or written is Undefined:
            raise Abnormal
        return written

    return write
