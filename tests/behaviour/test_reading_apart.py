"""A service in a process of its own is read by the gateway, which is nobody itself."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from mercato.adapters.identity.service_tokens import ClusterSecret
from mercato.clients.neighbour import Neighbour
from mercato.clients.order_reading import OrderReaderClient
from mercato.clients.payment_reading import PaymentReaderClient
from mercato.clients.product_reading import ProductReaderClient
from mercato.clients.user_reading import UserReaderClient
from mercato.contracts.order_reading import OrdersWanted
from mercato.contracts.payment_reading import PaymentsWanted
from mercato.contracts.product_reading import ProductsWanted
from mercato.contracts.reading import Listed
from mercato.contracts.user_reading import UsersWanted
from mercato.kernel.clock import utc_now
from mercato.kernel.errors import Forbidden, MercatoError
from mercato.runtime.apart import Apart
from mercato.runtime.settings import Settings
from tests.behaviour.readers import ADMIN, HERE, machine, window
from tests.reach import PatientNeighbour, listening
from tests.running import free_port

WORDS = "what the services of a cluster sign with"
NOTHING: Listed[Any] = Listed((), 0, has_more=False, end=None)

READ: dict[str, Callable[[Neighbour], Awaitable[Listed[Any]]]] = {
    "orders": lambda near: OrderReaderClient(near).page(ADMIN, OrdersWanted(), window()),
    "payments": lambda near: PaymentReaderClient(near).page(ADMIN, PaymentsWanted(), window()),
    "users": lambda near: UserReaderClient(near).page(ADMIN, UsersWanted(), window()),
    "products": lambda near: ProductReaderClient(near).page(HERE, ProductsWanted(), window()),
}


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as opened:
        yield opened


async def gateway_to(service: str, folder: Path, stack: AsyncExitStack) -> Neighbour:
    """Start a service in this process, and return it as the gateway calls it."""
    settings = Settings(data=str(folder), cluster_secret=WORDS, users_url=f"http://127.0.0.1:{free_port()}")
    apart = Apart(service, settings, lambda _: None, CollectorRegistry())
    await apart.start()
    stack.push_async_callback(apart.stop)
    url = await stack.enter_async_context(listening(apart))
    near = PatientNeighbour(service, url, caller="gateway", secret=ClusterSecret(WORDS, clock=utc_now))
    stack.push_async_callback(near.close)
    return near


@pytest.mark.parametrize("service", READ)
async def test_the_gateway_reads_for_somebody(service: str, tmp_path: Path, stack: AsyncExitStack) -> None:
    assert await READ[service](await gateway_to(service, tmp_path, stack)) == NOTHING


async def test_the_gateway_may_read_no_more_than_whom_it_reads_for(
    tmp_path: Path, stack: AsyncExitStack
) -> None:
    orders = await gateway_to("orders", tmp_path, stack)

    with pytest.raises(Forbidden):
        await OrderReaderClient(orders).many(machine("payments:read"), [])


async def test_a_stranger_reads_nothing(tmp_path: Path, stack: AsyncExitStack) -> None:
    near = await gateway_to("orders", tmp_path, stack)
    other = ClusterSecret("?" * 32, clock=utc_now)
    stranger = PatientNeighbour("orders", near._url, caller="gateway", secret=other)
    stack.push_async_callback(stranger.close)

    with pytest.raises(MercatoError) as refused:
        await OrderReaderClient(stranger).page(ADMIN, OrdersWanted(), window())

    assert refused.value.code == "INTERNAL_ERROR"
