"""Passwords: Argon2id, off the event loop, at most so many at once."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from mercato.kernel.errors import Overloaded

if TYPE_CHECKING:
    from argon2 import PasswordHasher

P = ParamSpec("P")
T = TypeVar("T")

THREADS = 2
MAX_PENDING = 128
"""At some 50 ms each on two threads, whoever comes last waits about three seconds."""

_NOBODYS = "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5J3Mgc2FsdCE$" + "A" * 43
"""A hash of the same cost that no known password has."""


class Argon2Passwords:
    """Hashes and verifies passwords with OWASP's minimum: 19 MiB, two passes, one lane."""

    def __init__(self, *, threads: int = THREADS, max_pending: int = MAX_PENDING) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="passwords")
        self._max_pending = max_pending
        self._pending = 0

    async def hash(self, password: str) -> str:
        """Return a salted hash. Raises Unavailable when too many wait."""
        return await self._run(_hash, password)

    async def verify(self, password: str, hashed: str | None) -> bool:
        """Say whether the hash is the password's; without a hash, no, in the same time.

        Raises Unavailable when too many wait.
        """
        return await self._run(_verify, password, _NOBODYS if hashed is None else hashed)

    async def _run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        if self._pending >= self._max_pending:
            raise Overloaded("Too many people are signing in at this moment.", reason="passwords")
        self._pending += 1
        try:
            return await asyncio.wrap_future(self._threads.submit(work, *args, **kwargs))
        finally:
            self._pending -= 1


@cache
def _hasher() -> "PasswordHasher":
    from argon2 import PasswordHasher  # noqa: PLC0415  not needed before the first password

    return PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


def _hash(password: str) -> str:
    return _hasher().hash(password)


def _verify(password: str, hashed: str) -> bool:
    hasher = _hasher()
    from argon2.exceptions import VerifyMismatchError  # noqa: PLC0415  as above

    try:
        return hasher.verify(hashed, password)
    except VerifyMismatchError:
        return False
