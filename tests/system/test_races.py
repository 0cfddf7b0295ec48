"""What concurrent shoppers must never get out of a store."""

import asyncio
from collections import Counter

from tests.buying import assert_sold, bought_at_once
from tests.rows import number
from tests.running import Platform, add_product, open_store, order_of


async def test_of_40_orders_for_one_item_one_is_accepted(platform: Platform) -> None:
    store = await open_store(platform, "one-item")
    async with platform.client(store.customer) as shop:
        product = await add_product(shop, store, "LAST-ONE", stock=1)

        answers = await bought_at_once(shop, "/api/v1/orders", order_of(product), 40)

        await assert_sold(shop, answers, 1)
        refused = [answer for answer in answers if answer.status == 409]
        assert {answer.code for answer in refused} <= {"OUT_OF_STOCK"}
        assert {each.json["error"]["details"][0]["field"] for each in refused} <= {"items[0].quantity"}
        inventory = (await shop.get(f"/api/v1/products/{product}/inventory")).data
        assert (inventory["on_hand"], inventory["reserved"], inventory["available"]) == (1, 1, 0)
    platform.assert_balanced()


async def test_of_12_payments_and_12_processings_one_charge_comes(platform: Platform) -> None:
    store = await open_store(platform, "one-charge")
    async with platform.client(store.customer) as shop:
        product = await add_product(shop, store, "LAMP", stock=5)
        order = (await shop.post("/api/v1/orders", order_of(product))).data["id"]
        wanted = {"order_id": order, "method": "card", "token": "tok_visa"}

        opened = await asyncio.gather(*(shop.post("/api/v1/payments", wanted) for _ in range(12)))
        assert Counter(answer.status for answer in opened) == {201: 1, 409: 11}
        payment = next(answer for answer in opened if answer.status == 201).data["id"]
        processed = await asyncio.gather(
            *(shop.post(f"/api/v1/payments/{payment}/process") for _ in range(12))
        )

        assert {answer.status for answer in processed} == {200}
        assert {answer.data["status"] for answer in processed} == {"success"}
        assert len({answer.data["transaction_id"] for answer in processed}) == 1
        await shop.until(f"/api/v1/orders/{order}", "status", "confirmed")
    platform.assert_balanced()
    charged = "SELECT count(*) FROM charges WHERE key = ? AND outcome = 'charged'"
    assert number(platform, "sandbox", charged, payment) == 1


async def test_of_10_identical_keyed_orders_one_is_placed(platform: Platform) -> None:
    store = await open_store(platform, "one-order")
    async with platform.client(store.customer) as shop:
        product = await add_product(shop, store, "CHAIR", stock=100)

        answers = await asyncio.gather(
            *(shop.post("/api/v1/orders", order_of(product), key="the-same") for _ in range(10))
        )
        again = await shop.post("/api/v1/orders", order_of(product), key="the-same")
        other = await shop.post("/api/v1/orders", order_of(product, 2), key="the-same")

        made = [answer for answer in answers if answer.status == 201]
        assert {answer.body for answer in made} == {again.body}
        assert {answer.code for answer in answers if answer.status != 201} <= {"IDEMPOTENCY_KEY_IN_USE"}
        assert again.headers["idempotent-replayed"] == "true"
        assert (other.status, other.code) == (422, "IDEMPOTENCY_KEY_REUSED")
        listed = await shop.get("/api/v1/orders")
        assert listed.json["meta"]["total_count"] == 1


async def test_a_key_is_in_use_for_as_long_as_its_call_takes(platform: Platform) -> None:
    store = await open_store(platform, "slow-key")
    async with platform.client(store.customer) as shop:
        product = await add_product(shop, store, "SOFA", stock=1)
        order = (await shop.post("/api/v1/orders", order_of(product))).data["id"]
        slow = {"order_id": order, "method": "card", "token": "tok_slow"}
        payment = (await shop.post("/api/v1/payments", slow)).data["id"]
        process = f"/api/v1/payments/{payment}/process"

        first = asyncio.create_task(shop.post(process, key="slow"))
        await shop.until(f"/api/v1/payments/{payment}", "status", "processing")
        answers = []
        while not first.done():
            answers.append(await shop.post(process, key="slow"))
            await asyncio.sleep(0.02)

        assert (await first).data["status"] == "success"
        assert {each.code for each in answers if each.status != 200} == {"IDEMPOTENCY_KEY_IN_USE"}
        assert {each.headers.get("idempotent-replayed") for each in answers if each.status == 200} <= {"true"}


async def test_20_parallel_refunds_give_back_no_more_than_was_paid(platform: Platform) -> None:
    store = await open_store(platform, "refunds")
    async with platform.client(store.customer) as shop:
        product = await add_product(shop, store, "RUG", stock=5, price=100.0)
        order = (await shop.post("/api/v1/orders", order_of(product))).data["id"]
        payment = (await shop.post("/api/v1/payments", {"order_id": order, "method": "card"})).data["id"]
        await shop.post(f"/api/v1/payments/{payment}/process")
        await shop.until(f"/api/v1/orders/{order}", "status", "confirmed")

        refund = f"/api/v1/payments/{payment}/refund"
        answers = await asyncio.gather(
            *(shop.post(refund, {"amount": 15.0}, token=store.admin) for _ in range(20))
        )

        assert Counter(answer.status for answer in answers) == {200: 6, 409: 14}
        found = (await shop.get(f"/api/v1/payments/{payment}")).data
        assert (found["refunded_amount"], found["status"]) == (90.0, "partially_refunded")
    platform.assert_balanced()
