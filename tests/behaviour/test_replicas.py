"""Several processes on one PostgreSQL: what SQLite's one writer never lets happen at once."""

import asyncio
import random
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from mercato.adapters.identity.revocations import Revocations
from mercato.adapters.sql.claims import SqlClaims
from mercato.adapters.sql.database import Database, Tx
from mercato.adapters.sql.inbox import SqlInbox
from mercato.adapters.sql.steps import Steps
from mercato.contracts.events import Events
from mercato.contracts.products import WantedLine
from mercato.kernel.acting import acting
from mercato.kernel.cause import ByCall, ByEvent, BySystem, Claim
from mercato.kernel.errors import MercatoError
from mercato.kernel.ids import UserId, uuid7
from mercato.kernel.principal import Role
from mercato.kernel.tenancy import TenantId
from mercato.messaging.inbox import AlreadyHandled, Parked, ParkedState
from mercato.users.domain import Account, RefreshToken, User
from mercato.users.stores.sql_cuts import SqlCuts
from mercato.users.stores.sql_sessions import SqlSessions
from mercato.users.stores.sql_users import insert_user
from tests.behaviour.products_shop import Shop, open_shop
from tests.behaviour.users_platform import bearer, start
from tests.clock import FakeClock
from tests.conftest import OpenDatabase
from tests.engines import POSTGRES

pytestmark = POSTGRES

SHOP = TenantId("shop")
CLAIM = Claim(SHOP, "user", "POST /things", "key", "object-1", attempt=1)
NOW = FakeClock()()
ROUNDS = 40


async def replicas(open_database: OpenDatabase, service: str, count: int = 3) -> list[Steps]:
    return [Steps(await open_database(service), source="/mercato/x", clock=FakeClock()) for _ in range(count)]


class Family:
    """One session's refresh tokens, each the successor of the one before it."""

    def __init__(self, on: list[SqlSessions], user: User) -> None:
        self.on = on
        self.user = user
        self.id = uuid7()
        self.made = 0

    def token(self) -> RefreshToken:
        self.made += 1
        return RefreshToken(
            token_hash=f"{self.id[-12:]}-{self.made}".encode(),
            family_id=self.id,
            tenant_id=SHOP,
            user_id=self.user.id,
            created_at=NOW,
            expires_at=NOW + timedelta(days=1),
        )

    async def rotate(self, replica: int, token_hash: bytes) -> User | None:
        return await self.on[replica].rotate(
            SHOP, token_hash, lambda _user, _family: self.token(), at=NOW, by=BySystem("test")
        )


async def families(open_database: OpenDatabase) -> tuple[list[SqlSessions], User, Database]:
    steps = await replicas(open_database, "users")
    user = User(
        id=UserId(uuid7()),
        tenant_id=SHOP,
        email="ada@example.com",
        first_name="Ada",
        last_name="L",
        role=Role.CUSTOMER,
        is_active=True,
        email_verified=True,
        created_at=NOW,
        updated_at=NOW,
    )
    await steps[0].db.transact(lambda tx: insert_user(tx, Account(user, "hash")))
    clock = FakeClock()
    return (
        [SqlSessions(each, SqlCuts(each.db, Revocations(timedelta(hours=1), clock=clock))) for each in steps],
        user,
        steps[0].db,
    )


@pytest.mark.parametrize("ended_by", ["a token that comes again", "signing out"])
async def test_no_refresh_token_outlives_its_family(open_database: OpenDatabase, ended_by: str) -> None:
    sessions, user, db = await families(open_database)
    for _ in range(ROUNDS):
        family = Family(sessions, user)
        first = family.token()
        await sessions[0].begin(Account(user, "hash"), first, by=BySystem("test"))
        assert await family.rotate(0, first.token_hash) is not None
        second = first.token_hash[:-1] + b"2"
        if ended_by == "signing out":
            end = sessions[1].end(SHOP, first.token_hash, by=BySystem("test"))
            await asyncio.gather(end, family.rotate(2, second))
        else:
            await asyncio.gather(family.rotate(1, first.token_hash), family.rotate(2, second))
        assert (
            await db.fetch_all("SELECT token_hash FROM refresh_tokens WHERE family_id = ?", (family.id,))
            == []
        )


async def test_a_key_that_is_given_back_while_it_is_asked_for_is_no_error(
    open_database: OpenDatabase,
) -> None:
    all_claims = [SqlClaims(each.db) for each in await replicas(open_database, "orders")]

    async def take_and_give_back(number: int) -> int:
        taken = 0
        for _ in range(ROUNDS):
            claims = all_claims[number % len(all_claims)]
            if await claims.open(CLAIM, b"h", now=NOW, lease_until=NOW + timedelta(minutes=1)) is None:
                taken += 1
                await claims.free(CLAIM)
        return taken

    taken = await asyncio.gather(*(take_and_give_back(number) for number in range(20)))
    assert sum(number > 0 for number in taken) > len(all_claims), "what one gives back another takes"


def failed(sequence: int, state: ParkedState = ParkedState.FAILED, *, key: str) -> Parked:
    return Parked(
        event_id=f"event-{key}-{sequence}",
        tenant_id=SHOP,
        type="x",
        key=key,
        sequence=sequence,
        body=b"{}",
        state=state,
        attempts=1,
        reason="it failed",
        next_try_at=NOW,
        first_seen_at=NOW,
    )


def cause(parked: Parked, *, replay: bool = False) -> ByEvent:
    return ByEvent(parked.event_id, parked.key, parked.sequence, "event", replay=replay)


async def test_an_event_is_handled_or_given_up_and_never_both(open_database: OpenDatabase) -> None:
    one, other = [SqlInbox(each) for each in (await replicas(open_database, "orders", 2))]
    for number in range(2 * ROUNDS):
        event = failed(1, key=f"shop/order/{number}")
        handled, _ = await asyncio.gather(one.settle(cause(event)), other.bury(event), return_exceptions=True)
        assert isinstance(handled, AlreadyHandled | None)
        dead = await one.dead_letter(event.event_id)
        assert (handled is None) == (dead is None), number
        assert await one.position(event.key) == 1


async def test_a_replay_that_worked_elsewhere_is_not_kept_for_another(open_database: OpenDatabase) -> None:
    one, other = [SqlInbox(each) for each in (await replicas(open_database, "orders", 2))]
    for number in range(2 * ROUNDS):
        event = failed(1, key=f"shop/order/{number}")
        await one.bury(event)
        await one.replay(event.event_id, NOW, by=BySystem("operator"))
        again = msgspec.structs.replace(event, state=ParkedState.REPLAY, attempts=1)
        handled, _ = await asyncio.gather(
            one.settle(cause(event, replay=True)), other.park(again), return_exceptions=True
        )
        assert handled is None
        assert await one.due(NOW, 10) == [], number


async def test_no_event_that_is_kept_is_skipped(open_database: OpenDatabase) -> None:
    one, other = [SqlInbox(each) for each in (await replicas(open_database, "orders", 2))]
    for number in range(2 * ROUNDS):
        key = f"shop/order/{number}"
        await one.park(failed(3, ParkedState.WAITING, key=key))
        await asyncio.gather(one.skip_to(key, 3), other.park(failed(2, ParkedState.WAITING, key=key)))
        first = await one.next_of(key)
        assert first is not None
        assert first.sequence > await one.position(key), number


async def test_two_imports_of_the_same_new_products_both_succeed(open_database: OpenDatabase) -> None:
    shops = [open_shop(await open_database("products")) for _ in range(2)]
    lines = [
        {"sku": f"S-{number}", "name": f"Thing {number}", "price": 2, "stock": 3} for number in range(60)
    ]
    files = []
    for _ in shops:
        random.Random(7).shuffle(lines)
        files.append(b"\n".join(msgspec.json.encode(line) for line in lines))
    answers = await asyncio.gather(
        *(
            shop.request("POST", "/import", raw, headers={"content-type": "application/x-ndjson"})
            for shop, raw in zip(shops, files, strict=True)
        )
    )
    assert [each.status for each in answers] == [200, 200], [each.body for each in answers]
    assert sum(each.data["created"] for each in answers) == 60
    assert [each.data["failed"] for each in answers] == [0, 0]
    await check_counts(shops[0])


async def test_counts_and_stock_stay_exact_whatever_is_done_at_once(open_database: OpenDatabase) -> None:
    shops = [open_shop(await open_database("products")) for _ in range(3)]
    ids = [await shops[0].add(f"P-{number}", stock=2) for number in range(8)]

    async def work(number: int) -> None:
        chance = random.Random(number)
        shop = shops[number % 3]
        for _ in range(8):
            product = chance.choice(ids)
            match chance.randrange(5):
                case 0:
                    await shop.add(f"N-{number}-{chance.random()}", stock=chance.randrange(3))
                case 1:
                    answer = await shop.request("PATCH", f"/{product}", {"category": chance.choice("ab")})
                    assert answer.status in (200, 404, 409), answer.body
                case 2:
                    change = {"delta": chance.choice((-2, -1, 1, 2)), "reason": "count"}
                    answer = await shop.request("POST", f"/{product}/inventory/adjust", change)
                    assert answer.status in (200, 400, 404, 409), answer.body
                case 3:
                    await shop.reserve([WantedLine(each, 1) for each in chance.sample(ids, 3)])
                case 4 if chance.random() < 0.2:
                    await shop.request("DELETE", f"/{product}")

    outcomes = await asyncio.gather(*(work(number) for number in range(20)), return_exceptions=True)
    bad = [each for each in outcomes if isinstance(each, Exception) and not isinstance(each, MercatoError)]
    assert bad == []
    await shops[0].check_books()
    await check_counts(shops[0])


async def check_counts(shop: Shop) -> None:
    """Assert that the kept counts are what counting yields, and shelves what stock says."""
    kept = await shop.db.fetch_all(
        "SELECT shelf, products FROM product_counts WHERE category = '' AND products <> 0 ORDER BY shelf"
    )
    counted = await shop.db.fetch_all(
        "SELECT shelf, count(*) FROM products WHERE shelf > 0 GROUP BY shelf ORDER BY shelf"
    )
    assert kept == counted
    kept = await shop.db.fetch_all(
        "SELECT category, shelf, products FROM product_counts WHERE category <> '' AND products <> 0"
        " ORDER BY 1, 2"
    )
    counted = await shop.db.fetch_all(
        "SELECT category, shelf, count(*) FROM products WHERE shelf > 0 AND category IS NOT NULL"
        " GROUP BY category, shelf ORDER BY 1, 2"
    )
    assert kept == counted
    wrong = await shop.db.fetch_all(
        "SELECT p.id FROM products p JOIN inventory i ON i.tenant_id = p.tenant_id AND i.product_id = p.id"
        " WHERE p.shelf > 0 AND (p.shelf = 2) <> (i.on_hand - i.reserved > 0)"
    )
    assert wrong == []


async def test_counts_of_users_stay_exact_whatever_is_done_at_once(
    open_database: OpenDatabase, tmp_path: Path
) -> None:
    platforms = [await start(await open_database("users"), tmp_path) for _ in range(3)]
    token = (await platforms[0].onboard("shop"))["token"]
    people = [
        (await platforms[0].register(f"u{number}@example.com", "shop"))["user"]["id"] for number in range(6)
    ]

    async def work(number: int) -> None:
        chance = random.Random(number)
        platform = platforms[number % 3]
        for _ in range(5):
            change = chance.choice(
                [{"role": "admin"}, {"role": "customer"}, {"is_active": False}, {"is_active": True}]
            )
            path = f"/api/v1/users/{chance.choice(people)}"
            if chance.random() < 0.1:
                answer = await platform.send("DELETE", path, headers=bearer(token))
            else:
                answer = await platform.send("PUT", path, change, headers=bearer(token))
            assert answer.status in (200, 204, 404, 409), answer.body

    await asyncio.gather(*(work(number) for number in range(20)))
    db = platforms[0].db
    kept = await db.fetch_all(
        "SELECT role, is_active, users FROM user_counts WHERE tenant_id = 'shop' AND users <> 0 ORDER BY 1, 2"
    )
    counted = await db.fetch_all(
        "SELECT role, is_active, count(*) FROM users WHERE tenant_id = 'shop' AND email_key IS NOT NULL"
        " GROUP BY 1, 2 ORDER BY 1, 2"
    )
    assert kept == counted


async def test_of_admins_on_several_replicas_who_leave_at_once_one_stays(
    open_database: OpenDatabase, tmp_path: Path
) -> None:
    platforms = [await start(await open_database("users"), tmp_path) for _ in range(3)]
    for number in range(5):
        token = (await platforms[0].onboard(f"shop-{number}"))["token"]
        headers = bearer(token)
        admins = []
        for each in range(5):
            person = {
                "email": f"a{each}@example.com",
                "password": "correct horse",
                "first_name": "A",
                "last_name": "B",
                "role": "admin",
            }
            made = await platforms[0].send("POST", "/api/v1/users", person, headers=headers)
            assert made.status == 201, made.body
            admins.append(made.json["data"]["id"])
        me = (await platforms[0].send("GET", "/api/v1/users/me", headers=headers)).json["data"]["id"]
        leave = [
            platforms[n % 3].send("DELETE", f"/api/v1/users/{each}", headers=headers)
            for n, each in enumerate([*admins, me])
        ]
        await asyncio.gather(*leave)
        row = await platforms[0].db.fetch_one(
            "SELECT count(*) FROM users WHERE tenant_id = ? AND role = 'admin' AND email_key IS NOT NULL",
            (f"shop-{number}",),
        )
        assert row is not None
        assert row[0] >= 1


async def test_what_is_called_after_a_commit_is_called_once_and_only_after_one(
    open_database: OpenDatabase,
) -> None:
    steps = await replicas(open_database, "orders")
    told: list[int] = []
    db = steps[0].db

    async def prepare(tx: Tx) -> None:
        for each in "ab":
            await tx.execute("INSERT INTO inbox_positions (key, sequence) VALUES (?, 0)", (f"shop/{each}",))

    await db.transact(prepare)

    async def in_each_others_way(number: int) -> None:
        async def work(tx: Tx) -> tuple[None, Events]:
            tx.after_commit(lambda: told.append(number))
            for each in ("ab", "ba")[number % 2]:
                await tx.execute(
                    "UPDATE inbox_positions SET sequence = sequence + 1 WHERE key = ?", (f"shop/{each}",)
                )
            if number % 5 == 4:
                raise LookupError("no")
            return None, ()

        with acting(SHOP):
            await steps[number % 3].run(ByCall("user"), work)

    outcomes = await asyncio.gather(
        *(in_each_others_way(number) for number in range(20)), return_exceptions=True
    )
    committed = [number for number, outcome in enumerate(outcomes) if outcome is None]
    assert len(committed) > 1
    assert sorted(told) == committed
    rows = await db.fetch_all("SELECT sequence FROM inbox_positions ORDER BY key")
    assert rows == [(len(committed),), (len(committed),)]
