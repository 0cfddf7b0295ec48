"""A process whose machine's clock is wrong goes by the one that it shares with others."""

import logging
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from mercato.kernel import clock
from mercato.kernel.errors import Unavailable
from mercato.kernel.ids import begin_anew, id_in, uuid7
from mercato.runtime import timekeeping
from mercato.runtime.timekeeping import Timekeeper


@pytest.fixture(autouse=True)
def own_clock() -> Iterator[None]:
    yield
    clock.follow(ahead=timedelta())
    begin_anew()


class Server:
    """Somebody who tells the time."""

    def __init__(self, ahead_s: float) -> None:
        self.ahead_s = ahead_s
        self.away = False

    async def read(self) -> float:
        if self.away:
            raise Unavailable("It is away.")
        return time.time() + self.ahead_s


def following(server: Server) -> Timekeeper:
    return Timekeeper("database", server.read, needed=True)


def apart_s() -> float:
    """Return how far the process's time is ahead of the machine's."""
    return (clock.utc_now() - datetime.now(UTC)).total_seconds()


def moment_of(made: str) -> float:
    return int(made[:8] + made[9:13], 16) / 1000


@pytest.mark.parametrize("ahead_s", [600.0, -600.0])
async def test_time_and_ids_are_the_servers(ahead_s: float) -> None:
    before = uuid7()
    keeper = following(Server(ahead_s))
    await keeper.look()
    assert apart_s() == pytest.approx(ahead_s, abs=0.5)
    assert keeper.skew_s == pytest.approx(-ahead_s, abs=0.5)
    assert dict(keeper.measure.read()) == {("database",): keeper.skew_s}
    made = [uuid7() for _ in range(100)]
    assert moment_of(made[0]) - moment_of(before) == pytest.approx(ahead_s, abs=1)
    assert made == sorted(made)
    assert made[-1] < id_in(1)


async def test_what_may_be_the_way_there_and_back_changes_nothing() -> None:
    server = Server(0.01)
    await following(server).look()
    assert apart_s() == pytest.approx(0, abs=0.005)


async def test_an_answer_that_took_long_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timekeeping, "_SLOWEST_S", -1.0)
    await following(Server(600)).look()
    assert apart_s() == pytest.approx(0, abs=0.5)


async def test_a_server_that_goes_away_leaves_the_clock_as_it_is_and_one_that_is_mended_sets_it_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = Server(600)
    keeper = following(server)
    with caplog.at_level(logging.WARNING):
        await keeper.look()
        await keeper.look()
    (line,) = caplog.records
    assert (line.message, line.__dict__["dependency"], line.__dict__["ahead_s"]) == (
        "this machine's clock is wrong, and is not followed",
        "database",
        -600.0,
    )
    server.away = True
    with pytest.raises(Unavailable):
        await keeper.look()
    assert apart_s() == pytest.approx(600, abs=0.5)
    server.away, server.ahead_s = False, 0.0
    await keeper.look()
    assert apart_s() == pytest.approx(0, abs=0.5)
