"""Compiled projection: Python written for a plan, which makes rows of the answer out of objects.

It takes the way on which nothing is wrong: attributes are read, their types looked at, dictionaries built.
Whatever is not as it should be raises, and `completion` does it again with care. What is written holds names
that come from here and from the bindings alone; all that comes from documents is passed to it as values.

For `{ id total tags lines { sku } user { name } }`, whose user is to be loaded, this is written:

    def s0(values):
        rows = []
        for v in values:
            if v is None: raise Abnormal
            a0 = v.id
            if a0.__class__ is not str: a0 = w0(a0)
            a1 = w1(v.total)
            ...
            rows.append({k0: a0, k1: a1, k2: a2, k3: a3, k4: None})
        return rows
"""

import math
from collections.abc import Callable, Hashable
from decimal import Decimal
from typing import Any

from graphql import GraphQLEnumType, GraphQLLeafType, Undefined

from mercato.gateway.graphql.bindings import Attribute, Value
from mercato.gateway.graphql.plan import Field, Plan, Selection

_PLAIN: dict[str, type] = {"String": str, "ID": str, "Boolean": bool}


class Abnormal(Exception):
    """Something is not as it should be."""


def compile_rows(plan: Plan, plain: dict[str, type]) -> None:
    """Give a plan's selections, and the leaves that it loads, their compiled rows."""
    writer = _Writer(plain)
    writer.selection(plan.root)
    writer.compile()


class _Writer:
    """Writes the source of one plan."""

    def __init__(self, plain: dict[str, type]) -> None:
        self._plain = _PLAIN | plain
        self._lines: list[str] = []
        self._names: dict[str, Any] = {"Abnormal": Abnormal}
        self._targets: list[tuple[str, Selection | Field]] = []

    def selection(self, selection: Selection) -> str:
        """Write the function for a selection, and those that it needs; return its name."""
        body: list[str] = []
        entries: list[str] = []
        for field in selection.fields:
            value = "None"
            if field.is_typename:
                value = self._name("t", selection.of)
            elif field.get is not None and field.is_local:
                value = f"a{len(entries)}"
                body += self._complete(field, 0, self._source(field), value)
            elif field.selection is not None:
                self.selection(field.selection)
            elif field.leaf is not None:
                lines = self._complete(field, 0, "v", "a")
                self._function(field, lines, "a")
            entries.append(f"{self._name('k', field.key)}: {value}")
        check = "if v is None: raise Abnormal"
        return self._function(selection, [check, *body], f"{{{', '.join(entries)}}}")

    def compile(self) -> None:
        """Compile what was written and hand it to the plan."""
        source = "\n".join(self._lines)
        exec(compile(source, "<plan>", "exec"), self._names)  # noqa: S102  it holds nothing from documents
        for name, target in self._targets:
            target.rows = self._names[name]

    def _function(self, target: Selection | Field, body: list[str], row: str) -> str:
        name = f"s{len(self._targets)}"
        self._targets.append((name, target))
        self._lines += [f"def {name}(values):", "    rows = []", "    for v in values:"]
        self._lines += [f"        {line}" for line in body]
        self._lines += [f"        rows.append({row})", "    return rows"]
        return name

    def _source(self, field: Field) -> str:
        assert isinstance(field.binding, Attribute)  # noqa: S101  only such are had here
        get = field.binding.get
        if isinstance(get, str) and get.isidentifier():
            return f"v.{get}"
        return f"{self._name('g', field.get)}(v)"

    def _complete(self, field: Field, level: int, source: str, target: str) -> list[str]:
        """Return the statements that take a value and leave in `target` what the answer shows of it."""
        if level == len(field.levels) - 1:
            return self._leaf(field, source, target) if field.leaf else self._object(field, source, target)
        lines = [f"if {target}.__class__ is not list and {target}.__class__ is not tuple: raise Abnormal"]
        if field.selection is not None and level == len(field.levels) - 2 and not field.levels[level + 1]:
            lines.append(f"{target} = {self.selection(field.selection)}({target})")
        else:
            item, items = f"{target}i", f"{target}l"
            inner = self._complete(field, level + 1, item, f"{target}_")
            lines += [f"{items} = []", f"for {item} in {target}:", *_indented(inner)]
            lines += [f"    {items}.append({target}_)", f"{target} = {items}"]
        if field.levels[level]:
            lines = [f"if {target} is not None:", *_indented(lines)]
        return [f"{target} = {source}", *lines]

    def _object(self, field: Field, source: str, target: str) -> list[str]:
        assert field.selection is not None  # noqa: S101  what is no leaf has one
        rows = self.selection(field.selection)
        if not field.levels[-1]:
            return [f"{target} = {rows}(({source},))[0]"]
        return [f"{target} = {source}", f"if {target} is not None: {target} = {rows}(({target},))[0]"]

    def _leaf(self, field: Field, source: str, target: str) -> list[str]:
        leaf, null = field.leaf, field.levels[-1]
        assert leaf is not None  # noqa: S101  whoever calls has looked
        if isinstance(leaf, GraphQLEnumType):
            return [f"{target} = {self._name('e', _names_of(leaf, null=null))}[{source}]"]
        write = self._name("w", _writer(leaf, null=null))
        plain = self._plain.get(leaf.name)
        if leaf.name == "Int":
            test = f"{target}.__class__ is not int or not -2147483648 <= {target} <= 2147483647"
        elif plain is not None:
            test = f"{target}.__class__ is not {self._name('c', plain)}"
        else:
            return [f"{target} = {write}({source})"]
        test = f"({test}) and {target} is not None" if null else test
        return [f"{target} = {source}", f"if {test}: {target} = {write}({target})"]

    def _name(self, prefix: str, value: object) -> str:
        name = f"{prefix}{len(self._names)}"
        self._names[name] = value
        return name


def _indented(lines: list[str]) -> list[str]:
    return [f"    {line}" for line in lines]


def _names_of(leaf: GraphQLEnumType, *, null: bool) -> dict[Hashable, str | None]:
    """Return by value what an enum calls it."""
    names: dict[Hashable, str | None] = {None: None} if null else {}
    for name, value in leaf.values.items():
        names.setdefault(value.value, name)
    return names


def _writer(leaf: GraphQLLeafType, *, null: bool) -> Callable[[Value], Value]:
    """Return what makes of a value of any type what the answer shows."""
    coerce = leaf.coerce_output_value
    is_float = leaf.name == "Float"

    def write(value: Value) -> Value:
        if is_float and value.__class__ is Decimal:
            number = float(value)
            if math.isfinite(number):
                return number
        if value is None and null:
            return None
        if value is None or isinstance(value, Exception):
            raise Abnormal
        written = coerce(value)
        if written is None or written is Undefined:
            raise Abnormal
        return written

    return write
