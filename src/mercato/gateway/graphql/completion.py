"""Careful completion: values become the answer one by one, and whatever is wrong is noted with its place.

The compiled way does the same for all values at once and gives up at the first that is not as it should be;
then everything is done again here. Getting an attribute twice is harmless, and nothing is loaded twice.
"""

from collections.abc import Callable, Sequence

from graphql import GraphQLLeafType, Undefined
from graphql.pyutils.is_iterable import is_iterable

from mercato.gateway.graphql.bindings import Value
from mercato.gateway.graphql.errors import NullError
from mercato.gateway.graphql.failures import Failures, Path
from mercato.gateway.graphql.plan import Field, Selection


class Completion:
    """Completes values as the specification's CompleteValue does; what fails is null, and noted."""

    __slots__ = ("_failures",)

    def __init__(self, failures: Failures) -> None:
        self._failures = failures

    def rows(self, selection: Selection, objects: Sequence[Value], paths: Sequence[Path]) -> list[Value]:
        """Return the answer's entries for objects. What is to be loaded is null in them."""
        return [self._row(selection, each, path) for each, path in zip(objects, paths, strict=True)]

    def values(self, field: Field, values: Sequence[Value], paths: Sequence[Path]) -> list[Value]:
        """Return what came for a field of objects at these paths: leaves are written, objects are kept."""
        return [
            self._complete(field, 0, value, (*path, field.key), lambda kept, _: kept)
            for value, path in zip(values, paths, strict=True)
        ]

    def got(self, field: Field, objects: Sequence[Value], paths: Sequence[Path]) -> list[Value]:
        """Return the values of an attribute, objects kept."""
        assert field.get is not None  # noqa: S101  it is an attribute
        values = []
        for each in objects:
            try:
                values.append(field.get(each))
            except Exception as error:  # noqa: BLE001  whatever it is, it becomes the field's error
                values.append(error)
        return self.values(field, values, paths)

    def _row(self, selection: Selection, value: Value, path: Path) -> dict[str, Value]:
        row: dict[str, Value] = {}
        for field in selection.fields:
            row[field.key] = selection.of if field.is_typename else None
            if field.get is None or not field.is_local:
                continue
            here = (*path, field.key)
            try:
                got = field.get(value)
            except Exception as error:  # noqa: BLE001  whatever it is, it becomes the field's error
                self._failed(field, here, error)
                continue
            row[field.key] = self._complete(field, 0, got, here, self._inner(field.selection))
        return row

    def _inner(self, selection: Selection | None) -> Callable[[Value, Path], Value]:
        assert selection is None or selection.is_local  # noqa: S101  what is to be loaded is loaded for many
        return lambda value, path: value if selection is None else self._row(selection, value, path)

    def _complete(
        self, field: Field, level: int, value: Value, path: Path, keep: Callable[[Value, Path], Value]
    ) -> Value:
        if isinstance(value, Exception):
            return self._failed(field, path, value)
        if value is None or value is Undefined:
            if not field.levels[level]:
                self._failed(field, path, NullError("null came where the schema promises a value"))
            return None
        if level < len(field.levels) - 1:
            return self._items(field, level, value, path, keep)
        if field.selection is not None and field.selection.failure is not None:
            return self._failed(field, path, field.selection.failure)
        if field.leaf is None:
            return keep(value, path)
        return self._written(field, field.leaf, value, path)

    def _items(
        self, field: Field, level: int, value: Value, path: Path, keep: Callable[[Value, Path], Value]
    ) -> Value:
        if not is_iterable(value):
            return self._failed(field, path, TypeError("what came is no list"))
        try:
            items = list(value)
        except Exception as error:  # noqa: BLE001  whatever it is, it becomes the field's error
            return self._failed(field, path, error)
        return [
            self._complete(field, level + 1, item, (*path, index), keep) for index, item in enumerate(items)
        ]

    def _written(self, field: Field, leaf: GraphQLLeafType, value: Value, path: Path) -> Value:
        try:
            written = leaf.coerce_output_value(value)
        except Exception as error:  # noqa: BLE001  whatever it is, it becomes the field's error
            return self._failed(field, path, error)
        if written is None or written is Undefined:
            return self._failed(field, path, TypeError("the value cannot be written"))
        return written

    def _failed(self, field: Field, path: Path, error: Exception) -> Value:
        self._failures.add(field, path, error)
        return None
