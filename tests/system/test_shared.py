"""Two processes that share a Redis, and one whose Redis is away, as clients and operators meet them."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.modes import OWN_PROCESSES
from tests.redis_server import RedisServer, new_prefix
from tests.running import Answer, Platform, Shopper
from tests.waiting import until

LISTED = "/api/v1/products?limit=1&count=false"
FAILURES = "mercato_redis_failures_total"


@pytest.fixture
def pair(tmp_path: Path, redis: RedisServer) -> Iterator[tuple[Platform, Platform]]:
    """Two platforms that share a Redis and nothing else; not started yet."""
    prefix, made = new_prefix(), []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        environ = {"MERCATO_REDIS_URL": redis.url, "MERCATO_REDIS_PREFIX": prefix}
        made.append(Platform(tmp_path / name, environ))
    yield made[0], made[1]
    for platform in made:
        platform.discard()


async def test_an_address_is_limited_over_all_processes(pair: tuple[Platform, Platform]) -> None:
    for platform in pair:
        platform.environ.update(MERCATO_ADDRESS_RATE="1", MERCATO_ADDRESS_BURST="10")
        platform.start()
    async with pair[0].client() as one, pair[1].client() as other:
        began = time.monotonic()
        answers: list[Answer] = await asyncio.gather(*(each.get(LISTED) for each in (one, other) * 20))
        took = time.monotonic() - began
        # On a busy machine Redis may be late, and then a process judges by what it knows itself.
        alone = [await metric(each, "mercato_limits_judged_alone_total") for each in (one, other)]
        assert 10 <= [each.status for each in answers].count(200) <= 11 + took + sum(alone)
        refused = next(each for each in answers if each.status == 429)
        assert refused.code == "RATE_LIMIT_EXCEEDED"
        assert refused.headers["x-ratelimit-limit"] == "1"
        assert refused.headers["x-ratelimit-remaining"] == "0"
        assert int(refused.headers["retry-after"]) >= 1
        # Who watches is always answered.
        assert (await other.get("/health/ready")).status == 200


async def test_an_account_is_locked_out_over_all_processes(pair: tuple[Platform, Platform]) -> None:
    for platform in pair:
        platform.start()
    async with (
        pair[0].client() as one,
        pair[1].client() as other,
        pair[0].client(at="users") as users_of_one,
        pair[1].client(at="users") as users_of_other,
    ):

        async def guess(shop: Shopper, email: str) -> int:
            body = {"email": email, "password": "wrong-password"}
            return (await shop.post("/api/v1/users/login", body)).status

        for number in range(5):
            # On a busy machine Redis may be late, and then a process judges by what it knows itself.
            late = [await metric(each, FAILURES) for each in (users_of_one, users_of_other)]
            for each in (users_of_one, users_of_other):
                await healthy(each, "ok")
            guessed = [await guess(shop, f"nobody-{number}@example.com") for shop in (one, other) * 6]
            if late == [await metric(each, FAILURES) for each in (users_of_one, users_of_other)]:
                break
        assert guessed == [401] * 10 + [429] * 2


async def health(shop: Shopper) -> tuple[int, str, str]:
    """Return whether it is ready, how it is, and how its Redis is."""
    ready = (await shop.get("/health/ready")).status
    found = (await shop.get("/health")).json
    return ready, found["status"], found["checks"]["redis"]


async def metric(shop: Shopper, name: str) -> float:
    text = (await shop.get("/metrics")).body.decode()
    return next(float(line.split()[-1]) for line in text.splitlines() if line.startswith(f"{name} "))


async def healthy(shop: Shopper, wanted: str, *, within_s: float = 10.0) -> None:
    deadline = time.monotonic() + within_s
    while (found := await health(shop)) != (200, "ok" if wanted == "ok" else "degraded", wanted):
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.02)


async def test_a_process_starts_without_its_redis_and_comes_alive_with_it(
    own_platform: Platform, own_redis: RedisServer
) -> None:
    own_redis.kill()
    own_platform.environ.update(MERCATO_REDIS_URL=own_redis.url, MERCATO_ADDRESS_RATE="1000")
    own_platform.start()
    async with own_platform.client(at="products") as shop:
        assert (await shop.get(LISTED)).status == 200
        assert await health(shop) == (200, "degraded", "failing")
        assert await metric(shop, "mercato_redis_up") == 0
        assert await metric(shop, "mercato_limits_judged_alone_total") >= 1
        own_redis.serve()
        await healthy(shop, "ok")

        async def judged_by_redis() -> bool:
            alone = await metric(shop, "mercato_limits_judged_alone_total")
            assert (await shop.get(LISTED)).headers["x-ratelimit-limit"] == "1000"
            return await metric(shop, "mercato_limits_judged_alone_total") == alone

        # On a busy machine Redis may be late, and is away for a moment.
        await until(judged_by_redis)
        await until(lambda: is_up(shop))
    assert own_platform.stop() == 0
    told = [line["event"] for line in own_platform.lines("products")]
    # What was never there has not gone away.
    assert "redis is away" not in told[: told.index("redis is there")]


async def is_up(shop: Shopper) -> bool:
    return await metric(shop, "mercato_redis_up") == 1


@OWN_PROCESSES
def test_without_the_driver_one_is_told_what_to_install(tmp_path: Path) -> None:
    program = "import sys; sys.modules['redis'] = None; from mercato.__main__ import main; main()"
    ended = subprocess.run(
        [sys.executable, "-c", program, "up", "--data", str(tmp_path / "data")],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        env={**os.environ, "MERCATO_REDIS_URL": "redis://127.0.0.1:1"},
        check=False,
    )
    assert ended.returncode != 0
    assert (
        "MERCATO_REDIS_URL is set, which needs the extra redis: pip install 'mercato[redis]'." in ended.stderr
    )
    assert "Traceback" not in ended.stderr


@OWN_PROCESSES
@pytest.mark.parametrize("url", ["localhost:6379", "http://localhost", "redis:"])
def test_a_url_of_something_else_is_refused_by_name(own_platform: Platform, url: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "mercato", "up", "--data", str(own_platform.data)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=own_platform.folder,
        env={**os.environ, "MERCATO_REDIS_URL": url},
        check=False,
    )
    assert ended.returncode != 0
    assert "MERCATO_REDIS_URL" in ended.stderr
    assert "Traceback" not in ended.stderr


@OWN_PROCESSES
def test_the_url_which_may_hold_a_password_is_not_shown(own_platform: Platform) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "mercato", "config"],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=own_platform.folder,
        env={**os.environ, "MERCATO_REDIS_URL": "redis://:canary-word@127.0.0.1:1"},
        check=False,
    )
    assert ended.returncode == 0
    assert "canary-word" not in ended.stdout
