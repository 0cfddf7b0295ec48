"""A bulkhead lends so many places, in turn, and lets no more than so many wait."""

import asyncio

import pytest

from mercato.adapters.bulkhead import Bulkhead
from mercato.kernel.errors import Overloaded


async def take(bulkhead: Bulkhead) -> None:
    await bulkhead.take("too many", "dependency")


async def started(*tasks: "asyncio.Task[None]") -> None:
    for _ in range(3):
        await asyncio.sleep(0)
    assert not any(task.done() for task in tasks)


async def test_who_finds_no_place_waits_and_who_finds_too_many_waiting_is_refused_at_once() -> None:
    bulkhead = Bulkhead(1, waiting=1)
    await take(bulkhead)
    waits = asyncio.create_task(take(bulkhead))
    await started(waits)

    with pytest.raises(Overloaded) as refused:
        await take(bulkhead)
    assert (refused.value.code, refused.value.reason) == ("SERVICE_UNAVAILABLE", "dependency")
    assert refused.value.retry_after == 1

    bulkhead.give_back()
    await waits
    assert (bulkhead.in_use, bulkhead.waiting) == (1, 0)


async def test_places_are_lent_in_the_order_in_which_they_were_asked_for() -> None:
    bulkhead, order = Bulkhead(1, waiting=5), []

    async def work(name: int) -> None:
        await take(bulkhead)
        order.append(name)
        bulkhead.give_back()

    await take(bulkhead)
    waiting = [asyncio.create_task(work(name)) for name in range(5)]
    await started(*waiting)
    bulkhead.give_back()
    await asyncio.gather(*waiting)
    assert order == [0, 1, 2, 3, 4]
    assert (bulkhead.in_use, bulkhead.waiting) == (0, 0)


@pytest.mark.parametrize("when", ["while it waits", "just as a place is handed over"])
async def test_who_goes_away_keeps_no_place(when: str) -> None:
    bulkhead = Bulkhead(1, waiting=1)
    await take(bulkhead)
    waits = asyncio.create_task(take(bulkhead))
    await started(waits)

    if when != "while it waits":
        bulkhead.give_back()
    waits.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waits
    if when == "while it waits":
        bulkhead.give_back()

    assert (bulkhead.in_use, bulkhead.waiting) == (0, 0)
    await asyncio.wait_for(take(bulkhead), 1)
