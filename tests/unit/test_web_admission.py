"""Admission: who is let in, in whose turn, and who is refused; on a clock that the tests set."""

import asyncio
import math
from dataclasses import dataclass, field

import pytest

from mercato.kernel.errors import Overloaded
from mercato.web import admission
from mercato.web.admission import LEAST, MOST, Admission

DELAY_S = 0.2


@dataclass
class Clocked:
    """An admission in an event loop whose time stands still until it is moved."""

    now: float = 1_000.0
    behind: bool = False
    let_in: list[str] = field(default_factory=list)
    tasks: list["asyncio.Task[None]"] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.admission = Admission(DELAY_S, lambda: self.behind)
        loop = asyncio.get_running_loop()
        loop.time = lambda: self.now  # type: ignore[method-assign]

    async def ask(self, *whose: str) -> None:
        for each in whose:
            self.admission.check(each)
            self.tasks.append(asyncio.create_task(self._ask(each)))
        await self.settle()

    async def flood(self, whose: str, times: int) -> None:
        for _ in range(times):
            await self.ask(whose)

    @property
    def is_looked_at(self) -> bool:
        return self.admission._timer is not None

    async def _ask(self, whose: str) -> None:
        await self.admission.enter(whose)
        self.let_in.append(whose)

    async def settle(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)

    async def leave(self, count: int = 1) -> None:
        for _ in range(count):
            self.admission.leave()
        await self.settle()

    async def look(self, times: int = 1, *, late_s: float = 0.0) -> None:
        """Let time pass until the next look, which may come late."""
        for _ in range(times):
            self.now += admission.TICK_S + late_s
            await self.settle()

    async def fill(self, whose: str = "acme") -> None:
        await self.ask(*[whose] * (math.ceil(self.admission.limit) - self.admission.in_use))


@pytest.fixture
async def clocked() -> Clocked:
    return Clocked()


async def test_while_there_is_room_nobody_waits(clocked: Clocked) -> None:
    await clocked.fill()
    assert (clocked.admission.in_use, clocked.admission.waiting) == (admission.FIRST, 0)


async def test_stores_are_served_in_turn_however_many_requests_one_of_them_has(clocked: Clocked) -> None:
    await clocked.fill()
    clocked.let_in.clear()
    await clocked.ask(*["noisy"] * 20, "quiet", *["noisy"] * 20, "quiet", "third")
    await clocked.leave(6)
    assert clocked.let_in == ["noisy", "quiet", "third", "noisy", "quiet", "noisy"]


async def test_a_store_with_more_waiting_than_its_share_in_time_is_refused_and_another_is_not(
    clocked: Clocked,
) -> None:
    await clocked.fill()
    await clocked.ask(*["noisy"] * 50)
    for _ in range(30):
        await clocked.leave()
        clocked.admission.limit = admission.FIRST
        await clocked.look()

    # A hundred leave in a second, so twenty in time, and there is but one store that waits.
    with pytest.raises(Overloaded) as refused:
        await clocked.flood("noisy", 25)
    assert (refused.value.code, refused.value.retry_after) == ("SERVICE_UNAVAILABLE", 1)
    assert refused.value.reason == "overload"
    await clocked.ask("quiet")
    await clocked.leave(2)
    assert clocked.let_in[-2:] == ["noisy", "quiet"]


async def test_a_burst_waits_and_is_not_refused(clocked: Clocked) -> None:
    await clocked.fill()
    await clocked.ask(*["acme"] * 500)
    assert clocked.admission.waiting == 500


async def test_in_an_overload_no_more_wait_than_can_be_served_in_time(clocked: Clocked) -> None:
    """Once the pace is known, nobody waits in vain."""
    await clocked.fill()
    per_look = 5
    served = refused = longest = 0
    for _ in range(300):
        for _ in range(3 * per_look):
            try:
                await clocked.ask("acme")
            except Overloaded:
                refused += 1
        before = len(clocked.let_in)
        await clocked.leave(per_look)
        served += len(clocked.let_in) - before
        clocked.admission.limit = admission.FIRST
        await clocked.look()
        if _in_the_steady_state(clocked):
            longest = max(longest, clocked.admission.waiting)
    assert served >= 0.95 * 300 * per_look, "the process was busy"
    assert refused > served
    assert longest <= 1.2 * DELAY_S * per_look / admission.TICK_S


def _in_the_steady_state(clocked: Clocked) -> bool:
    return clocked.now > 1_002


async def test_no_more_than_so_many_wait_in_all(clocked: Clocked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "MOST_WAITING", 10)
    await clocked.fill()
    await clocked.ask(*[f"store-{number}" for number in range(10)])
    with pytest.raises(Overloaded):
        clocked.admission.check("another")


async def test_who_goes_away_while_it_waits_takes_no_place(clocked: Clocked) -> None:
    await clocked.fill()
    await clocked.ask("gone", "acme")
    clocked.tasks[-2].cancel()
    await clocked.leave()
    assert clocked.let_in[-1] == "acme"
    assert (clocked.admission.in_use, clocked.admission.waiting) == (admission.FIRST, 0)


async def test_who_goes_away_as_it_is_let_in_leaves_its_place_to_the_next(clocked: Clocked) -> None:
    await clocked.fill()
    await clocked.ask("gone", "acme")
    clocked.admission.leave()
    clocked.tasks[-2].cancel()
    await clocked.settle()
    assert clocked.let_in[-1] == "acme"
    assert clocked.admission.in_use == admission.FIRST


async def test_the_limit_grows_while_all_of_it_is_used_and_nothing_is_behind(clocked: Clocked) -> None:
    for _ in range(100):
        await clocked.fill()
        await clocked.look()
    assert clocked.admission.limit == MOST


@pytest.mark.parametrize("late_s", [0.011, 0.0], ids=["the loop runs late", "a database is behind"])
async def test_it_shrinks_while_something_is_behind_and_never_below_the_least(
    clocked: Clocked, late_s: float
) -> None:
    await clocked.fill()
    clocked.behind = not late_s
    before = clocked.admission.limit
    await clocked.look(late_s=late_s)
    assert clocked.admission.limit == pytest.approx(0.9 * before)
    await clocked.look(100, late_s=late_s)
    assert clocked.admission.limit == LEAST


async def test_while_little_is_asked_for_nobody_looks(clocked: Clocked) -> None:
    looks = []
    await clocked.ask(*["acme"] * (LEAST - 1))
    looks.append(clocked.is_looked_at)
    await clocked.ask("acme")
    looks.append(clocked.is_looked_at)
    await clocked.leave()
    await clocked.look()
    looks.append(clocked.is_looked_at)
    assert looks == [False, True, False]


async def test_without_a_delay_all_are_let_in_at_once() -> None:
    everybody = Admission(0)
    for _ in range(5_000):
        everybody.check("acme")
        await everybody.enter("acme")
    assert everybody.in_use == 5_000
