"""What the present task is about, for the lines that it logs: a request, an event, or nobody's own work."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

from mercato.kernel import passing
from mercato.kernel.acting import acting_for


class Subject(Protocol):
    """What a task is about. It is asked only when something is logged, since most tasks log nothing."""

    def named(self) -> Mapping[str, str | None]:
        """Return its names, as far as they are known by now."""
        ...


subject: ContextVar[Subject | None] = ContextVar("subject", default=None)


def named() -> dict[str, str]:
    """Return by what names the present task's subject can be found again; empty where it has none."""
    about = subject.get()
    names: Mapping[str, str | None] = (
        {"request_id": passing.request_id(), "tenant": acting_for()} if about is None else about.named()
    )
    return {name: value for name, value in names.items() if value}


@contextmanager
def concerning(about: Subject) -> Iterator[None]:
    """Let what is logged meanwhile be about this."""
    before = subject.set(about)
    try:
        yield
    finally:
        subject.reset(before)
