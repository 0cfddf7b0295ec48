"""Execution of plans: level by level, with one call for all that is loaded of a kind at a level.

A level is what can be loaded once the levels before it are there. The objects that came are completed all at
once; where they have fields that are to be loaded themselves, these make the next level.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from graphql import ExecutionResult, GraphQLError
from graphql.execution.values import VariableValues

from mercato.gateway.graphql.answer import BAD_USER_INPUT, Problem
from mercato.gateway.graphql.batches import Batch, objects_in, put_back
from mercato.gateway.graphql.bindings import Args, Context, Load, Resolve, Value
from mercato.gateway.graphql.completion import Completion
from mercato.gateway.graphql.errors import Reporter, told
from mercato.gateway.graphql.failures import Failures
from mercato.gateway.graphql.plan import Field, Plan
from mercato.kernel.tracing import Span, span

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

    __slots__ = ("_completion", "_context", "_failures", "_plan", "_reporter", "_variables", "_wanted")

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
        return tuple(self._failures.problems)

    async def query(self, ask_schema: AskSchema) -> dict[str, Value] | None:
        """Return the data of a query."""
        root = self._start()
        self._wanted = [(field, root) for field in self._plan.starts]
        await self._load()
        if self._plan.about_schema:
            found = ask_schema(self._plan.about_schema)
            self._failures.problems += [told(error, BAD_USER_INPUT) for error in found.errors or ()]
            root.rows[0].update(found.data or {})
            if found.data is None:
                self._settled(root)
                return None
        return self._settled(root)

    async def mutation(self) -> dict[str, Value] | None:
        """Return the data of a mutation: each field with all beneath it before the next."""
        root = self._start()
        data: dict[str, Value] | None = self._settled(root)
        for field in self._plan.starts:
            self._wanted = [(field, root)]
            await self._load()
            data = self._settled(root)
            if data is None:
                break  # What is promised is not there: as the specification has it, nothing more is done.
        return data

    async def event(self, value: Value) -> dict[str, Value] | None:
        """Return the data for an event of a subscription, whose field has this value."""
        root = self._start()
        self._place(self._plan.starts[0], root, [value])
        await self._load()
        return self._settled(root)

    def _start(self) -> Batch:
        root = self._plan.root
        row: dict[str, Value] = {field.key: root.of if field.is_typename else None for field in root.fields}
        return Batch(root, [_ROOT], [row], None, ())

    def _settled(self, root: Batch) -> dict[str, Value] | None:
        data = root.rows[0]
        return None if self._failures.settle(data) else data

    async def _load(self) -> None:
        """Load what is wanted, and what that makes wanted, until there is nothing more."""
        while self._wanted:
            calls = self._calls()
            came = await self._call_all(calls)
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

    async def _call_all(self, calls: Sequence[_Call]) -> list[Sequence[Value]]:
        if len(calls) < 2:
            return [await self._call(call) for call in calls]
        # One of them needs no task of its own.
        tasks = [asyncio.create_task(self._call(call)) for call in calls[1:]]
        try:
            return [await self._call(calls[0]), *[await task for task in tasks]]
        except BaseException:  # It is cancelled: calls themselves do not raise.
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            raise

    async def _call(self, call: _Call) -> Sequence[Value]:
        """Return a value, or an exception, for each object of a call."""
        objects = call.places[0][1].objects if len(call.places) == 1 else call.objects()
        with span("load") as loading:
            if loading.recorded:
                loading.rename(f"load {call.places[0][0].label}")
                loading.set("mercato.objects", len(objects))
            return await self._loaded(call, objects, loading)

    async def _loaded(self, call: _Call, objects: Sequence[Value], loading: Span) -> Sequence[Value]:
        binding = call.binding
        try:
            if isinstance(binding, Resolve):
                return [await binding.resolve(self._context, call.args)] * len(objects)
            if binding.key is None:
                return _checked(objects, await binding.load(self._context, objects, call.args))
            keys = list(map(binding.key, objects))
            by_key = dict(zip(keys, objects, strict=True))
            unique = list(by_key.values())
            values = _checked(unique, await binding.load(self._context, unique, call.args))
            if len(unique) == len(objects):
                return values
            found = dict(zip(by_key, values, strict=True))
            return [found[key] for key in keys]
        except Exception as error:  # noqa: BLE001  whatever it is, it becomes the fields' error
            loading.fail(type(error).__name__)
            return [error] * len(objects)

    def _place(self, field: Field, parents: Batch, values: Sequence[Value]) -> None:
        """Put what came for a field of a batch's objects into their rows; more may be wanted then."""
        try:
            objects, rows = field.place(values, parents.rows)
        except Exception:  # noqa: BLE001  it is done again with care, which tells what is wrong
            self._place_with_care(field, parents, values)
            return
        if objects and field.selection is not None:
            self._go_on(Batch(field.selection, objects, rows, parents, values))

    def _place_with_care(self, field: Field, parents: Batch, values: Sequence[Value]) -> None:
        values = self._completion.values(field, values, parents.paths)
        written: Sequence[Value] = values
        if field.selection is not None:
            lists = len(field.levels) - 1
            batch = Batch(field.selection, objects_in(values, lists), [], parents, values)
            batch.rows = self._completion.rows(field.selection, batch.objects, batch.paths)
            written = put_back(values, lists, iter(batch.rows))
            self._go_on(batch)
        for row, value in zip(parents.rows, written, strict=True):
            row[field.key] = value

    def _go_on(self, batch: Batch) -> None:
        """Go on with what is beneath a batch's objects and is no part of their rows yet."""
        for link in batch.selection.links:
            assert link.get is not None  # noqa: S101  links are attributes
            try:
                got = list(map(link.get, batch.objects))
            except Exception:  # noqa: BLE001  it is done again with care, which tells what is wrong
                got = self._completion.got(link, batch.objects, batch.paths)
            self._place(link, batch, got)
        for field in batch.selection.loads:
            self._wanted.append((field, batch))


def _checked(objects: Sequence[Value], values: Sequence[Value]) -> Sequence[Value]:
    if len(values) != len(objects):
        raise ValueError(f"{len(values)} values came for {len(objects)} objects")
    return values if values.__class__ is list else list(values)
