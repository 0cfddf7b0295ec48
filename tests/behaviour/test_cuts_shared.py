"""Tokens that are cut off by one replica of users, and what the other replicas and services know of it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from mercato.adapters.identity.cut_list import HeardCuts, NoUnheardTokens
from mercato.adapters.identity.keys import KeyRing
from mercato.adapters.identity.revocations import Revocations
from mercato.adapters.identity.tokens import TokenTerms, TokenVerifier
from mercato.adapters.redis.connection import RedisLink
from mercato.adapters.redis.cuts import RedisCutList
from mercato.adapters.redis.signals import RedisSignals
from mercato.kernel.errors import Unauthenticated, Unavailable
from mercato.users.wiring import UsersShared
from tests.behaviour.users_platform import PASSWORD, SETTINGS, Platform, bearer, start
from tests.clock import FakeClock
from tests.conftest import OpenDatabase
from tests.redis_server import RedisServer
from tests.replicas import carried, linked
from tests.waiting import until

IN_TIME_S = 1.5
"""A second, and what a busy machine takes."""


@dataclass
class Elsewhere:
    """Another service, which has no part in users' database."""

    verifier: TokenVerifier
    heard: HeardCuts

    async def accepts(self, token: str) -> bool:
        try:
            await self.verifier.authenticate(token)
        except Unauthenticated:
            return False
        return True


@dataclass
class Town:
    """Two replicas of users on one database, and other services."""

    redis: RedisServer
    folder: Path
    one: Platform
    other: Platform
    stack: AsyncExitStack

    async def elsewhere(self) -> Elsewhere:
        """Start another service."""
        link = await self.stack.enter_async_context(linked(self.redis.url, "m"))
        signals = RedisSignals(link)
        terms = TokenTerms(SETTINGS.issuer, SETTINGS.audience, timedelta(seconds=SETTINGS.token_ttl_s))
        clock = FakeClock()
        revocations = Revocations(terms.lifetime, clock=clock)
        keys = KeyRing(self.folder / "keys")
        verifier = TokenVerifier(keys, terms, clock=clock, revocations=revocations)
        heard = HeardCuts(revocations, RedisCutList(link, signals), signals, clock=clock)
        await self.stack.enter_async_context(carried(link, signals))
        await self.stack.enter_async_context(_running(heard.run))
        return Elsewhere(verifier, heard)

    async def delete(self, user: str, token: str) -> None:
        answer = await self.one.send("DELETE", f"/api/v1/users/{user}", headers=bearer(token))
        assert answer.status in {200, 204}, answer.body


class _running:  # noqa: N801  used as a function is
    def __init__(self, *work: Callable[[], Awaitable[None]]) -> None:
        self._work = work
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> None:
        async def run(one: Callable[[], Awaitable[None]]) -> None:
            await one()

        self._tasks = [asyncio.create_task(run(each)) for each in self._work]

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@pytest.fixture
async def town(open_database: OpenDatabase, tmp_path: Path, own_redis: RedisServer) -> AsyncIterator[Town]:
    async with AsyncExitStack() as stack:
        replicas: list[Platform] = []
        links: list[RedisLink] = []
        for _ in range(2):
            link = await stack.enter_async_context(linked(own_redis.url, "m"))
            signals = RedisSignals(link)
            shared = UsersShared(signals=signals, cuts=RedisCutList(link, signals))
            replica = await start(await open_database("users"), tmp_path, shared=shared)
            await stack.enter_async_context(carried(link, signals))
            await stack.enter_async_context(_running(*replica.service.parts.workers))
            replicas.append(replica)
            links.append(link)
        yield Town(own_redis, tmp_path, replicas[0], replicas[1], stack)


async def status(platform: Platform, token: str) -> int:
    return (await platform.send("GET", "/api/v1/users/me", headers=bearer(token))).status


async def _is_refused(replica: Platform, elsewhere: Elsewhere, token: str) -> bool:
    return await status(replica, token) == 401 and not await elsewhere.accepts(token)


async def best(after: Callable[[str], Awaitable[float]], *each: str) -> float:
    """Return how soon it was at best: the machine may stand still at any one of them."""
    return min([await after(name) for name in each])


async def test_a_deleted_user_s_tokens_are_refused_everywhere_within_a_second(town: Town) -> None:
    elsewhere = await town.elsewhere()

    async def refused_after(email: str) -> float:
        user = await town.one.register(email)
        assert await status(town.other, user["token"]) == 200
        assert await elsewhere.accepts(user["token"])
        await town.delete(user["user"]["id"], user["token"])
        return await until(lambda: _is_refused(town.other, elsewhere, user["token"]))

    assert await best(refused_after, "a@example.com", "b@example.com", "c@example.com") < IN_TIME_S


async def test_what_is_given_out_after_a_cut_is_accepted_everywhere(town: Town) -> None:
    elsewhere = await town.elsewhere()
    ada = await town.one.register()
    old = ada["token"]
    body = {"current_password": PASSWORD, "new_password": "another horse"}
    answer = await town.one.send("POST", "/api/v1/users/me/password", body, headers=bearer(old))
    assert answer.status == 200, answer.body
    new = answer.json["data"]["token"]

    async def refused() -> bool:
        return await status(town.other, old) == 401 and not await elsewhere.accepts(old)

    await until(refused)
    again = (await town.other.login("ada@example.com", "another horse")).json["data"]["token"]
    for token in (new, again):
        assert await status(town.one, token) == await status(town.other, token) == 200
        assert await elsewhere.accepts(token)


async def test_another_role_ends_the_tokens_of_the_former_one_everywhere(town: Town) -> None:
    elsewhere = await town.elsewhere()
    shop = await town.one.onboard("shop")

    async def refused_after(email: str) -> float:
        boss = await town.one.register(email, tenant="shop")
        changed = await town.one.send(
            "PUT", f"/api/v1/users/{boss['user']['id']}", {"role": "admin"}, headers=bearer(shop["token"])
        )
        assert changed.status == 200, changed.body
        return await until(lambda: _is_refused(town.other, elsewhere, boss["token"]))

    assert await best(refused_after, "b2@example.com", "b3@example.com", "b4@example.com") < IN_TIME_S


async def test_a_suspended_store_is_suspended_on_every_replica_at_once(town: Town) -> None:
    operator = await town.one.operator()

    async def refused_after(name: str) -> float:
        shop = await town.one.onboard(name)
        assert await status(town.other, shop["token"]) == 200
        # The clock stands still: what is remembered for a second is remembered for ever.
        changed = await town.one.send(
            "PATCH", f"/api/v1/tenants/{name}", {"status": "suspended"}, headers=bearer(operator)
        )
        assert changed.status == 200, changed.body
        return await until(lambda: _is(status(town.other, shop["token"]), 403))

    assert await best(refused_after, "shop", "tea", "books") < IN_TIME_S


async def test_without_redis_replicas_of_users_read_the_cuts_from_their_database(town: Town) -> None:
    elsewhere = await town.elsewhere()
    ada = await town.one.register()
    town.redis.kill()
    await town.delete(ada["user"]["id"], ada["token"])

    async def refused() -> bool:
        return await status(town.other, ada["token"]) == 401

    assert await until(refused) < 2 * IN_TIME_S
    # Other services cannot know, and can say so.
    assert await elsewhere.accepts(ada["token"])
    strict = NoUnheardTokens(elsewhere.verifier, elsewhere.heard)
    await until(lambda: not elsewhere.heard.heard)
    with pytest.raises(Unavailable):
        await strict.authenticate(ada["token"])
    # Once Redis is there they do.
    town.redis.serve()
    await until(lambda: _not(elsewhere.accepts(ada["token"])))
    await until(lambda: elsewhere.heard.heard)
    with pytest.raises(Unauthenticated):
        await strict.authenticate(ada["token"])


async def _not(answer: Awaitable[bool]) -> bool:
    return not await answer


@pytest.mark.parametrize("loss", ["flush", "kill"])
async def test_a_redis_that_lost_everything_revives_no_token(town: Town, loss: str) -> None:
    witness = await town.elsewhere()
    ada = await town.one.register()
    await town.delete(ada["user"]["id"], ada["token"])
    await until(lambda: _not(witness.accepts(ada["token"])))
    if loss == "flush":
        assert town.redis.command("FLUSHALL") == b"+OK\r\n"
    else:
        town.redis.kill()
        town.redis.serve()
    assert not await witness.accepts(ada["token"])
    # A service that starts now knows no cut but those that users tells again.
    fresh = await town.elsewhere()
    assert await until(lambda: _not(fresh.accepts(ada["token"]))) < 2 * IN_TIME_S
    await until(lambda: fresh.heard.heard)


async def test_a_service_that_starts_later_knows_the_cuts_of_before(town: Town) -> None:
    ada = await town.one.register()
    await town.delete(ada["user"]["id"], ada["token"])
    await until(lambda: _is(status(town.other, ada["token"]), 401))
    later = await town.elsewhere()
    await until(lambda: _not(later.accepts(ada["token"])))


async def _is(answer: Awaitable[int], wanted: int) -> bool:
    return await answer == wanted


async def test_a_cut_whose_replica_died_before_it_told_is_told_by_another(town: Town) -> None:
    elsewhere = await town.elsewhere()
    ada = await town.one.register()
    town.one.service.cuts.on_cut(lambda _: None)
    await town.delete(ada["user"]["id"], ada["token"])
    assert await until(lambda: _not(elsewhere.accepts(ada["token"]))) < 2 * IN_TIME_S


async def test_the_first_admin_of_a_new_store_is_let_in_everywhere(town: Town) -> None:
    elsewhere = await town.elsewhere()
    shop = await town.one.onboard("shop")
    assert await elsewhere.accepts(shop["token"])
    assert await status(town.other, shop["token"]) == 200
