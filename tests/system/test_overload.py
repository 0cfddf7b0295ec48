"""A store whose shoppers order more than can be placed: they are told so, and another store sells on."""

import asyncio
from collections import Counter

import pytest

from mercato.kernel.ids import uuid7
from tests.modes import OWN_PROCESSES
from tests.running import Answer, Platform, add_product, open_store, order_of

pytestmark = OWN_PROCESSES

SHOPPERS = 200
STOCK = 1_000_000


async def test_the_flood_of_one_store_is_refused_and_another_store_sells_on(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    own = Platform(tmp_path_factory.mktemp("overload"), {"MERCATO_QUEUE_DELAY": "0.02"})
    own.start()
    noisy, quiet = await open_store(own, "noisy"), await open_store(own, "quiet")
    flooded, told, over = Counter[str](), list[Answer](), asyncio.Event()
    async with own.client(noisy.customer) as flood, own.client(quiet.customer) as shop, own.client() as ops:
        wanted = {
            store.id: order_of(await add_product(each, store, "MUG", stock=STOCK))
            for each, store in ((flood, noisy), (shop, quiet))
        }

        async def order_again_and_again() -> None:
            while not over.is_set():
                answer = await flood.post("/api/v1/orders", wanted["noisy"], key=uuid7())
                flooded[str(answer.status)] += 1
                if answer.status != 201:
                    told.append(answer)

        flooding = [asyncio.create_task(order_again_and_again()) for _ in range(SHOPPERS)]
        async with asyncio.timeout(60):
            sold = 0
            while sold < 20 or not told:
                bought = await shop.post("/api/v1/orders", wanted["quiet"], key=uuid7())
                assert bought.status == 201, bought.body
                sold += 1
                for path in ("/health", "/health/live", "/health/ready"):
                    assert (await ops.get(path)).status == 200
        over.set()
        await asyncio.gather(*flooding)
        metrics = (await ops.get("/metrics")).body.decode()

    assert set(flooded) == {"201", "503"}
    assert {answer.code for answer in told} == {"SERVICE_UNAVAILABLE"}
    assert {answer.headers["retry-after"] for answer in told} == {"1"}
    assert f'mercato_requests_shed_total{{reason="overload"}} {len(told)}.0' in metrics
    own.assert_balanced()
    assert own.stop() == 0
