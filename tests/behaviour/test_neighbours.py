"""Calling a service that answers, fails, stands still or is gone; and being called by strangers."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal

import msgspec
import pytest
from pyreqwest.client import ClientBuilder

from mercato.adapters.http.breaker import BreakerState, CircuitOpen
from mercato.adapters.identity.service_tokens import ClusterSecret
from mercato.clients.internal import Asked, Internal, store_of
from mercato.clients.neighbour import Neighbour
from mercato.clients.refusals import KNOWN, NeighbourFailed
from mercato.contracts.products import OutOfStock, WantedLine
from mercato.kernel.clock import utc_now
from mercato.kernel.errors import FieldError, MercatoError, NotFound, Unavailable
from mercato.kernel.money import Amount
from mercato.kernel.passing import passing
from mercato.kernel.tenancy import TenantId
from mercato.web.call import Call
from mercato.web.errors import enveloped_error, error_response
from mercato.web.http import Request, Response
from tests.reach import SECRET, front_of, listening
from tests.running import free_port

ACME = TenantId("acme")
URL = "/internal/v1/anything"


class Question(Asked, frozen=True):
    text: str = "?"


class Priced(Asked, frozen=True):
    line: WantedLine


def good() -> Response:
    return Response(200, b'{"success":true,"data":"yes"}')


@dataclass
class Scripted:
    """A service that answers as it is told, the last thing again and again."""

    script: list[Callable[[], Response]] = field(default_factory=lambda: [good])
    asked: list[Mapping[str, str]] = field(default_factory=list)
    stands_still: bool = False
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, request: Request) -> Response:
        self.asked.append(request.headers)
        if self.stands_still:
            await self.ended.wait()
        return (self.script.pop(0) if len(self.script) > 1 else self.script[0])()


def refused(error: MercatoError) -> Callable[[], Response]:
    return lambda: error_response(error, enveloped_error(error, "some-id"))


def away() -> Response:
    return refused(Unavailable("not now"))()


@asynccontextmanager
async def neighbour(service: Scripted) -> AsyncIterator[Neighbour]:
    async with listening(service) as url:
        called = Neighbour("products", url, caller="orders", secret=SECRET)
        yield called
        service.ended.set()
        await called.close()


async def ask(called: Neighbour, *, repeatable: bool = True, timeout_s: float = 10.0) -> str:
    return await called.ask(URL, Question(), str, tenant=ACME, repeatable=repeatable, timeout_s=timeout_s)


async def test_what_is_repeatable_is_tried_again_after_a_failure() -> None:
    service = Scripted([away, good])
    async with neighbour(service) as products:
        assert await ask(products) == "yes"
    assert len(service.asked) == 2


async def test_an_amount_arrives_as_a_request_carried_it() -> None:
    """A request's amounts are of a type of their own."""
    read: list[bytes] = []

    class Reads(Scripted):
        async def handle(self, request: Request) -> Response:
            read.append(await request.read_body(1_000))
            return good()

    async with neighbour(Reads()) as products:
        await products.ask(URL, Priced(WantedLine("LAMP", 1, Amount("0.10"))), str)

    assert msgspec.json.decode(read[0], type=Priced).line.expected_price == Decimal("0.10")


async def test_what_is_not_repeatable_is_tried_once() -> None:
    service = Scripted([away, good])
    async with neighbour(service) as products:
        with pytest.raises(Unavailable):
            await ask(products, repeatable=False)
    assert len(service.asked) == 1


async def test_repeats_of_everything_that_fails_run_out() -> None:
    """Or a service that is down would be called three times as often as one that is up."""
    service = Scripted([away])
    async with neighbour(service) as products:
        products._dependency.breaker.failed = lambda *_: None  # type: ignore[method-assign]  # of repeats alone
        for _ in range(60):
            with pytest.raises(Unavailable):
                await ask(products)
    assert len(service.asked) < 60 + 20


@pytest.mark.parametrize("known", sorted(KNOWN))
async def test_a_refusal_is_raised_again_as_it_was(known: str) -> None:
    error = KNOWN[known]("What is wrong.", [FieldError("items[0]", "only 2 left")])
    async with neighbour(Scripted([refused(error)])) as products:
        with pytest.raises(MercatoError) as raised:
            await ask(products)
    assert type(raised.value) is KNOWN[known]
    assert raised.value.message == "What is wrong."
    assert raised.value.details == (FieldError("items[0]", "only 2 left"),)


class Odd(NotFound):
    """A refusal that no contract names."""

    code = "ODD"


@pytest.mark.parametrize(
    "answer",
    [
        refused(Odd("?")),
        lambda: Response(500, b"<html>"),
        lambda: Response(400, b"[" * 100_000),
        lambda: Response(302, b""),
        lambda: Response(200, b"not json"),
        lambda: Response(200, b'{"data": 5}'),
        lambda: Response(200, b'{"data": "\xff"}'),
    ],
)
async def test_what_no_contract_names_is_a_defect_and_never_told_in_its_words(
    answer: Callable[[], Response],
) -> None:
    async with neighbour(Scripted([answer])) as products:
        with pytest.raises(NeighbourFailed) as raised:
            await ask(products)
    assert raised.value.code == "INTERNAL_ERROR"


async def test_after_three_failures_nobody_is_asked_any_more() -> None:
    service = Scripted([away])
    async with neighbour(service) as products:
        for _ in range(3):
            with pytest.raises(Unavailable):
                await ask(products, repeatable=False)
        assert products.state is BreakerState.OPEN

        with pytest.raises(CircuitOpen) as raised:
            await ask(products)
    assert len(service.asked) == 3
    assert raised.value.code == "CIRCUIT_OPEN"
    assert raised.value.retry_after is not None
    assert 25 <= raised.value.retry_after <= 30


async def test_what_is_asked_all_the_time_opens_no_circuit_and_helps_to_close_one() -> None:
    """As while the services start, each at its own pace: who comes first finds nobody for a while."""
    service = Scripted([away])
    async with neighbour(service) as products:

        async def poll() -> str:
            return await products.ask(URL, Question(), str, background=True)

        for _ in range(10):
            with pytest.raises(Unavailable):
                await poll()
        assert state_of(products) is BreakerState.CLOSED
        for _ in range(3):
            with pytest.raises(Unavailable):
                await ask(products, repeatable=False)
        assert state_of(products) is BreakerState.OPEN
        asked = len(service.asked)
        with pytest.raises(Unavailable):
            await poll()
        assert len(service.asked) > asked
        products._dependency.breaker._opened_at -= 30
        service.script = [good]
        for _ in range(3):
            assert await poll() == "yes"
        assert state_of(products) is BreakerState.CLOSED


def state_of(called: Neighbour) -> BreakerState:
    return called.state


async def test_refusals_however_many_open_nothing() -> None:
    async with neighbour(Scripted([refused(OutOfStock("none"))])) as products:
        for _ in range(10):
            with pytest.raises(OutOfStock):
                await ask(products)
        assert products.state is BreakerState.CLOSED


async def test_who_stands_still_is_given_up_in_time_and_then_left_alone() -> None:
    async with neighbour(Scripted(stands_still=True)) as products:
        began = time.monotonic()
        for _ in range(3):
            with pytest.raises(Unavailable):
                await ask(products, timeout_s=0.2)
        assert time.monotonic() - began < 2
        assert products.state is BreakerState.OPEN


async def test_a_caller_who_goes_away_says_nothing_of_the_service() -> None:
    async with neighbour(Scripted(stands_still=True)) as products:
        for _ in range(5):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02):
                    await ask(products)
        assert products.state is BreakerState.CLOSED


async def test_who_is_gone_is_told_as_away() -> None:
    products = Neighbour("products", f"http://127.0.0.1:{free_port()}", caller="orders", secret=SECRET)

    with pytest.raises(Unavailable, match="The products service is away"):
        await ask(products)
    await products.close()


async def test_without_a_secret_nobody_is_asked() -> None:
    products = Neighbour("products", "http://127.0.0.1:1", caller="orders", secret=None)

    with pytest.raises(Unavailable, match="MERCATO_CLUSTER_SECRET"):
        await ask(products)


async def test_the_id_and_what_is_left_of_the_time_are_passed_on_less_at_each_hop() -> None:
    service = Scripted()
    async with neighbour(service) as products:
        with passing("request-7", 3.0):
            await ask(products)
        await ask(products, timeout_s=5.0)
    first, second = service.asked
    assert first["x-request-id"] == "request-7"
    assert int(first["x-request-deadline"]) <= 2_980
    assert "x-request-id" not in second
    assert int(second["x-request-deadline"]) <= 4_980


async def test_who_has_no_time_left_asks_nobody() -> None:
    service = Scripted()
    async with neighbour(service) as products:
        with passing(None, 0.01), pytest.raises(Unavailable):
            await ask(products)
    assert service.asked == []


# Being called


def greeter() -> Internal:
    internal = Internal()

    async def greet(call: Call, body: Question) -> str:
        return f"{store_of(call)} {body.text}"

    internal.on("/greet", greet)
    return internal


async def send(url: str, token: str | None, body: bytes = b"{}") -> tuple[int, bytes]:
    async with ClientBuilder().timeout(timedelta(seconds=10)).build() as client:
        request = client.post(url + "/internal/v1/greet").header("content-type", "application/json")
        if token is not None:
            request = request.bearer_auth(token)
        response = await request.body_bytes(body).build().send()
        return response.status, bytes(await response.bytes())


async def test_a_service_is_answered_for_the_store_in_its_token_and_may_repeat_itself() -> None:
    token = SECRET.call(issuer="orders", audience="products", tenant=ACME)
    async with listening(front_of(greeter(), "products")) as url:
        answers = [await send(url, token, b'{"text": "hi", "new_field": 1}') for _ in range(2)]
    for status, body in answers:
        assert (status, msgspec.json.decode(body)["data"]) == (200, "acme hi")


STRANGERS = {
    "nobody": None,
    "a user": "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJ4In0." + "A" * 86,
    "a service that calls another": SECRET.call(issuer="orders", audience="users", tenant=ACME),
    "another cluster": ClusterSecret("?" * 32, clock=utc_now).call(
        issuer="orders", audience="products", tenant=ACME
    ),
    "one who is late": ClusterSecret(
        "what the services of the tests sign with", clock=lambda: utc_now() - timedelta(minutes=3)
    ).call(issuer="orders", audience="products", tenant=ACME),
    "one who tells of a client": SECRET.forwarding(audience="products", client="10.0.0.1", secure=True),
}


@pytest.mark.parametrize("stranger", sorted(STRANGERS))
async def test_a_stranger_is_refused_and_told_nothing(stranger: str) -> None:
    async with listening(front_of(greeter(), "products")) as url:
        status, body = await send(url, STRANGERS[stranger])
    assert (status, msgspec.json.decode(body)["error"]["code"]) == (401, "UNAUTHORIZED")


async def test_a_service_that_names_no_store_where_one_is_needed_is_refused() -> None:
    async with listening(front_of(greeter(), "products")) as url:
        status, _ = await send(url, SECRET.call(issuer="orders", audience="products"))
    assert status == 403


async def test_a_body_that_fits_nothing_is_refused_by_name() -> None:
    token = SECRET.call(issuer="orders", audience="products", tenant=ACME)
    async with listening(front_of(greeter(), "products")) as url:
        status, body = await send(url, token, b'{"text": 5}')
    assert status == 400
    assert msgspec.json.decode(body)["error"]["details"][0]["field"] == "text"
