"""Two replicas of products on one database: what one of them changes, the other does not show as it was."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from mercato.adapters.redis.signals import RedisSignals
from mercato.contracts.products import WantedLine
from tests.behaviour.products_shop import Answer, Shop, open_shop
from tests.conftest import OpenDatabase
from tests.redis_server import RedisServer, new_prefix
from tests.replicas import PatientLink, carried, linked
from tests.waiting import until


@pytest.fixture
async def replicas(open_database: OpenDatabase, redis: RedisServer) -> AsyncIterator[tuple[Shop, Shop]]:
    prefix = new_prefix()
    async with AsyncExitStack() as stack:
        links = [await stack.enter_async_context(linked(redis.url, prefix, PatientLink)) for _ in range(2)]
        signals = [RedisSignals(link) for link in links]
        shops = [open_shop(await open_database("products"), signals=each) for each in signals]
        await stack.enter_async_context(carried(links[0], *signals))
        yield shops[0], shops[1]


async def kept(shop: Shop, path: str) -> Answer:
    """Read until it comes from the cache; news of what was before may still be on its way."""

    async def hit() -> bool:
        return (await shop.request("GET", path)).headers["x-cache"] == "HIT"

    await until(hit)
    return await shop.request("GET", path)


async def test_changes_and_reservations_on_one_replica_show_on_the_other_at_once(
    replicas: tuple[Shop, Shop],
) -> None:
    rounds = [await shown_after(*replicas, sku) for sku in ("MUG", "JUG", "POT")]
    # The machine may stand still at any one of them, but of each kind one is shown at once.
    assert [min(took) < 1 for took in zip(*rounds, strict=True)] == [True] * 3


async def shown_after(one: Shop, other: Shop, sku: str) -> tuple[float, float, float]:
    """Reserve, rename and delete a product; return how long each took to show on the other replica."""
    product = await one.add(sku, stock=1)
    assert (await kept(other, f"/{product}")).data["in_stock"] is True
    assert len((await kept(other, "?in_stock=true")).data) == 1
    await one.reserve([WantedLine(product, 1)])

    async def sold_out() -> bool:
        found = await other.request("GET", f"/{product}")
        listed = await other.request("GET", "?in_stock=true")
        return not found.data["in_stock"] and listed.data == []

    reserved = await until(sold_out)
    # Nothing expires meanwhile: the other was told.
    assert (await one.request("PATCH", f"/{product}", {"name": "Cup"})).status == 200

    async def renamed() -> bool:
        return bool((await other.request("GET", f"/{product}")).data["name"] == "Cup")

    changed = await until(renamed)
    assert (await one.request("DELETE", f"/{product}")).status in {200, 204}

    async def gone() -> bool:
        return (await other.request("GET", f"/{product}")).status == 404

    return reserved, changed, await until(gone)
