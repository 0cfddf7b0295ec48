"""Payments of running processes: the sandbox calls back, and Stripe is asked, over real HTTP."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.running import Platform, Store, add_product, open_store, order_of
from tests.stripe_double import API_KEY, running_double

WEBHOOK = "POST /api/v1/payments/webhooks/{provider}"
DEADLINE_S = 15.0


def calls(platform: Platform) -> list[int]:
    """Return the statuses that the sandbox's webhooks were answered with."""
    return [line["status"] for line in platform.lines("payments") if line.get("route") == WEBHOOK]


async def until_called(platform: Platform, times: int) -> list[int]:
    async with asyncio.timeout(DEADLINE_S):
        while len(calls(platform)) < times:  # noqa: ASYNC110  another process writes the log
            await asyncio.sleep(0.02)
    return calls(platform)


async def pay(platform: Platform, store: Store, product: str, token: str) -> dict[str, Any]:
    """Order and pay as a customer does; return the payment when its outcome is known."""
    async with platform.client(store.customer) as shop:
        order = (await shop.post("/api/v1/orders", order_of(product))).data["id"]
        wanted = {"order_id": order, "method": "card", "token": token}
        payment = (await shop.post("/api/v1/payments", wanted)).data["id"]
        await shop.post(f"/api/v1/payments/{payment}/process")
        path = f"/api/v1/payments/{payment}"
        known: dict[str, Any] = await shop.until(path, "status", "success", "failed")
        return known


@pytest.mark.parametrize("mode, times", [("on", 1), ("twice", 2), ("shuffled", 1), ("late", 1)])
async def test_webhooks_in_any_order_leave_one_charge_and_balanced_books(
    own_platform: Platform, mode: str, times: int
) -> None:
    own_platform.environ["MERCATO_SANDBOX_WEBHOOKS"] = mode
    own_platform.start()
    store = await open_store(own_platform, "hooked")
    async with own_platform.client() as shop:
        product = await add_product(shop, store, "LAMP", stock=9)

    paid = await asyncio.gather(
        *(pay(own_platform, store, product, token) for token in ("tok_visa", "tok_lost", "tok_declined"))
    )

    assert [payment["status"] for payment in paid] == ["success", "success", "failed"]
    assert set(await until_called(own_platform, 3 * times)) == {200}
    own_platform.assert_balanced()
    assert own_platform.stop() == 0
    assert "tok_" not in own_platform.log()


def test_stripe_without_a_key_is_refused_at_the_start(own_platform: Platform, tmp_path: Path) -> None:
    own_platform.environ["MERCATO_PAYMENT_PROVIDER"] = "stripe"
    with pytest.raises(AssertionError, match="it ended with 2"):
        own_platform.start()
    assert "MERCATO_STRIPE_KEY is not set" in own_platform.log()
    assert "Traceback" not in own_platform.log()


async def test_a_purchase_is_paid_by_stripe_and_given_back_when_cancelled(own_platform: Platform) -> None:
    async with running_double() as stripe:
        own_platform.environ |= {
            "MERCATO_PAYMENT_PROVIDER": "stripe",
            "MERCATO_STRIPE_KEY": API_KEY,
            "MERCATO_STRIPE_URL": stripe.url,
        }
        await asyncio.to_thread(own_platform.start)
        store = await open_store(own_platform, "striped")
        async with own_platform.client() as shop:
            product = await add_product(shop, store, "LAMP", stock=9, price=12.5)

        paid = await pay(own_platform, store, product, "tok_visa")
        async with own_platform.client(store.admin) as shop:
            order = f"/api/v1/orders/{paid['order_id']}"
            await shop.until(order, "status", "confirmed")
            assert (await shop.post(f"{order}/cancel", {})).status == 200
            await shop.until(order, "payment_status", "refunded")

        assert (paid["provider"], paid["amount"]) == ("stripe", 12.5)
        assert [charge["amount"] for charge in stripe.charges] == [1_250]
        assert [refund["amount"] for refund in stripe.refunds.values()] == [1_250]
        await asyncio.to_thread(own_platform.assert_balanced)
        assert await asyncio.to_thread(own_platform.stop) == 0
    assert API_KEY not in own_platform.log()
