"""Canaries in every field of every call, good, bad and failing: none is found in what is told of them."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import msgspec

from tests.modes import DATA_FOLDER
from tests.running import Answer, Platform, Shopper, Store, add_product, free_port, open_store, order_of
from tests.system.test_hostile_tokens import operator_of
from tests.waiting import until

NIGHT = "canary-3b1f-night"
"""A secret that has no shape, and is known by its name alone."""
CARD = "4929 1234 5678 9019"
LOT = "cAnArY0_Lw0aZ8-kRb7Nc2Yd5Ge1Hf4Ji6Mo0Pp9Qs8U"
TOKEN = f"tok_{NIGHT.replace('-', '_')}"
JWT = "eyJjYW5hcnkiOiJuaWdodCJ9.eyJjYW5hcnkiOiJuaWdodCJ9.Y2FuYXJ5"
SETTINGS = {
    "MERCATO_CLUSTER_SECRET": f"{NIGHT}-of-the-cluster-which-has-to-be-long",
    "MERCATO_STRIPE_KEY": f"sk_test_{NIGHT}",
    "MERCATO_STRIPE_WEBHOOK_SECRET": f"whsec_{NIGHT}",
    "MERCATO_SMTP_PASSWORD": NIGHT,
    "MERCATO_SMTP_USER": "shop",
    "MERCATO_MAIL_SENDER": "smtp",
    "MERCATO_MAIL_FROM": "shop@canary.example",
    "MERCATO_SMTP_HOST": "127.0.0.1",
    "MERCATO_TRACES": "file",
    "MERCATO_TRACES_SAMPLE": "1",
}
FIELDS = {
    "password": NIGHT,
    "new_password": NIGHT,
    "current_password": NIGHT,
    "token": TOKEN,
    "refresh_token": LOT,
    "client_id": NIGHT,
    "client_secret": LOT,
    "card_number": CARD,
    "status": NIGHT,
    "method": TOKEN,
    "role": NIGHT,
    "quantity": CARD,
}
FOUND = [each.encode() for each in (NIGHT, CARD, CARD.replace(" ", ""), LOT, TOKEN, JWT)]


def bodies() -> Iterator[bytes]:
    yield msgspec.json.encode(FIELDS)
    yield from (msgspec.json.encode({name: value}) for name, value in FIELDS.items())
    yield msgspec.json.encode([NIGHT, CARD])
    yield msgspec.json.encode(FIELDS)[:-5]
    yield f"{NIGHT} {CARD} \udcff".encode(errors="surrogateescape")


def assert_silent(answer: Answer, asked: object) -> None:
    assert not [each for each in FOUND if each in answer.body], (asked, answer.body)


async def call_everything(shop: Shopper, document: Any, tokens: list[str]) -> None:
    """Call each endpoint with canaries in all that it takes, and in what it does not."""
    for path, methods in document["paths"].items():
        named = re.sub(r"\{[a-z_]+\}", LOT, path)
        for method in methods:
            if method.upper() == "GET":
                for token in tokens:
                    answer = await shop.get(f"{named}?token={LOT}&status={NIGHT}", token=token)
                    assert answer.status < 500, (path, answer)
                continue
            for number, body in enumerate(bodies()):
                token = tokens[number % len(tokens)]
                headers = {"Cookie": f"session={LOT}", "X-Api-Key": NIGHT, "Idempotency-Key": f"k-{number}"}
                answer = await shop.send(method.upper(), named, "application/json", body, token, headers)
                assert answer.status < 500, (method, path, answer)
                assert_silent(answer, (method, path, body))


async def fail(platform: Platform, shop: Shopper, store: Store) -> None:
    """Have calls fail whose bodies hold secrets, for a defect of ours."""
    path = platform.data / "users.db"
    harm(path, "ALTER TABLE users RENAME TO lost")
    try:
        login = {"email": "customer@canaries.example", "password": NIGHT}
        named = {"X-Tenant-Id": store.id}
        for where in ("login", "register"):
            body = login if where == "login" else {**login, "first_name": "Al", "last_name": "Lee"}
            answer = await shop.post(f"/api/v1/users/{where}", body, headers=named)
            assert answer.status >= 500, answer
            assert_silent(answer, where)
    finally:
        harm(path, "ALTER TABLE lost RENAME TO users")


def harm(path: Any, statement: str) -> None:
    with closing(sqlite3.connect(path, timeout=10)) as file, file:
        file.execute(statement)


async def bury(platform: Platform, shop: Shopper, operator: str) -> None:
    """Have an event become a dead letter that nobody can read."""
    harm(
        platform.data / "users.db",
        "INSERT INTO outbox (event_id, key, sequence, type, tenant_id, body, created_at)"
        f" VALUES ('canary', 'default/user/x', 1, 'user.created', 'default', X'{NIGHT.encode().hex()}', 1)",
    )

    async def is_told() -> bool:
        answer = await shop.get("/api/v1/dead-letters", token=operator)
        assert not [each for each in answer.data if NIGHT in each["reason"]]
        return bool(answer.data)

    await until(is_told)


@DATA_FOLDER
async def test_no_canary_is_in_logs_traces_metrics_or_refusals(own_platform: Platform) -> None:
    own_platform.environ |= {**SETTINGS, "MERCATO_SMTP_PORT": str(free_port())}
    own_platform.start()
    store = await open_store(own_platform, "canaries")
    operator = await operator_of(own_platform, "canaries")
    async with own_platform.client() as shop:
        await add_product(shop, store, "LAMP", stock=9)
        order = (await shop.post("/api/v1/orders", order_of("LAMP"), token=store.customer)).data["id"]
        paying = {"order_id": order, "method": "card", "token": TOKEN}
        paid = await shop.post("/api/v1/payments", paying, token=store.customer)
        process = f"/api/v1/payments/{paid.data['id']}/process"
        assert_silent(await shop.post(process, token=store.customer), process)
        document = (await shop.get("/openapi.json")).json
        await call_everything(shop, document, [JWT, store.customer, operator])
        await fail(own_platform, shop, store)
        await bury(own_platform, shop, operator)
        for path in ("/metrics", "/health"):
            assert_silent(await shop.get(path), path)
        await until(lambda: "mail not sent yet" in own_platform.log())
    assert own_platform.stop() == 0
    written = {"log": own_platform.log().encode()}
    written |= {each.name: each.read_bytes() for each in (own_platform.data / "traces").iterdir()}
    assert len(written) == 2, "the traces are not where they were looked for"
    for name, content in written.items():
        assert len(content) > 100_000
        told = [line for line in content.splitlines() if any(each in line for each in FOUND)]
        assert told == [], name
    errors = [line["event"] for line in own_platform.lines() if line["level"] == "error"]
    assert {"request failed", "undecodable event"} <= set(errors)
