"""A shell with more to do than it can: whom it refuses, and whom it serves all the same."""

import asyncio
from dataclasses import dataclass, field

import msgspec
import pytest

from mercato.kernel.errors import Overloaded
from mercato.web import admission as admission_module
from mercato.web import health as health_web
from mercato.web.admission import Admission
from mercato.web.call import Call
from mercato.web.decode import Body
from mercato.web.endpoint import PUBLIC, SIGNED_IN, Routes
from mercato.web.health import Health
from tests.asgi_client import Answer, Client
from tests.shop import Shop, bearer, open_shop
from tests.waiting import until

AT_ONCE = 2


class Work(Body, frozen=True):
    """What is to be done."""

    name: str = ""


@dataclass
class Busy:
    """A shell whose handlers stand still, that may work on two requests at once and never on more."""

    shop: Shop
    admission: Admission
    go_on: asyncio.Event
    worked: list[str]
    asked: "list[asyncio.Task[Answer]]" = field(default_factory=list)

    def ask(self, token: str | None, address: str = "192.0.2.7") -> "asyncio.Task[Answer]":
        client = Client(self.shop.app)
        client.address = address
        headers = {} if token is None else bearer(token)
        if token is None:
            asking = client("GET", "/work")
        else:
            asking = client("POST", "/work", {"name": token}, headers=headers)
        task = asyncio.create_task(asking)
        self.asked.append(task)
        return task

    async def get_behind(self, token: str) -> None:
        """Have so many requests of somebody's wait that no more are let in."""
        for _ in range(AT_ONCE + 3):
            self.ask(token)

        def is_full() -> bool:
            try:
                self.admission.check("default")
            except Overloaded:
                return True
            return False

        await until(is_full)


@pytest.fixture
def busy(monkeypatch: pytest.MonkeyPatch) -> Busy:
    monkeypatch.setattr(admission_module, "LEAST", AT_ONCE)
    admission = Admission(0.2, lambda: True)
    admission.limit = AT_ONCE
    go_on, worked = asyncio.Event(), list[str]()
    routes = Routes("work", prefix="/work")

    @routes.get("", allow=PUBLIC)
    async def look(call: Call) -> None:
        """Look on."""
        worked.append("nobody")
        await go_on.wait()

    @routes.post("", allow=SIGNED_IN)
    async def work(call: Call, body: Work) -> None:
        """Work."""
        worked.append(body.name)
        await go_on.wait()

    shop = open_shop(routes, health_web.routes(Health("shop", "1", {}), ()), admission=admission)
    return Busy(shop, admission, go_on, worked)


async def test_a_store_with_too_much_waiting_is_refused_before_any_work_and_others_are_not(
    busy: Busy,
) -> None:
    await busy.get_behind("ann")
    before = list(busy.worked)
    refused = await busy.ask("ann")
    assert (refused.status, refused.code) == (503, "SERVICE_UNAVAILABLE")
    assert refused.headers["retry-after"] == "1"
    assert busy.worked == before == ["ann", "ann"]

    others = [busy.ask("bea"), busy.ask(None), busy.ask(None, "192.0.2.8")]
    await until(lambda: busy.admission.waiting == 3 + len(others))
    busy.go_on.set()
    assert [answer.status for answer in await asyncio.gather(*others)] == [204, 204, 204]
    # Each has had its turn before the last of those that were there first.
    assert busy.worked[-1] == "ann"
    assert {answer.status for answer in await asyncio.gather(*busy.asked)} == {204, 503}
    assert (busy.admission.in_use, busy.admission.waiting) == (0, 0)


async def test_nobody_without_a_token_crowds_out_a_store_by_naming_it(busy: Busy) -> None:
    """They wait with others of their address."""
    for _ in range(30):
        busy.ask(None)
    await until(lambda: busy.admission.waiting == 30 - AT_ONCE)
    served = busy.ask("ann")
    await until(lambda: busy.admission.waiting == 31 - AT_ONCE)
    busy.go_on.set()
    assert (await served).status == 204
    assert busy.worked.index("ann") <= AT_ONCE + 1
    await asyncio.gather(*busy.asked)


async def test_health_is_answered_whatever_waits_and_metrics_count_who_is_refused(busy: Busy) -> None:
    await busy.get_behind("ann")
    await busy.ask("ann")
    client = Client(busy.shop.app)
    for path in ("/health", "/health/live"):
        answer = await client("GET", path)
        assert answer.status == 200, path
        assert msgspec.json.decode(answer.body)["status"] == "ok"
    assert busy.shop.registry.get_sample_value("mercato_requests_shed_total", {"reason": "overload"}) == 1
    busy.go_on.set()
    await asyncio.gather(*busy.asked)


async def test_who_is_cut_off_while_it_waits_leaves_no_trace(busy: Busy) -> None:
    await busy.get_behind("ann")
    for task in busy.asked:
        task.cancel()
    await asyncio.gather(*busy.asked, return_exceptions=True)
    assert (busy.admission.in_use, busy.admission.waiting) == (0, 0)
    busy.go_on.set()
    assert (await busy.ask("ann")).status == 204
