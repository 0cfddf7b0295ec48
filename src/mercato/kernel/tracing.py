"""Where the present task is in a trace, in the terms of W3C Trace Context (level 1) and OpenTelemetry.

Every request and every event belongs to a trace, whose id stands in the log and is passed on. Few are
recorded: the others cost two random numbers and one context variable. `span` is called wherever something
takes time; unless the trace is recorded it does nothing.
"""

import os
import random
import re
import time
from contextvars import ContextVar
from enum import IntEnum
from types import TracebackType
from typing import Protocol, Self

from mercato.kernel import errors

Value = str | int | float | bool
"""What a span may tell: names, codes, counts. Never bodies, tokens, addresses of people, or queries."""

MAX_STATE = 512
"""Characters of a tracestate that are passed on at the least (W3C, section 3.3.1.5), and here at the most."""
_traceparent = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?").fullmatch
_tracestate = re.compile(r"[\x20-\x7e\t]*").fullmatch
_ours = random.Random()  # noqa: S311  ids tell traces apart and guard nothing
os.register_at_fork(after_in_child=_ours.seed)


class SpanKind(IntEnum):
    """What a span is to those around it, by OpenTelemetry's numbers."""

    INTERNAL = 1
    SERVER = 2
    CLIENT = 3
    PRODUCER = 4
    CONSUMER = 5


class Recorder(Protocol):
    """Takes spans that have ended."""

    def record(self, span: "Recorded") -> None:
        """Take one. Never waits and never raises: what cannot be kept is dropped and counted."""
        ...


class TraceContext:
    """A place in a trace: what happens next is part of its span."""

    __slots__ = ("recorder", "sampled", "span_id", "state", "trace_id")

    def __init__(
        self, trace_id: str, span_id: str, *, sampled: bool, state: str = "", recorder: Recorder | None = None
    ) -> None:
        """If it is `sampled` it is recorded, here by `recorder` or by others; `state` is their tracestate."""
        self.trace_id = trace_id
        self.span_id = span_id
        self.sampled = sampled
        self.state = state
        self.recorder = recorder

    @property
    def traceparent(self) -> str:
        """The place as it is passed on."""
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"


_current: ContextVar[TraceContext | None] = ContextVar("trace", default=None)
current = _current.get
"""Returns where the task is; None outside of any trace."""
enter = _current.set
"""Lets the rest of the task, and the tasks that it starts, be at a place, or outside of any trace."""


def trace_id() -> str | None:
    """Return the id of the task's trace, 32 hexadecimal digits; None outside of any."""
    here = _current.get()
    return None if here is None else here.trace_id


def read_context(traceparent: str | None, tracestate: str | None = None) -> TraceContext | None:
    """Read where a call or an event comes from; None where it does not say or says nonsense.

    A later version's header is read as far as this one's goes (W3C, section 4.3). A tracestate that is too
    long or malformed is left out, and the traceparent counts all the same.
    """
    found = None if traceparent is None or len(traceparent) > MAX_STATE else _traceparent(traceparent)
    if found is None:
        return None
    version, trace, parent, flags, more = found.groups()
    if version == "ff" or (version == "00" and more is not None) or not trace.strip("0"):
        return None
    if not parent.strip("0"):
        return None
    state = tracestate or ""
    if len(state) > MAX_STATE or not _tracestate(state):
        state = ""
    return TraceContext(trace, parent, sampled=int(flags, 16) & 1 == 1, state=state)


class Span:
    """A piece of work. This one is part of a trace that nobody records, and costs nothing."""

    __slots__ = ()
    recorded = False

    def set(self, name: str, value: Value) -> None:
        """Tell something of it, by the name that OpenTelemetry's conventions have for it."""

    def rename(self, name: str) -> None:
        """Give it the name that is known only now. Names are few: no ids in them."""

    def fail(self, error_type: str) -> None:
        """Say that it failed, by a code or a type of error, never by its words."""

    def end(self) -> None:
        """Say that it is over, and go back to where the task was before it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


NOT_RECORDED = Span()


class _Passing(Span):
    """The first piece of work of a trace here, which nobody records: it only knows the way back."""

    __slots__ = ("_before",)

    def __init__(self, context: TraceContext | None) -> None:
        self._before = _current.get()
        _current.set(context)

    def end(self) -> None:
        """Go back to where the task was before it."""
        _current.set(self._before)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _current.set(self._before)


class Recorded(Span):
    """A piece of work that is recorded. It begins when it is made."""

    __slots__ = (
        *("_before", "_began", "_entered", "attributes", "context", "duration_ns", "error_type"),
        *("kind", "name", "parent_id", "started_ns"),
    )
    recorded = True

    def __init__(
        self, name: str, kind: SpanKind, *, parent: TraceContext | None, context: TraceContext
    ) -> None:
        """`context` is its own place, whose recorder takes it when it has ended."""
        self.name = name
        self.kind = kind
        self.attributes: dict[str, Value] = {}
        self.context = context
        self.parent_id = "" if parent is None else parent.span_id
        self.error_type = ""
        self.duration_ns = -1
        self.started_ns = time.time_ns()
        self._began = time.perf_counter_ns()
        self._entered = False
        self._before: TraceContext | None = None

    def entered(self) -> Self:
        """Let the task be within it until it ends."""
        self._before, self._entered = _current.get(), True
        _current.set(self.context)
        return self

    def set(self, name: str, value: Value) -> None:
        """Tell something of it."""
        self.attributes[name] = value

    def rename(self, name: str) -> None:
        """Give it another name."""
        self.name = name

    def fail(self, error_type: str) -> None:
        """Say that it failed."""
        self.error_type = error_type

    def end(self) -> None:
        """Hand it to its recorder, once."""
        if self.duration_ns >= 0:
            return
        self.duration_ns = time.perf_counter_ns() - self._began
        if self._entered:
            _current.set(self._before)
        recorder = self.context.recorder
        if recorder is not None:
            recorder.record(self)

    def forget(self) -> None:
        """End without being recorded, as if it had not been."""
        self.context.recorder = None
        self.end()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._ended_by(error)
        self.end()

    def _ended_by(self, error: BaseException) -> None:
        """Tell how it ended. A refusal is an answer; what nobody asked for is a failure."""
        if not isinstance(error, errors.MercatoError):
            self.fail(type(error).__name__)
        elif error.kind in {errors.Kind.UNAVAILABLE, errors.Kind.INTERNAL}:
            self.fail(error.code)
        else:
            self.attributes["mercato.refused"] = error.code


def span(name: str, kind: SpanKind = SpanKind.INTERNAL) -> Span:
    """Begin a piece of work within the task's trace; use it in a `with`."""
    here = _current.get()
    if here is None or here.recorder is None:
        return NOT_RECORDED
    return _within(here, name, kind, here.recorder).entered()


def _within(parent: TraceContext, name: str, kind: SpanKind, recorder: Recorder) -> Recorded:
    place = TraceContext(parent.trace_id, new_span_id(), sampled=True, state=parent.state, recorder=recorder)
    return Recorded(name, kind, parent=parent, context=place)


def new_trace_id() -> str:
    """Return an id that no other trace has."""
    return f"{_ours.getrandbits(128) | 1:032x}"


def new_span_id() -> str:
    """Return an id that no other span of a trace has."""
    return f"{_ours.getrandbits(64) | 1:016x}"


class Tracing:
    """Begins traces, and goes on with those that calls and events come from."""

    def __init__(self, recorder: Recorder | None = None, share: float = 0.0) -> None:
        """Of the traces that begin here `share` is recorded, from 0 to 1.

        Without a recorder none is, and none begins: where calls come from is passed on, and that is all.
        """
        self._recorder = recorder
        self._share = share

    @property
    def records(self) -> bool:
        """Whether any trace is recorded here."""
        return self._recorder is not None

    def begin(
        self,
        name: str,
        kind: SpanKind,
        parent: TraceContext | None = None,
        *,
        trusted: bool = False,
        worth: bool = True,
    ) -> Span:
        """Begin a piece of work that comes from outside of the task; `end` it, or use it in a `with`.

        A `trusted` parent has decided whether the trace is recorded. A stranger's is decided on here, as
        if it began here: by a number of our own, since whoever chose the trace's id could choose one that
        is recorded. What is not `worth` it never is.
        """
        recorder = self._recorder
        if parent is not None and trusted:
            sampled = parent.sampled
        else:
            sampled = recorder is not None and worth and _ours.random() < self._share
        if parent is None:
            if recorder is None:
                return _Passing(None)
            context = TraceContext(new_trace_id(), new_span_id(), sampled=sampled)
        elif sampled and recorder is not None:
            return _within(parent, name, kind, recorder).entered()
        else:
            # Nobody records what comes next in place of the parent.
            context = TraceContext(parent.trace_id, parent.span_id, sampled=sampled, state=parent.state)
        if not sampled or recorder is None:
            return _Passing(context)
        context.recorder = recorder
        return Recorded(name, kind, parent=None, context=context).entered()

    def part(self, name: str, kind: SpanKind, parent: TraceContext | None) -> Span:
        """Begin a piece of work within a trusted parent, while the task stays where it is; `end` it."""
        if parent is None or not parent.sampled or self._recorder is None:
            return NOT_RECORDED
        return _within(parent, name, kind, self._recorder)


UNTRACED = Tracing()
"""Records nothing, and begins no trace."""
