"""One order's journey is one trace, from the edge to the mailbox, in one process and over several."""

import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from gql import Client, gql
from gql.transport.websockets import WebsocketsTransport

from tests import rabbitmq_server
from tests.collector import Collector, Told, collecting
from tests.modes import OWN_PROCESSES
from tests.running import SPLIT, Clients, Platform, add_product, open_store, order_of
from tests.system.test_split import split
from tests.waiting import until

PARENT = "00f067aa0ba902b7"
CANARY = "canary-5d1f"
ORDER = """mutation ($product: ID!) {
  createOrder(input: {shippingAddress: "1 Harbour Street", items: [{productId: $product, quantity: 1}]}) {
    id
  }
}"""
SERVER, CLIENT, PRODUCER, CONSUMER = 2, 3, 4, 5
WHOLE = {
    "POST /api/v1/orders",
    "TRANSACTION orders",
    "send order.created",
    "process order.created",
    "mail order_created",
    "mail render",
    "mail send",
    "POST /api/v1/payments/{payment_id}/process",
    "charge sandbox",
    "send payment.success",
    "process payment.success",
    "mail order_paid",
    "POST /graphql",
    "query",
    "load Order.user",
}
"""What the trace of an order tells, besides other things."""


@dataclass(frozen=True)
class Journey:
    """What became of one order, as its trace tells it."""

    trace: str
    spans: list[Told]

    @property
    def names(self) -> set[str]:
        return {each.name for each in self.spans}

    def find(self, name: str) -> Told:
        """Return the only span of a name."""
        (found,) = [each for each in self.spans if each.name == name]
        return found

    def above(self, span: Told) -> list[str]:
        """Return the names of the spans that a span is within, the innermost first."""
        by_id = {each.id: each for each in self.spans}
        names = []
        while span.parent in by_id:
            span = by_id[span.parent]
            names.append(span.name)
        assert span.parent == PARENT, f"{names} end at {span.name}, within nothing that was told"
        return names


def settings(collector: Collector) -> dict[str, str]:
    return {
        "MERCATO_TRACES": "otlp",
        "MERCATO_TRACES_SAMPLE": "1",
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20collector-token",
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test",
    }


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as running:
        yield running


async def shop_once(platform: Clients, name: str) -> str:
    """Buy something as a traced client would, with secrets on the way; return the trace's id."""
    store = await open_store(platform, name)
    trace = secrets.token_hex(16)
    came = {"traceparent": f"00-{trace}-{PARENT}-00", "tracestate": "shop=front"}
    async with platform.client(store.customer, name) as shop:
        product = await add_product(shop, store, "MUG", stock=3)
        wanted = order_of(product) | {"notes": f"{CANARY}-note"}
        placed = await shop.post("/api/v1/orders", wanted, headers=came, key=f"{CANARY}-key")
        order = placed.data["id"]
        pay = {"order_id": order, "method": "card", "token": "tok_visa", "description": f"{CANARY}-text"}
        payment = (await shop.post("/api/v1/payments", pay, headers=came)).data["id"]
        await shop.post(f"/api/v1/payments/{payment}/process", headers=came)
        await shop.until(f"/api/v1/orders/{order}", "status", "confirmed")
        asked = {
            "query": f"query {CANARY.replace('-', '_')} {{ myOrders {{ data {{ user {{ email }} }} }} }}"
        }
        answered = (await shop.post("/graphql", asked, headers=came)).json
        assert "errors" not in answered, answered
        seen = await shop.get(f"/api/v1/products?search={CANARY}-words", headers=came)
        assert seen.status == 200
    return trace


async def journey(collector: Collector, trace: str) -> Journey:
    """Wait until all of the trace has arrived: each process exports what it has in its own time."""

    def arrived() -> bool:
        made = Journey(trace, collector.of(trace))
        ids = {PARENT} | {each.id for each in made.spans}
        return made.names >= WHOLE and all(each.parent in ids for each in made.spans)

    await until(arrived, within_s=40)
    return Journey(trace, collector.of(trace))


def assert_whole(made: Journey) -> None:
    """Assert that all of the trace hangs together, within the client's own span."""
    for each in made.spans:
        made.above(each)
        assert each.ended >= each.started
        assert not each.failed, each
    mail = made.find("mail order_paid")
    assert made.above(mail)[0] == "process payment.success"
    assert "POST /api/v1/payments/{payment_id}/process" in made.above(mail)
    assert {each.kind for each in made.spans if each.name.startswith("process ")} == {CONSUMER}
    # The gateway's and the service's, where they are two.
    assert {each.kind for each in made.spans if each.name == "POST /api/v1/orders"} == {SERVER}
    # What others keep of the trace goes with the events.
    assert {each.state for each in made.spans if each.name == "process order.created"} == {"shop=front"}


def assert_discreet(collector: Collector) -> None:
    """Assert that nothing is told that was said in confidence."""
    told = b"".join(collector.raw)
    for secret in (
        CANARY,
        CANARY.replace("-", "_"),
        "customer@",
        "Harbour Street",
        "tok_visa",
        "customer-password",
        "collector-token",
    ):
        assert secret.encode() not in told, secret


async def order_over_a_socket(platform: Clients, collector: Collector) -> list[Told]:
    """Place an order over a socket; return its trace, once its event was handled."""
    store = await open_store(platform, "socket")
    async with platform.client(store.customer, "socket") as shop:
        product = await add_product(shop, store, "CUP", stock=3)
    transport = WebsocketsTransport(
        url=f"{platform.url.replace('http', 'ws', 1)}/graphql",
        init_payload={"Authorization": f"Bearer {store.customer}"},
    )
    asked = gql(ORDER)
    asked.variable_values = {"product": product}
    async with Client(transport=transport) as client:
        await client.execute(asked)

    def of_socket() -> list[Told]:
        roots = [each.trace for each in collector.spans if each.name == "WS /graphql"]
        return collector.of(roots[0]) if roots else []

    await until(lambda: "mail order_created" in {each.name for each in of_socket()}, within_s=40)
    return of_socket()


def assert_of_a_socket(made: list[Told]) -> None:
    """Assert that an order over a socket is all within the operation."""
    roots = [each for each in made if not each.parent]
    assert [(each.name, each.kind) for each in roots] == [("WS /graphql", SERVER)]
    assert roots[0].attributes["mercato.tenant"] == "socket"
    (operation,) = [each for each in made if each.name == "mutation"]
    assert operation.parent == roots[0].id
    assert {"POST /api/v1/orders", "process order.created"} <= {each.name for each in made}


async def test_an_orders_journey_is_one_trace(tmp_path: Path, collector: Collector) -> None:
    platform = Platform(tmp_path, environ=settings(collector))
    platform.start()
    try:
        made = await journey(collector, await shop_once(platform, "journey"))
        assert_whole(made)
        assert {each["authorization"] for each in collector.headers} == {"Bearer collector-token"}
        async with platform.client() as anybody:
            metrics = (await anybody.get("/metrics")).body.decode()
            assert 'mercato_spans_total{outcome="dropped"} 0.0' in metrics
            await anybody.get("/api/v1/products?sku=LAST")
        assert_of_a_socket(await order_over_a_socket(platform, collector))
        # What was recorded last is exported before it ends.
        assert platform.stop() == 0
        told = [each for each in collector.spans if each.name == "GET /api/v1/products"]
        assert len({each.trace for each in told}) == 2
    finally:
        platform.discard()
    assert_discreet(collector)
    if not SPLIT:
        assert {each.service for each in made.spans} == {"mercato"}


async def test_a_collector_that_fails_is_told_of_once_and_in_nobodys_way(
    tmp_path: Path, collector: Collector
) -> None:
    collector.status = 500
    platform = Platform(tmp_path, environ=settings(collector))
    platform.start()
    try:
        async with platform.client() as anybody:

            async def dropped() -> bool:
                assert (await anybody.get("/api/v1/products")).status == 200
                told = (await anybody.get("/metrics")).body.decode()
                found = re.search(r'mercato_spans_total\{outcome="dropped"\} (\d+)', told)
                return found is not None and int(found[1]) > 0 and collector.requests > 1

            await until(dropped)
        assert platform.stop() == 0
        lines = [line for line in platform.lines() if line["event"] == "spans cannot be exported"]
        processes = {line.get("process") for line in lines}
        assert len(lines) == len(processes) > 0
        assert lines[0]["cause"] == "the collector answers 500"
    finally:
        platform.discard()


@OWN_PROCESSES
async def test_an_orders_journey_is_one_trace_over_processes(tmp_path: Path, collector: Collector) -> None:
    with split(
        tmp_path, **settings(collector), MERCATO_BROKER_URL=rabbitmq_server.shared().new_url()
    ) as running:
        made = await journey(collector, await shop_once(running, "journey"))
        assert_of_a_socket(await order_over_a_socket(running, collector))
    assert_whole(made)
    assert_over_processes(made)
    assert_discreet(collector)


def assert_over_processes(made: Journey) -> None:
    services = {each.service.removeprefix("mercato-") for each in made.spans}
    assert services == {"gateway", "products", "orders", "payments", "notifications", "users"}
    reserved = next(each for each in made.spans if each.service == "mercato-products" and each.kind == SERVER)
    assert made.above(reserved)
    sent = made.find("send order.created")
    assert (sent.service, sent.kind, sent.attributes["messaging.system"]) == (
        "mercato-orders",
        PRODUCER,
        "rabbitmq",
    )
