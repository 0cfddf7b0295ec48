"""The Python client, doing what a shop's own software does."""

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal

import pytest

from mercato_client import (
    BadRequest,
    Conflict,
    Forbidden,
    Mercato,
    NotFound,
    Retries,
    Unauthorized,
    Unreachable,
)
from mercato_client.models import Item, OrderView, Register
from tests.running import Platform, free_port

PATIENT = Retries(attempts=200, longest_s=0.5)
ADDRESS = "1 Harbour Street, 20457 Hamburg"


async def open_store(platform: Platform, store: str) -> str:
    """Open a store and return its admin's token."""
    admin = Register(
        email=f"admin@{store}.example", password="admin-password", first_name="Ada", last_name="Admin"
    )
    async with Mercato(platform.url) as outside:
        return (await outside.tenants.onboard(id=store, name=store, admin=admin)).token


async def sign_up(shop: Mercato, email: str) -> None:
    """Register somebody, who calls from now on."""
    person = await shop.users.register(
        email=email, password="a-good-password", first_name="Carl", last_name="Customer"
    )
    shop.use_tokens(person.token, person.refresh_token)


async def until_status(shop: Mercato, order_id: str, wanted: str) -> OrderView:
    async with asyncio.timeout(15):
        while True:
            order = await shop.orders.get(order_id)
            if order.status == wanted:
                return order
            await asyncio.sleep(0.02)


async def test_a_shopper_buys_and_the_admin_ships(platform: Platform) -> None:
    token = await open_store(platform, "client-buys")
    async with (
        Mercato(platform.url, token=token) as admin,
        Mercato(platform.url, tenant="client-buys") as shop,
    ):
        mug = await admin.products.create(sku="MUG", name="Mug", price=Decimal("19.99"), stock=3)
        await sign_up(shop, "carl@client-buys.example")
        [found] = (await shop.products.list(sku="MUG")).items
        assert (found.id, found.price, str(found.price)) == (mug.id, Decimal("19.99"), "19.99")

        order = await shop.orders.place(
            items=[Item(product_id="MUG", quantity=2, unit_price=found.price)], shipping_address=ADDRESS
        )
        assert order.total_amount == Decimal("39.98")
        payment = await shop.payments.create(order_id=order.id, method="card")
        assert (await shop.payments.process(payment.id)).status == "success"
        await until_status(shop, order.id, "confirmed")
        for status in ("processing", "shipped", "delivered"):
            moved = await admin.orders.set_status(order.id, status=status)

        assert moved.status == "delivered"
        assert [each.status for each in await shop.orders.history(order.id)][-1] == "delivered"
        assert order.created_at.utcoffset() is not None


async def test_refusals_are_exceptions_that_say_what_they_are(platform: Platform) -> None:
    token = await open_store(platform, "client-refused")
    async with (
        Mercato(platform.url, token=token) as admin,
        Mercato(platform.url, tenant="client-refused") as shop,
    ):
        lamp = await admin.products.create(sku="LAMP", name="Lamp", price=Decimal(10), stock=1)
        with pytest.raises(Unauthorized):
            await shop.orders.mine()
        await sign_up(shop, "carl@client-refused.example")
        with pytest.raises(Forbidden):
            await shop.products.create(sku="MINE", name="Mine", price=Decimal(1))
        with pytest.raises(NotFound) as absent:
            await shop.orders.get("../products")
        with pytest.raises(BadRequest) as wrong:
            await shop.orders.place(items=[Item(product_id=lamp.id, quantity=0)], shipping_address=" ")
        with pytest.raises(Conflict) as short:
            await shop.orders.place(items=[Item(product_id=lamp.id, quantity=2)], shipping_address=ADDRESS)

        assert (absent.value.status, absent.value.code) == (404, "NOT_FOUND")
        assert {each.field for each in wrong.value.details} == {"items[0].quantity", "shipping_address"}
        assert (short.value.code, bool(short.value.request_id)) == ("OUT_OF_STOCK", True)
        assert "items[0].quantity" in str(wrong.value)


async def test_a_list_is_gone_through_page_by_page(platform: Platform) -> None:
    token = await open_store(platform, "client-pages")
    async with Mercato(platform.url, token=token) as admin:
        made = [
            (await admin.products.create(sku=f"P-{n}", name=f"Product {n}", price=Decimal(n))).id
            for n in range(7)
        ]
        page = await admin.products.list(page_size=3)
        everything = [each.id async for each in admin.products.iterate(limit=3)]
    assert (len(page.items), page.meta.total_count, page.meta.total_pages) == (3, 7, 3)
    assert everything == made[::-1]


async def test_a_token_that_is_over_is_renewed_once_for_all_who_need_it(platform: Platform) -> None:
    async with Mercato(platform.url) as shop:
        await sign_up(shop, "carl@renewed.example")
        refresh = shop.refresh_token
        shop.use_tokens("a-token-that-is-over", refresh)
        # A refresh token that is used twice ends the session, and with it the calls that come next.
        for _ in range(2):
            mine = await asyncio.gather(*(shop.users.me() for _ in range(10)))
            assert {each.email for each in mine} == {"carl@renewed.example"}
        assert shop.refresh_token not in (None, refresh)

        # Who has no valid refresh token either is told so, and asks no second time.
        shop.use_tokens("no-token", "no-refresh-token")
        with pytest.raises(Unauthorized):
            await shop.users.me()
        assert shop.refresh_token is None


async def test_files_go_in_and_out(platform: Platform) -> None:
    token = await open_store(platform, "client-files")

    async def lines() -> AsyncIterator[bytes]:
        yield b'{"sku":"MUG","name":"Mug","price":19.90,"stock":2}\n'
        yield b'{"sku":"LAMP","name":"Lamp","price":5,"stock":0}\n'

    async with Mercato(platform.url, token=token) as admin:
        told = await admin.products.import_(lines())
        out = b"".join([piece async for piece in admin.products.export(format="csv")])
        with pytest.raises(BadRequest):
            await admin.products.import_(b"nothing;of\nthe;sort", content_type="text/csv")
    assert told.created == 2
    assert out.splitlines()[1].startswith(b"MUG,Mug,19.90,")


async def test_a_key_given_twice_makes_one_order(platform: Platform) -> None:
    token = await open_store(platform, "client-keys")
    async with Mercato(platform.url, token=token) as admin:
        await admin.products.create(sku="MUG", name="Mug", price=Decimal(5), stock=10)
        items = [Item(product_id="MUG", quantity=1)]
        first, second, other = [
            await admin.orders.place(items=items, shipping_address=ADDRESS, idempotency_key=key)
            for key in ("mine", "mine", "another")
        ]
    assert first.id == second.id != other.id


async def test_calls_survive_a_server_that_is_killed_and_comes_back(own_platform: Platform) -> None:
    own_platform.start()
    token = await open_store(own_platform, "client-killed")
    async with Mercato(own_platform.url, token=token, retries=PATIENT) as admin:
        await admin.products.create(sku="MUG", name="Mug", price=Decimal(5), stock=1000)
        placed: list[str] = []
        begun, killed = asyncio.Event(), asyncio.Event()

        async def buy() -> None:
            while not killed.is_set() or len(placed) < 40:
                order = await admin.orders.place(
                    items=[Item(product_id="MUG", quantity=1)], shipping_address=ADDRESS
                )
                placed.append(order.id)
                if len(placed) == 10:
                    begun.set()

        async def kill() -> None:
            await begun.wait()
            own_platform.kill()
            await asyncio.to_thread(own_platform.start)
            killed.set()

        await asyncio.gather(kill(), *(buy() for _ in range(4)))

        there = [each.id async for each in admin.orders.iterate()]
        stock = await admin.products.inventory((await admin.products.list(sku="MUG")).items[0].id)
    # Every call was answered, and none was carried out twice.
    assert sorted(there) == sorted(placed)
    assert (stock.on_hand, stock.reserved) == (1000, len(placed))
    own_platform.assert_balanced()


async def test_nobody_there_is_told_as_such() -> None:
    async with Mercato(f"http://127.0.0.1:{free_port()}", retries=Retries(attempts=2)) as shop:
        with pytest.raises(Unreachable) as away:
            await shop.products.list()
    assert not away.value.sent


async def test_what_may_have_been_carried_out_is_not_repeated_without_a_key() -> None:
    """As when the platform hangs up on a request that it got: nobody knows what became of it."""
    asked: list[bytes] = []

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readline())
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with Mercato(f"http://127.0.0.1:{port}", retries=Retries(attempts=3, first_s=0.01)) as shop:
            with pytest.raises(Unreachable) as unknown:
                await shop.users.login(email="carl@example.com", password="a-good-password")
            assert unknown.value.sent
            assert len(asked) == 1
            with pytest.raises(Unreachable):
                await shop.products.list()
    assert len(asked) == 4
