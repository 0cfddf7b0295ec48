"""Orders that many clients place at once, and what becomes of them."""

import asyncio
from collections.abc import Sequence

from mercato.kernel.ids import uuid7
from tests.running import SPLIT, Answer, Shopper
from tests.waiting import repeated, until

_WITHIN_S = 60.0


async def answered(shop: Shopper, path: str, body: object, key: str) -> Answer:
    """Repeat a keyed call until it is neither in use nor refused for now, as on a busy machine."""
    return await repeated(lambda: shop.post(path, body, key=key), _is_for_now, _WITHIN_S)


def _is_for_now(answer: Answer) -> bool:
    """Say whether it is a 503 or of a key in use, in either dialect: the flat one has no codes."""
    is_in_use = answer.status == 409 and b"Idempotency-Key is in progress." in answer.body
    return answer.status == 503 or is_in_use


async def bought_at_once(shop: Shopper, path: str, body: object, times: int) -> Sequence[Answer]:
    """Place so many orders at once; where they go through several processes, until each is answered."""
    if SPLIT:
        return await asyncio.gather(*(answered(shop, path, body, uuid7()) for _ in range(times)))
    return await asyncio.gather(*(shop.post(path, body) for _ in range(times)))


async def assert_sold(shop: Shopper, answers: Sequence[Answer], stock: int) -> None:
    """Assert that as many orders hold as there was stock for, and that none of the others does.

    One that products had no time for is accepted, and cancelled if there is nothing left for it: only in one
    process there is always time.
    """
    accepted = [answer for answer in answers if answer.status == 201]
    refused = [answer for answer in answers if answer.status != 201]
    if not SPLIT:
        assert (len(accepted), len(refused)) == (stock, len(answers) - stock)
    assert {answer.status for answer in refused} <= {409}
    assert all(b"Not enough in stock: " in answer.body for answer in refused)
    assert await until_ordered(shop, "pending", stock) == stock
    assert await until_ordered(shop, "cancelled", len(accepted) - stock) == len(accepted) - stock


async def until_ordered(shop: Shopper, status: str, wanted: int) -> int:
    """Wait for so many orders, or fewer, of a status; return how many there are."""

    async def count() -> int:
        listed = await shop.get(f"/api/v1/orders?page_size=1&status={status}")
        return int(listed.json["meta"]["total_count"])

    async def is_there() -> bool:
        return await count() == wanted

    await until(is_there, _WITHIN_S)
    return await count()
