"""The errors of an operation: in the specification's order, and with what each takes along."""

from mercato.gateway.graphql.answer import Problem
from mercato.gateway.graphql.bindings import Value
from mercato.gateway.graphql.errors import Reporter
from mercato.gateway.graphql.plan import Field

Path = tuple[str | int, ...]


class Failures:
    """What has failed of an operation.

    Fields are had level by level, so errors come in another order than that of an executor which goes depth
    first, as graphql-core does; and that order decides which errors are told: once a place is null, nothing
    beneath it is. Therefore all are noted first, and settled together.
    """

    __slots__ = ("_noted", "_nulled", "_reporter", "problems")

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._noted: list[tuple[Field, Path, Exception]] = []
        self._nulled: set[Path] = set()
        self.problems: list[Problem] = []
        """Those that are told."""

    def add(self, field: Field, path: Path, error: Exception) -> None:
        """Note that a field, or an item of it, has failed. Null is to stand there for now."""
        self._noted.append((field, path, error))

    def settle(self, data: dict[str, Value]) -> bool:
        """Tell the errors that were noted and take away what goes with them; say whether that is all."""
        if self._noted:
            for field, path, error in sorted(self._noted, key=lambda noted: _order(noted[0], noted[1])):
                if not any(path[:length] in self._nulled for length in range(len(path) + 1)):
                    self.problems.append(self._reporter.field(error, path, field.nodes, field.label))
                    self._take(data, path[: _kept(field, path)])
            self._noted.clear()
        return () in self._nulled

    def _take(self, data: dict[str, Value], path: Path) -> None:
        self._nulled.add(path)
        if path:
            place: Value = data
            for step in path[:-1]:
                place = place[step]
            place[path[-1]] = None


def _order(field: Field, path: Path) -> tuple[int, ...]:
    """Return where in the answer a path is, counting fields in their order."""
    order = [0] * len(path)
    owner: Field | None = field
    for position in range(len(path) - 1, -1, -1):
        step = path[position]
        if isinstance(step, int):
            order[position] = step
        else:
            assert owner is not None  # noqa: S101  a path has a name for each field on the way
            order[position] = owner.index
            owner = owner.within.owner
    return tuple(order)


def _kept(field: Field, path: Path) -> int:
    """Return how much of a path may be null: the longest beginning of it for which the schema allows that."""
    owner: Field | None = field
    length = len(path)
    while owner is not None:
        level = 0
        while isinstance(path[length - 1 - level], int):
            level += 1
        for each in range(level, -1, -1):
            if owner.levels[each]:
                return length - (level - each)
        length -= level + 1
        owner = owner.within.owner
    return 0
