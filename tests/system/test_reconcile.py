"""`mercato reconcile` finds whatever was done to the books behind Mercato's back."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.rows import change, copied
from tests.running import Platform, Shopper, add_product, open_store, order_of

CORRUPTIONS: dict[str, tuple[str, str, str]] = {
    "stock from nowhere": (
        "products",
        "UPDATE inventory SET on_hand = on_hand + 1",
        "stock is 9/1 reserved, its movements make 8/1",
    ),
    "a movement that is gone": (
        "products",
        "DELETE FROM stock_movements WHERE kind = (SELECT max(kind) FROM stock_movements)",
        "its movements make",
    ),
    "a hold that is gone": (
        "products",
        "DELETE FROM reservations WHERE state = 'held'",
        "is pending, and its stock is not held",
    ),
    "stock taken twice": (
        "products",
        "UPDATE reservations SET state = 'taken' WHERE state = 'held'",
        "is pending, and its stock is taken",
    ),
    "a payment over another amount": (
        "payments",
        "UPDATE payments SET amount = amount + 1 WHERE status = 'success'",
        "is over 1001 USD, the charge over 1000 USD",
    ),
    "a payment that never was": (
        "payments",
        "UPDATE payments SET status = 'failed' WHERE status = 'success'",
        "is failed, and the provider charged 1000",
    ),
    "a refund nobody made": (
        "payments",
        "UPDATE payments SET refunded_amount = 1 WHERE status = 'success'",
        "has 1 refunded, the provider 0",
    ),
    "a charge that is gone": ("sandbox", "DELETE FROM charges", "and the provider charged nothing"),
    "a double charge": (
        "sandbox",
        "INSERT INTO charges SELECT 'again', outcome, amount, currency, 'again', NULL FROM charges LIMIT 1",
        "charge again the provider charged what no payment asked for",
    ),
    "an order set back": (
        "orders",
        "UPDATE orders SET status = 'pending' WHERE status = 'confirmed'",
        "is pending, and its stock is taken",
    ),
    "an order cancelled by hand": (
        "orders",
        "UPDATE orders SET status = 'cancelled' WHERE status = 'confirmed'",
        "is success",
    ),
    "an order that is gone": (
        "orders",
        "DELETE FROM orders WHERE status = 'confirmed'",
        "is for an order that is not there",
    ),
}


async def trade(platform: Platform) -> None:
    """Leave a paid order, a refunded one and a pending one behind."""
    store = await open_store(platform, "books")
    async with platform.client(store.customer) as shop:
        product = await add_product(shop, store, "MUG", stock=9)
        paid = await pay(shop, product)
        back = await pay(shop, product)
        await shop.post(f"/api/v1/orders/{back}/cancel", {"reason": "broken"}, token=store.admin)
        await shop.until(f"/api/v1/orders/{back}", "payment_status", "refunded")
        assert (await shop.post("/api/v1/orders", order_of(product))).status == 201
        await shop.until(f"/api/v1/products/{product}/inventory", "on_hand", 8)
        assert (await shop.get(f"/api/v1/orders/{paid}")).data["status"] == "confirmed"


async def pay(shop: Shopper, product: str) -> str:
    """Order one and pay for it; return the order."""
    order = str((await shop.post("/api/v1/orders", order_of(product))).data["id"])
    payment = (await shop.post("/api/v1/payments", {"order_id": order, "method": "card"})).data["id"]
    await shop.post(f"/api/v1/payments/{payment}/process")
    await shop.until(f"/api/v1/orders/{order}", "status", "confirmed")
    return order


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform that has traded and was stopped."""
    platform = Platform(tmp_path_factory.mktemp("traded"))
    platform.start()
    try:
        asyncio.run(trade(platform))
        platform.assert_balanced()
    finally:
        assert platform.stop() == 0
    yield platform
    platform.discard()


@pytest.fixture(scope="module")
def corrupted(
    books: Platform, tmp_path_factory: pytest.TempPathFactory
) -> "dict[str, CompletedProcess[str]]":
    """What the command says of each corruption of a copy. It waits most of its time: all at once."""
    copies = []
    for database, statement, _ in CORRUPTIONS.values():
        copies.append(copied(books, tmp_path_factory.mktemp("copy")))
        assert change(copies[-1], database, statement) > 0
    with ThreadPoolExecutor(4) as pool:
        ended = list(pool.map(lambda copy: copy.command("reconcile"), copies))
    for copy in copies:
        copy.discard()
    return dict(zip(CORRUPTIONS, ended, strict=True))


def test_books_that_balance_are_told_in_a_sentence(books: Platform) -> None:
    ended = books.command("reconcile")

    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout == (
        "2 stores, 3 orders, 2 payments, 2 entries in the provider's book, 1 products; 0 in flight.\n"
        "The books balance.\n"
    )


@pytest.mark.parametrize("case", CORRUPTIONS)
def test_books_that_do_not_balance_are_named_with_exit_code_1(
    case: str, corrupted: "dict[str, CompletedProcess[str]]"
) -> None:
    ended = corrupted[case]

    assert ended.returncode == 1, ended
    assert CORRUPTIONS[case][2] in ended.stdout
    assert "balance" not in ended.stdout
    assert ended.stdout.splitlines()[-1].endswith("differences.")


def test_a_difference_can_be_read_by_a_program(books: Platform, tmp_path: Path) -> None:
    copy = copied(books, tmp_path)
    assert change(copy, "sandbox", "DELETE FROM refunds") > 0

    ended = copy.command("reconcile", "--json")

    assert ended.returncode == 1
    assert '"problem":"has 1000 refunded, the provider 0"' in ended.stdout


def test_an_event_that_waits_is_in_flight_and_no_difference(books: Platform, tmp_path: Path) -> None:
    """As after a crash between a payment's commit and its event's arrival."""
    copy = copied(books, tmp_path)
    waiting = "UPDATE outbox SET sent_at = NULL WHERE type = 'payment.success'"
    assert change(copy, "payments", waiting) > 0
    unheard = "UPDATE orders SET payment_status = 'pending' WHERE status = 'confirmed'"
    assert change(copy, "orders", unheard) > 0

    ended = copy.command("reconcile")

    assert ended.returncode == 0, ended
    assert "1 in flight" in ended.stdout
