"""Idempotency keys, from the request to the row: a keyed call is carried out once."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal

import msgspec
import pytest

from mercato.adapters.sql.claims import SqlClaims
from mercato.adapters.sql.database import StorageUnavailable, Tx
from mercato.adapters.sql.steps import Steps
from mercato.contracts.events import Events
from mercato.kernel.errors import Conflict
from mercato.kernel.ids import uuid7
from mercato.kernel.money import Amount
from mercato.kernel.tenancy import TenantId
from mercato.web.call import Call
from mercato.web.decode import Body
from mercato.web.endpoint import SIGNED_IN, Routes
from mercato.web.idempotency import LEASE, body_hash, claim_for
from tests.asgi_client import Answer, Client
from tests.clock import FakeClock
from tests.conftest import OpenDatabase
from tests.shop import HASH_SECRET, bearer, open_shop

ROUTE = "POST /things"


class NewThing(Body, frozen=True, kw_only=True):
    name: str
    price: Amount = Amount("1.50")


class Thing(msgspec.Struct, frozen=True):
    id: str
    name: str
    price: Decimal = Decimal("1.50")
    token: str | None = None


@dataclass
class Workshop:
    """A service that makes things, and can be stopped or made to fail on the way."""

    steps: Steps
    clock: FakeClock
    claims: SqlClaims
    asked: list[str] = field(default_factory=list)
    """The object ids that handlers worked with."""
    gate: tuple[asyncio.Event, asyncio.Event] | None = None
    fail: Exception | None = None

    def __post_init__(self) -> None:
        routes = Routes("things", claims=self.claims)
        routes.post("/things", status=201, allow=SIGNED_IN, idempotent=True)(self.make)
        routes.post("/tokens", status=201, allow=SIGNED_IN, idempotent=True, reissues=True)(self.issue)
        self.client = Client(open_shop(routes, clock=self.clock).app)

    async def make(self, call: Call, body: NewThing) -> Thing:
        """Make a thing."""
        new_id = call.new_id()
        self.asked.append(new_id)
        if self.gate is not None:
            entered, gate = self.gate
            entered.set()
            await gate.wait()
        if self.fail is not None:
            raise self.fail
        return await self.save(call, Thing(new_id, body.name))

    async def issue(self, call: Call, body: NewThing) -> Thing:
        """Make a thing with a token, which no store may keep."""
        thing = Thing(call.new_id(), body.name)
        if not call.replayed:
            await self.save(call, thing)
        return msgspec.structs.replace(thing, token=f"secret-{uuid7()}")

    async def save(self, call: Call, thing: Thing) -> Thing:
        async def work(tx: Tx) -> tuple[Thing, Events]:
            await tx.execute("INSERT INTO things (id, store) VALUES (?, ?)", (thing.id, call.tenant))
            return thing, ()

        return await self.steps.run(call.cause(lambda saved: saved), work)

    async def post(self, key: str, name: str = "cup", *, token: str = "ann", path: str = "/things") -> Answer:
        headers = bearer(token) | {"Idempotency-Key": key}
        return await self.client("POST", path, {"name": name}, headers=headers)

    async def things(self) -> list[str]:
        return [row[0] for row in await self.steps.db.fetch_all("SELECT id FROM things ORDER BY id")]

    @asynccontextmanager
    async def held(self, key: str) -> AsyncIterator[asyncio.Task[Answer]]:
        """Start a call and hold it in its handler."""
        entered, gate = self.gate = asyncio.Event(), asyncio.Event()
        call = asyncio.create_task(self.post(key))
        await entered.wait()
        self.gate = None
        yield call
        gate.set()

    async def crash_holding(self, key: str, name: str = "cup") -> str:
        """Leave behind what a process leaves that was killed after its claim; return the object id."""
        claim = claim_for(TenantId("default"), "user-ann", ROUTE, key, uuid7())
        digest = body_hash(HASH_SECRET, "/things", msgspec.json.encode({"name": name}))
        assert (
            await self.claims.open(claim, digest, now=self.clock(), lease_until=self.clock() + LEASE) is None
        )
        return claim.object_id


@pytest.fixture
async def workshop(open_database: OpenDatabase) -> Workshop:
    clock = FakeClock()
    steps = Steps(await open_database("orders"), source="/mercato/things", clock=clock)

    async def table(tx: Tx) -> None:
        await tx.execute("CREATE TABLE things (id TEXT PRIMARY KEY, store TEXT)")

    await steps.db.transact(table)
    return Workshop(steps, clock, SqlClaims(steps.db))


def is_replay(answer: Answer) -> bool:
    return answer.headers.get("idempotent-replayed") == "true"


async def test_a_repeated_call_gets_the_very_bytes_of_the_first(workshop: Workshop) -> None:
    first, again = await workshop.post("k"), await workshop.post("k")
    assert first.status == again.status == 201
    assert first.body == again.body
    assert b'"price":1.50' in again.body
    assert (is_replay(first), is_replay(again)) == (False, True)
    assert await workshop.things() == [first.json["data"]["id"]]


async def test_calls_without_a_key_are_each_carried_out(workshop: Workshop) -> None:
    for _ in range(2):
        await workshop.client("POST", "/things", {"name": "cup"}, headers=bearer("ann"))
    assert len(await workshop.things()) == 2


async def test_another_body_under_the_same_key_is_refused(workshop: Workshop) -> None:
    await workshop.post("k", "cup")
    refused = await workshop.post("k", "plate")
    assert (refused.status, refused.code) == (422, "IDEMPOTENCY_KEY_REUSED")
    assert len(await workshop.things()) == 1


async def test_a_key_in_use_is_refused_until_its_call_is_done(workshop: Workshop) -> None:
    async with workshop.held("k") as first:
        refused = await workshop.post("k")
        assert (refused.status, refused.code) == (409, "IDEMPOTENCY_KEY_IN_USE")
        assert refused.headers["retry-after"] == "1"
        assert (await workshop.post("k", "plate")).status == 422
    assert (await first).status == 201
    assert is_replay(await workshop.post("k"))


async def test_twenty_identical_calls_at_once_make_one_thing(workshop: Workshop) -> None:
    answers = await asyncio.gather(*(workshop.post("k") for _ in range(20)))
    statuses = Counter(answer.status for answer in answers)
    assert statuses[201] >= 1
    assert statuses[201] + statuses[409] == 20
    assert len({answer.body for answer in answers if answer.status == 201}) == 1
    assert len(await workshop.things()) == 1


@pytest.mark.parametrize("failure, status", [(Conflict("no"), 409), (RuntimeError("a defect"), 500)])
async def test_a_refusal_frees_the_key_for_any_body(
    workshop: Workshop, failure: Exception, status: int
) -> None:
    workshop.fail = failure
    assert (await workshop.post("k")).status == status
    workshop.fail = None
    made = await workshop.post("k", "plate")
    assert (made.status, is_replay(made)) == (201, False)
    assert len(await workshop.things()) == 1


async def test_a_bad_body_never_takes_the_key(workshop: Workshop) -> None:
    headers = bearer("ann") | {"Idempotency-Key": "k"}
    assert (await workshop.client("POST", "/things", {"name": 1}, headers=headers)).status == 400
    assert (await workshop.post("k")).status == 201


async def test_stores_callers_and_routes_have_keys_of_their_own(workshop: Workshop) -> None:
    # One user id in two stores, another user, and another route.
    for token, path in [("ann", "/things"), ("bea", "/things"), ("adam", "/things"), ("ann", "/tokens")]:
        answer = await workshop.post("k", path=path, token=token)
        assert (answer.status, is_replay(answer)) == (201, False)
    assert len(await workshop.things()) == 4


async def test_a_key_is_kept_for_24_hours_and_then_new(workshop: Workshop) -> None:
    await workshop.post("k")
    workshop.clock.forward(hours=23, minutes=59)
    assert is_replay(await workshop.post("k"))
    workshop.clock.forward(minutes=1)
    answers = await asyncio.gather(*(workshop.post("k", "plate") for _ in range(20)))
    assert {answer.status for answer in answers} <= {201, 409}
    assert len(await workshop.things()) == 2


async def test_after_a_crash_the_retry_completes_the_same_operation(workshop: Workshop) -> None:
    object_id = await workshop.crash_holding("k")
    assert (await workshop.post("k")).status == 409
    assert (await workshop.post("k", "plate")).status == 422
    workshop.clock.forward(seconds=LEASE.total_seconds())
    answers = await asyncio.gather(*(workshop.post("k") for _ in range(20)))
    assert {answer.status for answer in answers} <= {201, 409}
    assert workshop.asked == [object_id]
    assert await workshop.things() == [object_id]


async def test_a_restart_ends_the_leases_of_the_dead(workshop: Workshop) -> None:
    object_id = await workshop.crash_holding("k")
    assert await workshop.claims.end_leases() == 1
    assert (await workshop.post("k")).json["data"]["id"] == object_id


async def test_a_call_under_way_keeps_its_key_for_as_long_as_it_takes(workshop: Workshop) -> None:
    async with workshop.held("k") as slow:
        for _ in range(30):
            workshop.clock.forward(seconds=1)
            await workshop.claims.renew(lease_until=workshop.clock() + LEASE)
            assert (await workshop.post("k")).status == 409
    made = (await slow).json["data"]["id"]
    assert is_replay(await workshop.post("k"))
    assert await workshop.things() == [made]


async def test_a_key_that_could_not_be_given_back_is_free_when_its_lease_ends(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the database goes away in the middle: the retry goes on with the same object."""
    with monkeypatch.context() as patched:
        patched.setattr(workshop.claims, "free", _unavailable)
        workshop.fail = StorageUnavailable("The database cannot be used now.")
        assert (await workshop.post("k")).status == 503
    workshop.fail = None
    await workshop.claims.renew(lease_until=workshop.clock() + LEASE)
    await workshop.claims.renew(lease_until=workshop.clock() + LEASE)
    assert (await workshop.post("k")).status == 409
    workshop.clock.forward(seconds=LEASE.total_seconds())
    assert (await workshop.post("k")).status == 201
    assert workshop.asked == await workshop.things() * 2


async def _unavailable(_: object) -> None:
    raise StorageUnavailable("The database cannot be used now.")


async def test_a_holder_whose_lease_ran_out_has_no_effect_any_more(workshop: Workshop) -> None:
    async with workshop.held("k") as slow:
        workshop.clock.forward(seconds=LEASE.total_seconds())
        taken_over = await workshop.post("k")
        assert taken_over.status == 201
    late = await slow
    assert (late.status, late.code) == (409, "IDEMPOTENCY_KEY_IN_USE")
    assert workshop.asked == [taken_over.json["data"]["id"]] * 2
    assert await workshop.things() == workshop.asked[:1]
    # Nor did the late one's failure free the key.
    assert (await workshop.post("k")).body == taken_over.body


async def answered(workshop: Workshop, key: str) -> Answer:
    """Ask again while the first call, which nobody waits for any more, is under way."""
    async with asyncio.timeout(10):
        while True:
            answer = await workshop.post(key)
            if answer.status != 409:
                return answer


async def test_a_client_that_hangs_up_gets_the_answer_with_its_retry(workshop: Workshop) -> None:
    calls = [asyncio.create_task(workshop.post(f"k{n}")) for n in range(20)]
    for n, call in enumerate(calls):
        for _ in range(n % 5):
            await asyncio.sleep(0)
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    retried = [await answered(workshop, f"k{n}") for n in range(20)]
    assert [answer.status for answer in retried] == [201] * 20
    assert len(await workshop.things()) == 20


async def test_an_answer_that_holds_a_secret_is_issued_anew_and_never_stored(workshop: Workshop) -> None:
    first = await workshop.post("k", path="/tokens")
    again = await workshop.post("k", path="/tokens")
    assert first.json["data"]["id"] == again.json["data"]["id"]
    assert first.json["data"]["token"] != again.json["data"]["token"]
    assert is_replay(again)
    rows = await workshop.steps.db.fetch_all("SELECT answer FROM claims")
    assert rows
    assert not any(b"secret" in answer for (answer,) in rows)


@pytest.mark.parametrize("key", ["", "x" * 256, "ü", "a\tb"])
async def test_a_key_that_cannot_be_kept_is_refused(workshop: Workshop, key: str) -> None:
    answer = await workshop.post(key)
    assert (answer.status, answer.code) == (400, "VALIDATION_ERROR")
    assert answer.json["error"]["details"][0]["field"] == "Idempotency-Key"


async def test_a_key_is_worth_nothing_where_none_is_promised(workshop: Workshop) -> None:
    workshop.client = Client(open_shop(clock=workshop.clock).app)
    headers = bearer("adam") | {"Idempotency-Key": "k"}
    for _ in range(2):
        answer = await workshop.client("POST", "/items", {"name": "cup", "price": 1}, headers=headers)
        assert (answer.status, is_replay(answer)) == (201, False)
