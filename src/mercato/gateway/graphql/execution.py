"""Execution of plans: level by level, with one call for all that is loaded of a kind at a level.

A level is what can be loaded once the levels before it are there. The objects that came are completed all at
once; where they have fields that are to be loaded themselves, these make the next level.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from graphql import ExecutionResult, GraphQLError
from graphql.execution.values import VariableValues

from mercato.gateway.graphql.answer import Problem
from mercato.gateway.graphql.batches import Batch, are_clean, objects_in, put_back
from mercato.gateway.graphql.bindings import Args, Context, Load, Resolve, Value
from mercato.gateway.graphql.completion import Completion
from mercato.gateway.graphql.errors import Reporter
from mercato.gateway.graphql.failures import Failures
from mercato.gateway.graphql.plan import Field, Plan, Selection
from mercato.gateway.graphql.reference import problems

_ROOT = object()
"""What the fields at the root are had from."""

AskSchema = Callable[[Sequence[Field]], ExecutionResult]
"""Answers fields that ask about the schema."""


@dataclass(slots=True, eq=False)
class _Call:
    """What is loaded at once: all places where the same is wanted, each with its objects."""

    binding: Load | Resolve
    args: Args
    places: list[tuple[Field, Batch]]

    def objects(self) -> list[Value]:
        """Return the objects of all places, one place's after the other's."""
        return [each for _, batch in self.places for each in batch.objects]


class Execution:
    """One execution of a plan."""

    def __init__(self, plan: Plan, variables: VariableValues, context: Context) -> None:
        self._plan = plan
        self._variables = variables
        self._context = context
        self._reporter = Reporter(context.request_id)
        self._failures = Failures(self._reporter)
        self._completion = Completion(self._failures)
        self._wanted: list[tuple[Field, Batch]] = []
        """What the next level is to load."""

    @property
    def problems(self) -> Sequence[Problem]:
        """The errors, in the order of the fields."""
        return self._failures.problems

    async def query(self, ask_schema: AskSchema) -> dict[str, Value] | None:
        """Return the data of a query."""
        root = self._start()
        self._wanted = [(field, root) for field in self._plan.root.loads if not field.asks_schema]
        await self._load()
        asked = [field for field in self._plan.root.loads if field.asks_schema]
        if asked:
            found = ask_schema(asked)
            self._failures.problems += problems(found, self._reporter)
            if found.data is None:
                return None
            root.rows[0].update(found.data)
        return self._settled(root)

    async def mutation(self) -> dict[str, Value] | None:
        """Return the data of a mutation: each field with all beneath it before the next."""
        root = self._start()
        data: dict[str, Value] | None = self._settled(root)
        for field in self._plan.root.loads:
            self._wanted = [(field, root)]
            await self._load()
            data = self._settled(root)
            if data is None:
                break  # What is promised is not there: as the specification has it, nothing more is done.
        return data

    async def event(self, value: Value) -> dict[str, Value] | None:
        """Return the data for an event of a subscription, whose field has this value."""
        root = self._start()
        self._place(self._plan.root.loads[0], root, [value])
        await self._load()
        return self._settled(root)

    def _start(self) -> Batch:
        root = self._plan.root
        batch = Batch(root, [_ROOT], None, ())
        self._make_rows(batch)
        return batch

    def _settled(self, root: Batch) -> dict[str, Value] | None:
        data = root.rows[0]
        return None if self._failures.settle(data) else data

    async def _load(self) -> None:
        """Load what is wanted, and what that makes wanted, until there is nothing more."""
        while self._wanted:
            calls = self._calls()
            if len(calls) == 1:
                came = [await self._call(calls[0])]
            else:
                came = await asyncio.gather(*map(self._call, calls))
            for call, values in zip(calls, came, strict=True):
                start = 0
                for field, batch in call.places:
                    end = start + len(batch.objects)
                    self._place(field, batch, values[start:end])
                    start = end

    def _calls(self) -> list[_Call]:
        wanted, self._wanted = self._wanted, []
        calls: list[_Call] = []
        for field, batch in wanted:
            if not batch.objects or field.arguments is None:
                continue
            try:
                args = field.arguments.values(self._variables)
            except GraphQLError as error:
                self._place(field, batch, [error] * len(batch.objects))
                continue
            for call in calls:
                if call.binding is field.binding and call.args == args:
                    call.places.append((field, batch))
                    break
            else:
                assert isinstance(field.binding, Load | Resolve)  # noqa: S101  attributes are not loaded
                calls.append(_Call(field.binding, args, [(field, batch)]))
        return calls

    async def _call(self, call: _Call) -> Sequence[Value]:
        """Return a value, or an exception, for each object of a call."""
        objects = call.places[0][1].objects if len(call.places) == 1 else call.objects()
        try:
            if isinstance(call.binding, Resolve):
                return [await call.binding.resolve(self._context, call.args)] * len(objects)
            if call.binding.key is None:
                return await self._loaded(call.binding, objects, call.args)
            keys = list(map(call.binding.key, objects))
            by_key = dict(zip(keys, objects, strict=True))
            values = await self._loaded(call.binding, list(by_key.values()), call.args)
            found = dict(zip(by_key, values, strict=True))
            return [found[key] for key in keys]
        except Exception as error:  # noqa: BLE001  whatever it is, it becomes the fields' error
            return [error] * len(objects)

    async def _loaded(self, binding: Load, objects: Sequence[Value], args: Args) -> Sequence[Value]:
        values = await binding.load(self._context, objects, args)
        if len(values) != len(objects):
            raise ValueError(f"{len(values)} values came for {len(objects)} objects")
        return values

    def _place(self, field: Field, batch: Batch, values: Sequence[Value]) -> None:
        """Put what came for a field of a batch's objects into their rows."""
        if field.selection is None:
            written = self._written(field, batch, values)
        else:
            if not are_clean(values, field.levels):
                values = self._completion.values(field, values, batch.paths)
            written = self._rows_of(field, field.selection, batch, values)
        key = field.key
        for row, value in zip(batch.rows, written, strict=True):
            row[key] = value

    def _written(self, field: Field, batch: Batch, values: Sequence[Value]) -> Sequence[Value]:
        try:
            return field.rows(values)
        except Exception:  # noqa: BLE001  it is done again with care, which tells what is wrong
            return self._completion.values(field, values, batch.paths)

    def _rows_of(
        self, field: Field, selection: Selection, batch: Batch, values: Sequence[Value]
    ) -> Sequence[Value]:
        lists = len(field.levels) - 1
        objects = objects_in(values, lists)
        inner = Batch(selection, objects, batch, values)
        self._make_rows(inner)
        if not lists and len(objects) == len(values):
            return inner.rows
        return put_back(values, lists, iter(inner.rows))

    def _make_rows(self, batch: Batch) -> None:
        """Make the rows of a batch, with all that need not be loaded; the rest is wanted from now on."""
        selection = batch.selection
        try:
            batch.rows = selection.rows(batch.objects)
        except Exception:  # noqa: BLE001  it is done again with care, which tells what is wrong
            batch.rows = self._completion.rows(selection, batch.objects, batch.paths)
        for link in selection.links:
            assert link.get is not None  # noqa: S101  links are attributes
            try:
                got = list(map(link.get, batch.objects))
            except Exception:  # noqa: BLE001  it is done again with care, which tells what is wrong
                got = self._completion.got(link, batch.objects, batch.paths)
            self._place(link, batch, got)
        if batch.selection.owner is not None:
            self._wanted += [(field, batch) for field in selection.loads]
