"""Objects of one selection that are worked on together, and how they lie within lists."""

from collections.abc import Iterator, Sequence

from mercato.gateway.graphql.bindings import Value
from mercato.gateway.graphql.failures import Path
from mercato.gateway.graphql.plan import Selection


class Batch:
    """Objects that came together, and their rows in the answer."""

    __slots__ = ("_parents", "_paths", "_values", "objects", "rows", "selection")

    def __init__(
        self,
        selection: Selection,
        objects: Sequence[Value],
        rows: list[dict[str, Value]],
        parents: "Batch | None",
        values: Sequence[Value],
    ) -> None:
        """`values` is what came for each of the parents: an object, objects within lists, or null."""
        self.selection = selection
        self.objects = objects
        self.rows = rows
        self._parents = parents
        self._values = values
        self._paths: list[Path] | None = None

    @property
    def paths(self) -> list[Path]:
        """Where in the answer each row is. It is worked out where somebody asks: where something failed."""
        if self._paths is None:
            owner = self.selection.owner
            if self._parents is None or owner is None:
                self._paths = [()]
            else:
                self._paths = []
                for path, value in zip(self._parents.paths, self._values, strict=True):
                    _add_paths(self._paths, value, (*path, owner.key), len(owner.levels) - 1)
        return self._paths


def _add_paths(paths: list[Path], value: Value, path: Path, lists: int) -> None:
    if value is None:
        return
    if lists:
        for index, item in enumerate(value):
            _add_paths(paths, item, (*path, index), lists - 1)
    else:
        paths.append(path)


def objects_in(values: Sequence[Value], lists: int) -> list[Value]:
    """Return the objects that values hold within so many lists, in their order."""
    if not lists:
        return [value for value in values if value is not None]
    return [each for value in values if value is not None for each in objects_in(value, lists - 1)]


def put_back(values: Sequence[Value], lists: int, rows: Iterator[Value]) -> list[Value]:
    """Return values with the next row in the place of each object."""
    if not lists:
        return [None if value is None else next(rows) for value in values]
    return [None if value is None else put_back(value, lists - 1, rows) for value in values]
