"""The product's main job, and what may come in its way."""

from tests.running import Platform, add_product, open_store, order_of


async def test_a_shopper_finds_orders_and_pays_and_the_stock_leaves_the_shelf(platform: Platform) -> None:
    store = await open_store(platform, "purchase")
    async with platform.client(store.customer, "purchase") as shop:
        product = await add_product(shop, store, "MUG", stock=3, price=19.99)
        async with platform.client(store="purchase") as visitor:
            found = (await visitor.get("/api/v1/products?sku=MUG")).data
        assert [each["id"] for each in found] == [product]
        placed = await shop.post("/api/v1/orders", order_of("MUG", 2))
        assert placed.status == 201
        order = placed.data
        assert (order["status"], order["total_amount"], order["payment_status"]) == (
            "pending",
            39.98,
            "unpaid",
        )
        assert b'"total_amount":39.98' in placed.body
        payment = (await shop.post("/api/v1/payments", {"order_id": order["id"], "method": "card"})).data
        assert (payment["status"], payment["amount"]) == ("pending", 39.98)
        paid = (await shop.post(f"/api/v1/payments/{payment['id']}/process")).data
        assert paid["status"] == "success"
        confirmed = await shop.until(f"/api/v1/orders/{order['id']}", "status", "confirmed")
        assert confirmed["payment_status"] == "paid"
        inventory = await shop.until(f"/api/v1/products/{product}/inventory", "on_hand", 1)
        assert (inventory["reserved"], inventory["available"]) == (0, 1)
        history = (await shop.get(f"/api/v1/orders/{order['id']}/timeline")).data
        assert history[0]["event"] == "order.created"
        assert history[-1]["status"] == "confirmed"


async def test_a_cancelled_paid_order_gives_money_and_stock_back(platform: Platform) -> None:
    store = await open_store(platform, "cancelled")
    async with platform.client(store.customer) as shop:
        product = await add_product(shop, store, "LAMP", stock=3)
        order = (await shop.post("/api/v1/orders", order_of(product))).data["id"]
        payment = (await shop.post("/api/v1/payments", {"order_id": order, "method": "card"})).data["id"]
        await shop.post(f"/api/v1/payments/{payment}/process")
        await shop.until(f"/api/v1/orders/{order}", "status", "confirmed")

        by_customer = await shop.post(f"/api/v1/orders/{order}/cancel", {})
        by_admin = await shop.post(f"/api/v1/orders/{order}/cancel", {"reason": "broken"}, token=store.admin)

        assert (by_customer.status, by_customer.code) == (409, "INVALID_TRANSITION")
        assert by_admin.data["status"] == "cancelled"
        await shop.until(f"/api/v1/payments/{payment}", "status", "refunded")
        await shop.until(f"/api/v1/orders/{order}", "payment_status", "refunded")
        inventory = await shop.until(f"/api/v1/products/{product}/inventory", "on_hand", 3)
        assert inventory["reserved"] == 0
    platform.assert_balanced()


async def test_a_declined_payment_leaves_the_order_payable(platform: Platform) -> None:
    store = await open_store(platform, "declined")
    async with platform.client(store.customer) as shop:
        product = await add_product(shop, store, "LAMP", stock=3)
        order = (await shop.post("/api/v1/orders", order_of(product))).data["id"]
        wanted = {"order_id": order, "method": "card", "token": "tok_declined"}
        first = (await shop.post("/api/v1/payments", wanted)).data["id"]
        failed = (await shop.post(f"/api/v1/payments/{first}/process")).data
        assert failed["status"] == "failed"
        assert failed["failure_reason"]
        await shop.until(f"/api/v1/orders/{order}", "payment_status", "failed")

        second = await shop.post("/api/v1/payments", {"order_id": order, "method": "card"})
        await shop.post(f"/api/v1/payments/{second.data['id']}/process")

        await shop.until(f"/api/v1/orders/{order}", "status", "confirmed")
    platform.assert_balanced()


async def test_a_lost_answer_is_resolved_by_asking(platform: Platform) -> None:
    store = await open_store(platform, "lost")
    async with platform.client(store.customer) as shop:
        product = await add_product(shop, store, "LAMP", stock=3)
        order = (await shop.post("/api/v1/orders", order_of(product))).data["id"]
        wanted = {"order_id": order, "method": "card", "token": "tok_lost"}
        payment = (await shop.post("/api/v1/payments", wanted)).data["id"]

        unknown = await shop.post(f"/api/v1/payments/{payment}/process")

        assert (unknown.status, unknown.data["status"]) == (202, "processing")
        await shop.until(f"/api/v1/payments/{payment}", "status", "success")
        await shop.until(f"/api/v1/orders/{order}", "status", "confirmed")
    platform.assert_balanced()


async def test_prices_are_the_catalogues(platform: Platform) -> None:
    store = await open_store(platform, "prices")
    async with platform.client(store.customer) as shop:
        product = await add_product(shop, store, "LAMP", stock=3, price=10.0)
        cheap = {
            "items": [{"product_id": product, "quantity": 1, "unit_price": 0.01}],
            "shipping_address": "Here",
        }

        refused = await shop.post("/api/v1/orders", cheap)

        assert (refused.status, refused.code) == (409, "PRICE_CHANGED")
        assert "10.00" in refused.json["error"]["details"][0]["message"]


async def test_another_stores_and_another_customers_things_are_not_there(platform: Platform) -> None:
    mine, theirs = await open_store(platform, "mine"), await open_store(platform, "theirs")
    async with platform.client(mine.customer) as shop:
        product = await add_product(shop, mine, "LAMP", stock=3)
        order = (await shop.post("/api/v1/orders", order_of(product))).data["id"]
        payment = (await shop.post("/api/v1/payments", {"order_id": order, "method": "card"})).data["id"]
    paths = [f"/api/v1/orders/{order}", f"/api/v1/payments/{payment}", f"/api/v1/payments/order/{order}"]
    async with platform.client(theirs.admin) as stranger:
        for path in [*paths, f"/api/v1/products/{product}", f"/api/v1/products/{product}/inventory"]:
            assert (await stranger.get(path, headers={"X-Tenant-Id": "mine"})).status == 404
        bought = await stranger.post("/api/v1/orders", order_of(product))
        assert bought.status == 400
        assert (await stranger.post(f"/api/v1/orders/{order}/cancel", {})).status == 404
        assert (await stranger.post(f"/api/v1/payments/{payment}/refund", {})).status == 404
    other = {
        "email": "other@mine.example",
        "password": "other-password",
        "first_name": "Otto",
        "last_name": "Other",
    }
    async with platform.client(store="mine") as anybody:
        neighbour = (await anybody.post("/api/v1/users/register", other)).data["token"]
    async with platform.client(neighbour) as shop:
        for path in paths:
            assert (await shop.get(path)).status == 404
        assert (await shop.get("/api/v1/orders")).data == []
        assert (await shop.post("/api/v1/payments", {"order_id": order, "method": "cash"})).status == 404
