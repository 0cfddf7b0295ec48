"""What is asked of a real Prometheus that scrapes a running platform: by dashboards, alerts and pages."""

import asyncio
import re
import time
from collections.abc import Callable, Iterator

import pytest

from tests.commands import wait_until
from tests.engines import need
from tests.metrics_table import described
from tests.prometheus_server import Failed, PrometheusServer
from tests.running import SERVICES, SPLIT, Platform, Shopper, Store, add_product, open_store, order_of
from tests.waiting import until
from tests.watching import PAGES, Query, choices, names, queries, rules, selected

NOT_HERE = {"workers", "traces"} | (set() if SPLIT else {"apart", "RabbitMQ", "Redis", "PostgreSQL"})
"""What the platform of the tests has not, and metrics that are told by that alone with it."""
CALLS = re.compile(r"mercato_(circuit|concurrency|neighbour|retries)_")
"""What has no series where nobody else is called: one process with the sandbox calls nobody."""
EMPTY_WHEN_WELL = {
    ("service", "Failures by code"): "nothing fails",
    ("service", "Warnings and errors of the last hour"): "nothing is wrong",
}
LEFT_BY_OTHERS = {"MercatoErrorsLogged", "MercatoDefects", "MercatoDeadLetters", "MercatoEventsParked"}
"""What is still told of what other tests did to the platform that they share."""
OF_SPEED = {
    "MercatoEventLoopSlow",
    "MercatoFreshnessBudgetBurn",
    "MercatoPlacementLatencyBudgetBurn",
    "MercatoReadLatencyBudgetBurn",
}
"""What depends on how much else the machine does."""
SEEN_WITHIN_S = 60.0
LOOK_S = 0.5


@pytest.fixture(scope="module")
def prometheus(platform: Platform) -> Iterator[PrometheusServer]:
    """A Prometheus that has seen the platform at work."""
    need("prometheus")
    server = PrometheusServer(ports(platform))
    server.start()
    # A change is seen of what was seen before it.
    wait_until(lambda: len(server.query("up == 1")) == len(server.ports))
    asyncio.run(work(platform))
    yield server
    server.stop()


def ports(platform: Platform) -> dict[str, int]:
    """Return where each process tells its metrics."""
    if not SPLIT:
        return {"mercato": platform.port}
    return {"gateway": platform.port} | {each: platform.port_of(each) for each in SERVICES}


async def work(platform: Platform) -> None:
    """Have everything happen that a store sees on an ordinary day."""
    store = await open_store(platform, "watched")
    async with platform.client(store.customer) as shop:
        product = await add_product(shop, store, "LAMP", stock=3)
        for _ in range(2):
            assert (await shop.get(f"/api/v1/products/{product}")).status == 200
        assert (await shop.post("/api/v1/orders", order_of(product, 4))).code == "OUT_OF_STOCK"
        await pay(shop, await order(shop, product), "tok_declined")
        paid = await order(shop, product)
        payment = await pay(shop, paid, "tok_visa")
        await shop.until(f"/api/v1/orders/{paid}", "status", "confirmed")
        await shop.post(f"/api/v1/payments/{payment}/refund", {}, token=store.admin)
        for query in ("{ me { email } }", "{ nothing }"):
            await shop.post("/graphql", {"query": query})
        await shop.get("/api/v1/products/export", token=store.admin)
    await go_too_far(platform, store)


async def order(shop: Shopper, product: str) -> str:
    return str((await shop.post("/api/v1/orders", order_of(product))).data["id"])


async def pay(shop: Shopper, order_id: str, token: str) -> str:
    wanted = {"order_id": order_id, "method": "card", "token": token}
    payment = str((await shop.post("/api/v1/payments", wanted)).data["id"])
    await shop.post(f"/api/v1/payments/{payment}/process")
    return payment


async def go_too_far(platform: Platform, store: Store) -> None:
    """Try passwords, and ask for more than the tier gives."""
    ended = platform.command("tenants", "set-tier", store.id, "basic")
    assert ended.returncode == 0, ended.stderr
    async with platform.client(store=store.id) as stranger:
        wrong = {"email": f"customer@{store.id}.example", "password": "not-the-password"}
        statuses = {(await stranger.post("/api/v1/users/login", wrong)).status for _ in range(11)}
        assert statuses == {401, 429}
    async with platform.client(store.customer) as shop:

        async def refused() -> bool:
            at_once = await asyncio.gather(*(shop.get("/api/v1/orders?limit=1") for _ in range(50)))
            return 429 in {answer.status for answer in at_once}

        await until(refused)


def not_told_here() -> set[str]:
    """Return the names of what this platform has no reason to tell."""
    found: set[str] = set()
    for each in described().values():
        if NOT_HERE.issuperset(each.told_by.split(", ")):
            found |= all_names(each.name, each.kind)
    return found


def all_names(name: str, kind: str) -> set[str]:
    """Return the names of a metric's series."""
    return {f"{name}_{part}" for part in ("bucket", "count", "sum")} if kind == "histogram" else {name}


def known(prometheus: PrometheusServer) -> set[str]:
    """Return the names of what the platform tells, of what is recorded, and Prometheus's own."""
    found = {"up"} | {rule["record"] for rule in rules() if "record" in rule}
    for name, (about, *_) in prometheus.ask("metadata").items():
        found |= all_names(name, about["type"])
    return found


def of_pages() -> Iterator[str]:
    """Return every query that a page for operators shows."""
    for page in sorted(PAGES.glob("*.md")):
        for block in re.findall(r"```promql\n(.*?)```", page.read_text(), re.DOTALL):
            yield from block.strip().splitlines()


def asked() -> list[str]:
    """Return everything that is asked, by whomever."""
    return [rule["expr"] for rule in rules()] + [each.expression for each in queries()] + list(of_pages())


def test_everything_that_is_asked_is_understood_and_about_what_there_is(
    prometheus: PrometheusServer,
) -> None:
    missing: dict[str, str] = {}
    there = known(prometheus) | not_told_here()
    for expression in asked():
        try:
            prometheus.query(expression)
        except Failed as error:
            raise AssertionError(f"{expression}: {error}") from None
        missing |= dict.fromkeys(names(expression) - there, expression)
    assert missing == {}


def test_what_is_asked_knows_series_by_labels_that_they_have(prometheus: PrometheusServer) -> None:
    labels: dict[str, set[str]] = {}
    unknown: dict[str, set[str]] = {}
    for expression in asked():
        for name, chosen in selected(expression):
            if name not in labels:
                series = prometheus.ask("series", **{"match[]": name})
                labels[name] = {label for each in series for label in each}
            if labels[name] and not chosen <= labels[name]:
                unknown[expression] = chosen - labels[name]
    assert unknown == {}


def test_every_variable_has_something_to_choose_from(prometheus: PrometheusServer) -> None:
    for selector, label in choices():
        series = prometheus.ask("series", **{"match[]": selector})
        assert any(label in each for each in series), f"{selector} has no {label}"


def test_every_panel_shows_something_of_a_platform_that_is_well(prometheus: PrometheusServer) -> None:
    waited_for = [each for each in queries() if is_expected(each)]

    def all_are_there() -> bool:
        waited_for[:] = [each for each in waited_for if not prometheus.query(each.expression)]
        return not waited_for

    seen(all_are_there, lambda: f"these panels are empty: {waited_for}")


def is_expected(query: Query) -> bool:
    """Say whether there must be something to show."""
    is_well = (query.dashboard, query.panel) in EMPTY_WHEN_WELL
    about = names(query.expression)
    is_of_calls = any(CALLS.match(name) for name in about)
    return not is_well and not about & not_told_here() and (SPLIT or not is_of_calls)


def test_of_a_platform_that_is_well_nobody_is_told(prometheus: PrometheusServer) -> None:
    seen(lambda: bool(prometheus.query("slo:mercato_budget:burn_1h")), lambda: "nothing is recorded")
    assert [rule["name"] for rule in judged(prometheus) if rule["health"] != "ok"] == []
    unexpected: set[str] = set()

    def nothing_lasts() -> bool:
        """Say whether no condition holds. For one that passes, an alert waits."""
        told = prometheus.alerts()
        assert told["firing"] - LEFT_BY_OTHERS - OF_SPEED == set()
        unexpected.clear()
        unexpected.update(told["pending"] - LEFT_BY_OTHERS - OF_SPEED)
        return not unexpected

    seen(nothing_lasts, lambda: f"the conditions of {unexpected} last")


def judged(prometheus: PrometheusServer) -> list[dict[str, str]]:
    return [rule for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]


def seen(condition: Callable[[], bool], problem: Callable[[], str]) -> None:
    """Wait for Prometheus to have seen something. It looks once a second."""
    deadline = time.monotonic() + SEEN_WITHIN_S
    while not condition():
        assert time.monotonic() < deadline, problem()
        time.sleep(LOOK_S)
