"""Third parties' clients of GraphQL, by their defaults: an account, an order, and what becomes of it."""

import asyncio
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest
from gql import Client, gql
from gql.client import AsyncClientSession
from gql.transport.websockets import WebsocketsTransport

from tests.running import Platform, add_product, open_store
from tests.waiting import until

REGISTER = """mutation { register(input: {email: "gql@example.com", password: "password123",
  firstName: "John", lastName: "Doe"}) { user { id } } }"""
LOGIN = 'mutation { login(input: {email: "gql@example.com", password: "password123"}) { token } }'
ORDER = """mutation($product: ID!) { createOrder(input: {shippingAddress: "123 Main St",
  items: [{productId: $product, quantity: 1}]}) { id status totalAmount } }"""
CANCEL = "mutation($order: ID!) { cancelOrder(id: $order) { status } }"
FOLLOW = "subscription { orderStatusChanged { id status items { productName } user { email } } }"


def client(platform: Platform, store: str, token: str | None = None) -> Client:
    told = {"X-Tenant-Id": store} | ({} if token is None else {"Authorization": f"Bearer {token}"})
    transport = WebsocketsTransport(url=f"ws://127.0.0.1:{platform.port}/graphql", init_payload=told)
    return Client(transport=transport, fetch_schema_from_transport=True)


async def execute(session: AsyncClientSession, document: str, **variables: Any) -> Any:
    request = gql(document)
    request.variable_values = variables
    return await session.execute(request)


async def test_gql_registers_signs_in_orders_and_hears_of_it(platform: Platform) -> None:
    store = await open_store(platform, "gql-client")
    async with platform.client(store=store.id) as shop:
        product = await add_product(shop, store, "LAPTOP", stock=3, price=999.99)
    async with client(platform, store.id) as stranger:
        made = await execute(stranger, REGISTER)
        assert made["register"]["user"]["id"]
        token = (await execute(stranger, LOGIN))["login"]["token"]
    async with client(platform, store.id, token) as session:
        told: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

        async def follow() -> None:
            async for each in session.subscribe(gql(FOLLOW)):
                await told.put(each["orderStatusChanged"])

        await subscribers(platform, 0)
        following = asyncio.create_task(follow())
        await subscribers(platform, 1)
        async with asyncio.timeout(20):
            order = (await execute(session, ORDER, product=product))["createOrder"]
            assert order["totalAmount"] == 999.99
            await execute(session, CANCEL, order=order["id"])
            heard = [await told.get()]
            while heard[-1]["status"] != "cancelled":
                heard.append(await told.get())
        following.cancel()
    assert {each["id"] for each in heard} == {order["id"]}
    assert heard[-1]["items"] == [{"productName": "Product LAPTOP"}]
    assert heard[-1]["user"] == {"email": "gql@example.com"}


async def subscribers(platform: Platform, count: int) -> None:
    """Wait until so many subscriptions are heard for: what comes before that, they are not told."""
    async with platform.client() as anybody:

        async def are() -> bool:
            text = (await anybody.get("/metrics")).body.decode()
            return f"\nmercato_live_subscribers {count}.0\n" in text

        await until(are)


async def test_graphql_ws_of_npm_hears_of_an_order_that_is_asked_for_over_http(
    platform: Platform, tmp_path: Path
) -> None:
    if shutil.which("npm") is None:
        assert os.environ.get("CI") != "true", "npm is not installed, and CI needs it"
        pytest.skip("npm is not installed")
    store = await open_store(platform, "npm-client")
    async with platform.client(store=store.id) as shop:
        product = await add_product(shop, store, "LAPTOP", stock=30, price=999.99)
    program = tmp_path / "npm_client"
    shutil.copytree(Path(__file__).parents[1] / "npm_client", program)
    ended = await asyncio.to_thread(_run, program, platform.url, store.id, product)
    assert ended.returncode == 0, ended.stderr
    told = msgspec.json.decode(ended.stdout)
    assert told[0]["totalAmount"] == 999.99
    assert told[-1]["status"] == "cancelled"


def _run(program: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    subprocess.run(["npm", "ci", "--no-audit", "--no-fund"], cwd=program, check=True, timeout=120)
    command = ["node", "shopper.mjs", *words]
    return subprocess.run(command, cwd=program, capture_output=True, text=True, timeout=60, check=False)
