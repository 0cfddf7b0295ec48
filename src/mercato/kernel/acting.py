"""For whom the present task works: the store that authentication or an event has named, or the platform.

Every statement names its store. This says it once more, apart from the statements, so that a database
can hold each of them to it: a second fence, for the day on which the first has a hole.
"""

from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from mercato.kernel.tenancy import TenantId

P = ParamSpec("P")
T = TypeVar("T")

_acting: ContextVar[TenantId | None] = ContextVar("acting", default=None)


def acting_for() -> TenantId | None:
    """Return the store that the task works for; None for the platform's own work, on every store."""
    return _acting.get()


def act_for(tenant: TenantId | None) -> None:
    """Let the rest of this task, and the tasks that it starts, work for one store, or for the platform."""
    _acting.set(tenant)


@contextmanager
def acting(tenant: TenantId | None) -> Iterator[None]:
    """Work for one store, or for the platform, for a while."""
    before = _acting.set(tenant)
    try:
        yield
    finally:
        _acting.reset(before)


def as_platform(work: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """Let a function work on every store, whomever it is called for: what it does is the platform's."""

    @wraps(work)
    async def working(*args: P.args, **options: P.kwargs) -> T:
        with acting(None):
            return await work(*args, **options)

    return working
