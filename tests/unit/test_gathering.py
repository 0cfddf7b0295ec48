"""Objects that are asked for at about the same time are read in one statement, and never an old one."""

import asyncio
import random
from collections.abc import Sequence

import pytest

from mercato.adapters.sql import gathering
from mercato.adapters.sql.gathering import MOST_AT_ONCE, MOST_UNDER_WAY, Gathering
from mercato.kernel.acting import acting, acting_for
from mercato.kernel.errors import Unavailable
from mercato.kernel.tenancy import TenantId
from tests.waiting import until

SHOP, OTHER, LAST = TenantId("shop"), TenantId("other"), TenantId("last")


class Server:
    """Answers statements when it is told to. Every object says how often the server had been written to."""

    def __init__(self) -> None:
        self.statements: list[tuple[TenantId, list[str]]] = []
        self.begun: list[asyncio.Future[None]] = []
        self.writes = 0
        self.gathering = Gathering(self.find_many)

    async def find_many(self, tenant: TenantId, keys: Sequence[str]) -> dict[str, str]:
        assert acting_for() == tenant
        if tenant == LAST:
            return {}
        self.statements.append((tenant, sorted(keys)))
        goes_on: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.begun.append(goes_on)
        await goes_on
        return {key: f"{tenant} {key} {self.writes}" for key in keys if key != "none"}

    def ask(self, *keys: str, tenant: TenantId = SHOP) -> list[asyncio.Task[str | None]]:
        with acting(tenant):
            return [asyncio.create_task(self.gathering.find(tenant, key)) for key in keys]

    async def asked(self) -> list[list[str]]:
        """Return the keys of the statements that have begun, once all have had their turn who asked."""
        await asyncio.gather(*self.ask("none", tenant=LAST))
        return [keys for _, keys in self.statements]

    def answer(self, number: int, error: Exception | None = None) -> None:
        if error is None:
            self.begun[number].set_result(None)
        else:
            self.begun[number].set_exception(error)


@pytest.fixture(autouse=True)
def all_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine is, the next statement waits for one that is under way."""
    monkeypatch.setattr(gathering, "PATIENCE_S", 3600)


@pytest.fixture
async def server() -> Server:
    return Server()


async def test_those_who_ask_at_once_share_a_statement(server: Server) -> None:
    asking = server.ask("a", "b", "a", "none")
    assert await server.asked() == [["a", "b", "none"]]
    server.answer(0)
    assert await asyncio.gather(*asking) == ["shop a 0", "shop b 0", "shop a 0", None]


async def test_those_who_ask_meanwhile_share_the_next(server: Server) -> None:
    first = []
    for number in range(MOST_UNDER_WAY):
        first += server.ask(str(number))
        assert len(await server.asked()) == number + 1
    later = server.ask("a") + server.ask("b")
    assert len(await server.asked()) == MOST_UNDER_WAY
    later += server.ask("c")
    server.answer(1)
    assert (await server.asked())[MOST_UNDER_WAY:] == [["a", "b", "c"]]
    server.answer(0)
    server.answer(2)
    assert await asyncio.gather(*first, *later) == [f"shop {key} 0" for key in "01abc"]
    assert not server.gathering._under_way
    assert not server.gathering._next


async def test_statements_that_are_stuck_hold_up_nobody_else(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathering, "PATIENCE_S", 0.01)
    stuck = []
    for number in range(MOST_UNDER_WAY):
        stuck += server.ask("stuck")
        assert len(await server.asked()) == number + 1
    for number in range(MOST_UNDER_WAY, MOST_UNDER_WAY + 3):
        later = server.ask("a", "b")
        await until(lambda number=number: len(server.begun) > number)  # type: ignore[misc]  # mypy knows no defaults
        assert server.statements[number] == (SHOP, ["a", "b"])
        server.answer(number)
        assert await asyncio.gather(*later) == ["shop a 0", "shop b 0"]
    for number in range(MOST_UNDER_WAY):
        server.answer(number)
    assert set(await asyncio.gather(*stuck)) == {"shop stuck 0"}
    assert not server.gathering._under_way


async def test_nobody_is_given_what_was_read_before_they_asked(server: Server) -> None:
    early = server.ask("a")
    await server.asked()
    late = server.ask("a")
    assert await server.asked() == [["a"], ["a"]]
    server.answer(0)
    assert await early[0] == "shop a 0"
    server.writes += 1
    server.answer(1)
    assert await late[0] == "shop a 1"


async def test_stores_share_nothing(server: Server) -> None:
    asking = server.ask("a") + server.ask("a", tenant=OTHER)
    await server.asked()
    assert server.statements == [(SHOP, ["a"]), (OTHER, ["a"])]
    asking += server.ask("b") + server.ask("c") + server.ask("b", tenant=OTHER)
    await server.asked()
    # One store's crowd does not make another wait.
    assert server.statements[2:] == [(SHOP, ["b", "c"]), (OTHER, ["b"])]
    for number in range(4):
        server.answer(number)
    assert await asyncio.gather(*asking) == ["shop a 0", "other a 0", "shop b 0", "shop c 0", "other b 0"]


async def test_all_are_told_why_nothing_was_found_and_the_next_is_tried(server: Server) -> None:
    asking = server.ask("a", "b")
    await server.asked()
    server.answer(0, Unavailable("The database is away."))
    ended = await asyncio.gather(*asking, return_exceptions=True)
    assert [type(each) for each in ended] == [Unavailable, Unavailable]
    again = server.ask("a")
    await server.asked()
    server.answer(1)
    assert await again[0] == "shop a 0"


async def test_who_goes_away_holds_nobody_up(server: Server) -> None:
    asking = server.ask("a", "b")
    await server.asked()
    asking[0].cancel()
    server.answer(0)
    assert await asking[1] == "shop b 0"
    assert asking[0].cancelled()


async def test_a_statement_is_for_so_many_at_most(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MOST_AT_ONCE > 1
    monkeypatch.setattr(gathering, "MOST_AT_ONCE", 2)
    asking = server.ask("a", "b", "c")
    assert await server.asked() == [["c"], ["a", "b"]]
    server.answer(0)
    server.answer(1)
    assert await asyncio.gather(*asking) == ["shop a 0", "shop b 0", "shop c 0"]


@pytest.mark.parametrize("seed", range(10))
async def test_whatever_happens_each_is_given_its_own_and_no_old_one(seed: int) -> None:
    chance = random.Random(seed)
    writes = 0
    under_way = dict.fromkeys((SHOP, OTHER), 0)
    doomed: list[asyncio.Task[None]] = []

    async def take_a_while() -> None:
        for _ in range(chance.randrange(6)):
            await asyncio.sleep(0)

    async def find_many(tenant: TenantId, keys: Sequence[str]) -> dict[str, tuple[str, str, int]]:
        assert len(keys) == len(set(keys)) > 0
        under_way[tenant] += 1
        assert under_way[tenant] <= MOST_UNDER_WAY
        await take_a_while()
        if doomed:
            doomed.pop().cancel()
        seen = writes
        await take_a_while()
        under_way[tenant] -= 1
        if chance.random() < 0.1:
            raise Unavailable("The database is away.")
        return {key: (tenant, key, seen) for key in keys}

    gathered = Gathering(find_many)

    async def shopper(tenant: TenantId) -> None:
        nonlocal writes
        with acting(tenant):
            for _ in range(40):
                key, known = chance.choice("abcd"), writes
                try:
                    found = await gathered.find(tenant, key)
                except Unavailable:
                    continue
                assert found is not None
                assert found[:2] == (tenant, key)
                assert found[2] >= known
                writes += 1

    shoppers = [asyncio.create_task(shopper(chance.choice((SHOP, OTHER)))) for _ in range(12)]
    doomed += shoppers[:3]
    async with asyncio.timeout(20):
        ended = await asyncio.gather(*shoppers, return_exceptions=True)
    assert {type(each) for each in ended} <= {type(None), asyncio.CancelledError}
    assert [type(each) for each in ended].count(type(None)) >= 9
    assert not gathered._under_way
    assert not gathered._next
