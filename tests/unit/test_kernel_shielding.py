"""Work that goes on though whoever waits for it goes away."""

import asyncio
import gc
import logging
from typing import Any

import pytest

from mercato.kernel.errors import NotFound
from mercato.kernel.shielding import shielded


async def abandoned(error: Exception | None, caplog: pytest.LogCaptureFixture) -> list[str]:
    """Go away from work that ends so; return what is told in the log of it, by the event loop too."""
    go_on, told_by_loop = asyncio.Event(), list[dict[str, Any]]()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: told_by_loop.append(context))

    async def work() -> str:
        await go_on.wait()
        if error is not None:
            raise error
        return "done"

    task = asyncio.create_task(work())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await shielded(task)
    assert not task.done()
    go_on.set()
    await asyncio.wait([task])
    del task
    gc.collect()
    loop.set_exception_handler(None)
    assert told_by_loop == []
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


async def test_who_waits_gets_what_comes_of_it() -> None:
    async def succeed() -> str:
        return "done"

    async def fail() -> None:
        raise NotFound("It is not there.")

    assert await shielded(asyncio.create_task(succeed())) == "done"
    with pytest.raises(NotFound, match="not there"):
        await shielded(asyncio.create_task(fail()))


async def test_of_what_ends_well_and_of_a_refusal_nobody_is_told(caplog: pytest.LogCaptureFixture) -> None:
    assert await abandoned(None, caplog) == []
    assert await abandoned(NotFound("It is not there."), caplog) == []


async def test_a_failure_that_nobody_waits_for_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    assert await abandoned(ZeroDivisionError(), caplog) == ["work failed that nobody waits for any more"]
