"""What a running platform tells at /metrics: what the documentation says, and nothing without bound."""

import asyncio
import re
import subprocess
from collections import defaultdict
from collections.abc import Iterator

from prometheus_client import Metric
from prometheus_client.samples import Sample

from mercato.kernel.ids import uuid7
from tests.engines import need
from tests.metrics_table import described, told_by
from tests.running import (
    ON_POSTGRES,
    SERVICES,
    SPLIT,
    Platform,
    Shopper,
    Store,
    add_product,
    open_store,
    order_of,
)
from tests.scrapes import families, total

PROCESSES = (*SERVICES, "gateway") if SPLIT else ("mercato",)


BUSINESS = (
    ("orders", "mercato_orders_placed_total", {"stock": "reserved"}),
    ("payments", "mercato_payments_total", {"method": "card", "outcome": "success"}),
    ("payments", "mercato_revenue_minor_units_total", {"currency": "USD"}),
    ("users", "mercato_stores", {"status": "active"}),
)
"""What there is of once somebody has bought something: at which process, and under which labels."""


async def text_of(platform: Platform, process: str) -> str:
    async with platform.client(at=process) as scraper:
        answer = await scraper.get("/metrics")
    assert answer.status == 200
    return answer.body.decode()


def samples(family: Metric) -> Iterator[Sample]:
    return (each for each in family.samples if not each.name.endswith("_created"))


def has() -> set[str]:
    """Return what the platform has that others have not."""
    if SPLIT:
        return {"PostgreSQL", "RabbitMQ", "Redis"}
    return {"PostgreSQL"} if ON_POSTGRES else set()


async def test_each_process_tells_what_the_documentation_says_and_nothing_else(platform: Platform) -> None:
    store = await open_store(platform, "documented")
    async with platform.client(store.customer) as shop:
        product = await add_product(shop, store, "LAMP", stock=3)
        order = (await shop.post("/api/v1/orders", order_of(product))).data["id"]
        payment = (await shop.post("/api/v1/payments", {"order_id": order, "method": "card"})).data["id"]
        assert (await shop.post(f"/api/v1/payments/{payment}/process")).status == 200
        await shop.post("/graphql", {"query": "{ nothing }"})
    known = described()
    told_of = [total(await text_of(platform, process), name, **labels) for process, name, labels in BUSINESS]
    assert min(told_of) >= 1, told_of
    for process in PROCESSES:
        told = {family.name: family for family in families(await text_of(platform, process))}
        assert set(told) == told_by(process, *has()), process
        for name, family in told.items():
            assert family.type == known[name].kind, name
            assert len(family.documentation) > 10, name
            for sample in samples(family):
                assert set(sample.labels) - {"le"} == known[name].labels, name


async def test_the_metrics_are_well_formed(platform: Platform) -> None:
    need("prometheus")
    for process in PROCESSES:
        text = await text_of(platform, process)
        command = ["promtool", "check", "metrics"]
        checked = await asyncio.to_thread(
            subprocess.run, command, input=text, capture_output=True, text=True, check=False
        )
        assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


CANARY = "kanarienvogel"
"""Part of whatever strangers choose here."""
MOST_VALUES = 250
"""Of one label: there are as many routes, and fewer of all else."""
FEW = 20
"""A fraction of the strange things that are asked for in a round."""
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}|[0-9]{6}|@|%|\\|" + CANARY, re.IGNORECASE)
_ROUTE = re.compile(r"(GET|POST|PUT|PATCH|DELETE|SOCKET) (/[\w.-]*|/\{\w+\})+|unrouted")
_CODE = re.compile(r"[A-Z_]*|1\d{3}|4\d{3}")
"""Sockets are told by what they were closed with (RFC 6455, section 7.4)."""


async def be_hostile(shop: Shopper, store: Store) -> None:
    """Send all sorts of requests with what never was sent before, such as ids, emails and paths."""
    new = f"{CANARY}-{uuid7()}"
    json, email = "application/json", f"{new}@example.com"
    odd = {"X-Tenant-Id": new, "X-Request-Id": new, "Idempotency-Key": new, "Origin": f"https://{new}"}
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "FROB", new.upper()):
        for path in (
            f"/{new}",
            f"/api/v1/{new}?{new}={new}",
            f"/api/v1/orders/{new}",
            f"/api/v1/users/{email}",
            f"/api/v1/products/{uuid7()}/inventory",
            f"/orders/{new}:{uuid7()}",
            f"/api/v1/payments/webhooks/{new}",
            f"/internal/v1/{new}",
            f"/api/v1/{'x' * 3000}/{new}",
            f"/%00%0a/{new}/%F0%9F%A6%9C",
        ):
            await shop.send(method, path, json, f'{{"{new}": "{email}"}}'.encode(), headers=odd)
    credentials = {"email": email, "password": new}
    await shop.post("/api/v1/users/login", credentials)
    await shop.post("/api/v1/users/register", credentials | {"first_name": new, "last_name": new})
    await shop.get("/api/v1/products", token=new)
    await shop.send("POST", "/api/v1/products", f"application/{new}", new.encode(), store.admin)
    product = {"sku": new[:60], "name": new, "price": 1, "stock": 1, "category": new}
    added = (await shop.post("/api/v1/products", product, token=store.admin)).data["id"]
    order = order_of(added) | {"notes": new, "name": new}
    await shop.post("/api/v1/orders", order, key=new)
    assert (await shop.post("/api/v1/orders", order)).code == "OUT_OF_STOCK"
    for asked in (
        {"query": f"query {CANARY} {{ {CANARY} }}", "operationName": CANARY},
        {"query": "{ products { data { id } } }", "variables": {new: new}, "operationName": new},
        {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": uuid7()}}},
        {"query": f'mutation {{ cancelOrder(id: "{new}") {{ id }} }}'},
    ):
        await shop.post("/graphql", asked)


async def values_of(platform: Platform) -> dict[str, set[str]]:
    """Return every value of every label."""
    found: dict[str, set[str]] = defaultdict(set)
    for process in PROCESSES:
        for family in families(await text_of(platform, process)):
            for sample in samples(family):
                for label, value in sample.labels.items():
                    found[label].add(value)
    del found["le"]
    return found


async def test_whatever_is_asked_for_no_label_has_values_without_bound(platform: Platform) -> None:
    store = await open_store(platform, f"{CANARY}-store")
    async with platform.client(store.customer) as shop:
        await be_hostile(shop, store)
        before = await values_of(platform)
        await be_hostile(shop, store)
    after = await values_of(platform)
    for label, values in after.items():
        assert len(values) <= MOST_VALUES, (label, values)
        assert [value for value in values if _ID.search(value)] == [], label
        if label in {"route", "code"}:
            wanted = _ROUTE if label == "route" else _CODE
            assert [value for value in values if not wanted.fullmatch(value)] == []
        elif label != "event":
            assert [value for value in values if "/" in value or len(value) > 60] == [], label
    # Whatever is new in the second round is there for another reason, such as a busy machine's first refusal.
    new = {label: values - before[label] for label, values in after.items()}
    assert sum(map(len, new.values())) < FEW, new
