"""Imports: whose they are, of which file, and that each product is in it once."""

import asyncio
from datetime import timedelta

import pytest

from mercato.adapters.sql.steps import ClaimLost
from mercato.kernel.cause import ByCall
from mercato.kernel.ids import uuid7
from mercato.products.domain.importing import Batch, Decided, ImportRow, Line, Outcome, Report
from mercato.products.ports import Lease
from mercato.products.stores.ledger import Ledger
from mercato.products.stores.sql_imports import SqlImports
from mercato.web.idempotency import claim_for
from tests.behaviour.products_shop import ACME, Shop, open_shop
from tests.behaviour.test_products_imports import break_off, ndjson, numbered, send, told, total
from tests.conftest import OpenDatabase


@pytest.fixture
async def shop(open_database: OpenDatabase) -> Shop:
    return open_shop(await open_database("products"))


async def test_another_file_of_the_same_length_is_another_file(shop: Shop) -> None:
    body = numbered(300)
    other = body.replace(b"Thing 7", b"Thong 7")
    assert await break_off(shop, body, len(body) // 2, "k") == 400
    there = await total(shop)
    for _ in range(2):
        refused = await send(shop, other, key="k")
        assert (refused.status, refused.code) == (422, "IDEMPOTENCY_KEY_REUSED")
        assert await total(shop) == there
    assert told(await send(shop, body, key="k")) == (300, 300, 0, 0, 0)
    assert (await send(shop, other, key="k")).code == "IDEMPOTENCY_KEY_REUSED"


async def test_who_has_lost_its_claim_imports_nothing_more(shop: Shop) -> None:
    claims, now = shop.products.parts.claims, shop.clock()
    later = now + timedelta(minutes=1)
    claim = claim_for(ACME, "admin", "POST /import", "k", uuid7())
    await claims.open(claim, b"", now=now, lease_until=now)
    held = await claims.open(claim, b"", now=now, lease_until=later)
    assert held is not None
    assert await claims.take_over(held, now=now, lease_until=later) is not None
    store = SqlImports(shop.products.parts.steps, Ledger(lambda _, __: None), lambda _, __: None)
    bad = Line(1, None)
    batch = Batch(import_id=claim.object_id, lines=(bad,), before=Report(), read=1, digest=b"")

    def decide(*_: ImportRow | object) -> Decided:
        return Decided(Outcome.UNCHANGED)

    with pytest.raises(ClaimLost):
        await store.apply(ACME, batch, decide, lease=Lease(claim, later), by=ByCall("admin"), at=now)
    assert await store.find(ACME, claim.object_id) is None


async def test_a_call_that_is_cut_off_at_any_moment_is_gone_on_with(shop: Shop) -> None:
    """Whoever is cut off does not stop the step that is under way, which may be the first."""
    outcomes = set()
    for ticks in range(0, 120, 2):
        body = ndjson(*({"sku": f"T{ticks}-{n}", "name": "Thing", "price": 1} for n in range(130)))
        call = asyncio.create_task(send(shop, body, key=f"k{ticks}"))
        for _ in range(ticks):
            await asyncio.sleep(0)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        outcomes.add(call.cancelled())
        while (answer := await send(shop, body, key=f"k{ticks}")).status == 409:
            shop.clock.forward(minutes=1)
        assert told(answer) == (130, 130, 0, 0, 0), ticks
    assert True in outcomes


@pytest.mark.parametrize("first", ["Mug", "Cup"])
async def test_a_product_is_in_a_file_once_also_where_its_first_line_changes_nothing(
    shop: Shop, first: str
) -> None:
    await send(shop, ndjson({"sku": "MUG", "name": "Mug", "price": 1, "stock": 5}))
    answer = await send(
        shop,
        ndjson({"sku": "MUG", "name": first, "price": 1}, {"sku": "MUG", "name": "Bowl", "price": 2}),
    )
    assert (answer.data["failed"], answer.data["errors"][0]["line"]) == (1, 2)
    [found] = (await shop.request("GET", "")).data
    assert found["name"] == first


async def test_a_product_is_made_no_earlier_than_the_one_before_it(shop: Shop) -> None:
    """Lists go by the order in which products were made, and so must their times, whatever the clock does."""
    await shop.add("A", stock=1)
    shop.clock.forward(hours=-1)
    await shop.add("B")
    await send(shop, numbered(3))
    shop.clock.forward(minutes=1)
    await shop.add("C", stock=1)
    listed = (await shop.request("GET", "?sort=created_at")).data
    assert [each["sku"] for each in listed] == ["A", "B", "S0", "S1", "S2", "C"]
    times = [each["created_at"] for each in listed]
    assert times == sorted(times)
