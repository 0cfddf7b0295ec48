"""`mercato doctor` where services have their databases on PostgreSQL, and brokers and neighbours."""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from http.client import HTTPConnection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aio_pika
import msgspec
import pytest

from mercato import __version__
from mercato.adapters.bus.rabbitmq_link import connection_to, declare_queue
from mercato.cli.doctor import around, outside, servers
from mercato.cli.doctor.findings import Finding, State
from mercato.cli.doctor.in_time import begin
from mercato.kernel.clock import utc_now
from mercato.runtime.broker import CONSUMERS
from mercato.runtime.folder import SCHEMAS
from mercato.runtime.settings import Settings, load
from tests import postgres_server, rabbitmq_server
from tests.commands import Ended, mercato, wait_until
from tests.engines import need
from tests.faults.test_poolers import pooler
from tests.mail_server import mail_server
from tests.postgres_server import OWNER, ROLES, PostgresServer
from tests.redis_server import RedisServer
from tests.running import Platform, free_port
from tests.server_rows import ask, everything
from tests.stripe_double import API_KEY, running_double
from tests.system.test_cli_doctor import answering
from tests.system.test_purge_postgres import PARK


@pytest.fixture(scope="module")
def server() -> PostgresServer:
    need("postgres")
    return postgres_server.shared()


@pytest.fixture
def environ(server: PostgresServer) -> dict[str, str]:
    """Databases of one's own, and addresses at which nobody is."""
    nowhere = {f"MERCATO_{name.upper()}_URL": f"http://127.0.0.1:{free_port()}" for name in SCHEMAS}
    return server.environ_of_platform() | nowhere | {"MERCATO_PORT": str(free_port())}


def doctor(environ: dict[str, str], folder: Path, *words: str) -> Ended:
    return mercato("doctor", *words, folder=folder, **environ)


def findings(environ: dict[str, str], folder: Path) -> dict[str, Any]:
    """Return what was found, by check; a check's last finding if it has several."""
    ended = doctor(environ, folder, "--json")
    assert ended.code in {0, 1}, ended
    report = json.loads(ended.out)
    assert report["ok"] is (ended.code == 0)
    return {each["check"]: each for each in report["findings"]}


def databases(environ: dict[str, str]) -> dict[str, Finding]:
    """Return what is found of the databases, without a process for it."""
    return {each.check: each for each in servers.databases(load(environ), utc_now())}


def told(found: dict[str, Finding], check: str) -> tuple[str, str, str]:
    each = found[check]
    return each.state.value, each.told, each.next or ""


def test_sound_databases_are_found_so_and_left_as_they_are(environ: dict[str, str], tmp_path: Path) -> None:
    before = everything(environ)

    found = findings(environ, tmp_path)

    assert {each["state"] for each in found.values()} == {"ok"}, found
    for name in SCHEMAS:
        assert found[f"{name} database"]["told"].startswith("PostgreSQL ")
        assert found[f"{name} fence"]["told"] == "mercato_app owns nothing, and sees the rows of one store"
        assert found[f"{name} events"]["told"] == "none is stuck, parked or dead"
    assert found["pooler"]["told"] == "sessions are kept"
    # It is known to within half of what the question takes.
    assert found["clock"]["told"].endswith(" s from the database's")
    assert found["books"]["told"] == "0 orders and 0 payments balance"
    assert everything(environ) == before
    assert list(tmp_path.iterdir()) == []


def test_beside_a_platform_on_the_databases_it_finds_no_fault(
    environ: dict[str, str], tmp_path: Path
) -> None:
    platform = Platform(tmp_path, environ)
    platform.start()
    try:
        keys = HTTPConnection("127.0.0.1", platform.port, timeout=30)
        keys.request("GET", "/.well-known/jwks.json")
        assert keys.getresponse().status == 200
        keys.close()
        found = findings(environ | {"MERCATO_PORT": str(platform.port), "MERCATO_DATA": "data"}, tmp_path)
    finally:
        assert platform.stop() == 0
    assert {each["state"] for each in found.values()} == {"ok"}, found
    assert "mercato" in found["server"]["told"]
    assert "1 signing" in found["keys"]["told"]


@pytest.mark.parametrize("setting", ["MERCATO_DATABASE_URL", "MERCATO_DATABASE_SYSTEM_URL"])
def test_a_server_that_never_answers_does_not_hold_it_up(setting: str, environ: dict[str, str]) -> None:
    with answering(None) as port:
        silent = f"postgresql://a:secret@127.0.0.1:{port}/x_{{service}}"
        found = databases(environ | {setting: silent})
    assert len(found) == len(SCHEMAS)
    for name in SCHEMAS:
        verdict, what, then = told(found, f"{name} database")
        assert (verdict, what) == ("problem", f"PostgreSQL at 127.0.0.1:{port} cannot be reached")
        assert then == f"see that it runs, and that {setting} names it"


def test_databases_that_are_not_there_or_not_migrated_are_told(
    environ: dict[str, str], server: PostgresServer, tmp_path: Path
) -> None:
    ask(environ, "orders", "UPDATE alembic_version SET version_num = 'orders_0001'")
    ask(environ, "users", "UPDATE alembic_version SET version_num = 'users_9999'")
    found = databases(environ)
    assert told(found, "orders database") == (
        "problem",
        f"The orders database is at orders_0001, and must be at {SCHEMAS['orders'].head}",
        "mercato migrate up, with the owner's role",
    )
    assert told(found, "users schema")[0] == "problem"
    nowhere = findings(
        environ | {"MERCATO_DATABASE_URL": server.url("no_{service}", ROLES.serving)}, tmp_path
    )
    assert nowhere["payments database"]["next"] == "mercato migrate up makes it"
    assert "books" not in nowhere
    wrong = databases(environ | {"MERCATO_DATABASE_SYSTEM_URL": ""})
    assert [*wrong] == ["databases"]
    assert "MERCATO_DATABASE_SYSTEM_URL is not set" in wrong["databases"].told


def as_role(role: str) -> Callable[[dict[str, str]], dict[str, str]]:
    def change(environ: dict[str, str]) -> dict[str, str]:
        serving = environ["MERCATO_DATABASE_URL"]
        return environ | {"MERCATO_DATABASE_URL": serving.replace(ROLES.serving, role)}

    return change


def with_an_open_table(environ: dict[str, str]) -> dict[str, str]:
    ask(environ, "orders", "ALTER TABLE orders DISABLE ROW LEVEL SECURITY")
    return environ


def with_an_unforced_table(environ: dict[str, str]) -> dict[str, str]:
    ask(environ, "orders", "ALTER TABLE orders NO FORCE ROW LEVEL SECURITY")
    return environ


def with_a_hole(environ: dict[str, str]) -> dict[str, str]:
    ask(environ, "orders", "INSERT INTO outbox_sequences (key, last) VALUES ('acme/order/1', 1)")
    ask(environ, "orders", f"CREATE POLICY hole ON outbox_sequences TO {ROLES.serving} USING (true)")
    return environ


@pytest.mark.parametrize(
    "change, what, then",
    [
        (
            as_role("postgres"),
            "postgres, which serves, is above row-level security",
            "ALTER ROLE postgres NOSUP",
        ),
        (as_role(OWNER), f"{OWNER}, which serves, owns alembic_version, ", "with a role that owns nothing"),
        (as_role(ROLES.system), "mercato_system serves and does the platform's work", "name two roles"),
        (with_an_open_table, "mercato_app, which serves, is not held off orders", "mercato migrate up"),
        (with_an_unforced_table, "mercato_app, which serves, is not held off orders", "mercato migrate up"),
        (with_a_hole, "mercato_app, which serves, is not held off outbox_sequences", "mercato migrate up"),
    ],
)
def test_a_fence_between_stores_that_does_not_stand_is_a_problem(
    change: Callable[[dict[str, str]], dict[str, str]], what: str, then: str, environ: dict[str, str]
) -> None:
    verdict, found, next_ = told(databases(change(environ)), "orders fence")
    assert verdict == "problem"
    assert what in found
    assert then in next_


def test_a_fence_that_was_opened_is_closed_by_the_remedy(environ: dict[str, str], tmp_path: Path) -> None:
    assert told(databases(with_an_open_table(environ)), "orders fence")[0] == "problem"
    assert mercato("migrate", "up", "--service", "orders", folder=tmp_path, **environ).code == 0
    assert told(databases(environ), "orders fence")[0] == "ok"


def test_what_waits_is_parked_dead_or_broken_off_is_told(environ: dict[str, str]) -> None:
    ask(
        environ,
        "users",
        "INSERT INTO outbox (event_id, key, sequence, type, tenant_id, body, created_at)"
        " VALUES ('old', 'default/user/x', 1, 'user.created', 'default', '{', 1700000000000000)",
    )
    ask(environ, "products", PARK, "one", "default", "default/order/1", 1)
    ask(environ, "orders", PARK.replace("'failed'", "'dead'"), "two", "default", "default/stock/1", 1)
    ask(
        environ,
        "payments",
        "INSERT INTO claims (tenant_id, principal, route, key, body_hash, object_id, attempt, state,"
        " lease_until, created_at) VALUES ('default', 'p', 'r', 'k', 'x', 'o', 1, 'open', 1, 1)",
    )
    found = databases(environ)
    assert told(found, "users outbox") == (
        "warning",
        "1 events have waited since 2023-11-14 22:13:20 UTC",
        "start the platform: mercato serve users",
    )
    assert told(found, "products inbox")[1:] == (
        "parked events: 1 failed",
        "mercato serve products: it tries them again",
    )
    assert told(found, "orders inbox")[1:] == (
        "1 dead letters: events that had no effect, the oldest since 1970-01-01 00:00:00 UTC",
        "mercato dlq list",
    )
    assert told(found, "payments claims")[1] == "1 calls with an Idempotency-Key were broken off"


APART = pytest.mark.parametrize("ahead, verdict", [(0.5, "ok"), (4.0, "warning"), (-300.0, "problem")])


@APART
def test_a_clock_that_differs_from_the_databases_is_told(
    ahead: float, verdict: str, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(time=lambda: time.time() + ahead, monotonic=time.monotonic)
    monkeypatch.setattr(servers, "time", clock)
    assert told(databases(environ), "clock")[0] == verdict


def test_a_pooler_that_keeps_no_sessions_is_a_problem_unless_transactions_name_the_store(
    environ: dict[str, str], server: PostgresServer
) -> None:
    need("pgbouncer")
    with pooler("transaction") as port:
        behind = {name: value.replace(f":{server.port}/", f":{port}/") for name, value in environ.items()}
        found = databases(behind)
        assert told(found, "pooler")[::2] == (
            "problem",
            "let it pool by session, or set MERCATO_DATABASE_SET_LOCAL=true",
        )
        found = databases(behind | {"MERCATO_DATABASE_SET_LOCAL": "true"})
    assert {each.state for each in found.values()} == {State.OK}, found


def test_books_that_differ_are_a_problem(environ: dict[str, str], tmp_path: Path) -> None:
    ask(
        environ,
        "payments",
        "INSERT INTO sandbox.charges (key, outcome, amount, currency) VALUES ('k', 'charged', 1, 'USD')",
    )
    found = findings(environ, tmp_path)["books"]
    assert (found["state"], found["next"]) == ("problem", "mercato reconcile")


Told = tuple[str, str, str]


def around_(look: Callable[[Settings], Iterator[Finding]], **settings: str) -> dict[str, Told]:
    chosen = load({f"MERCATO_{name}": value for name, value in settings.items()})
    found = {each.check: each for each in look(chosen)}
    return {check: told(found, check) for check in found}


def test_queues_that_are_not_there_that_nobody_empties_or_that_hold_refused_ones_are_told() -> None:
    need("rabbitmq")
    url = rabbitmq_server.shared().new_url()
    assert around_(around.broker, BROKER_URL=url)["broker"][:2] == (
        "ok",
        f"reached; it has no queues of {', '.join(CONSUMERS)} yet",
    )

    async def fill() -> None:
        async with connection_to(url, "tests") as connection:
            channel = await connection.channel()
            for name, families in CONSUMERS.items():
                await declare_queue(channel, name, families)
            for queue in ("mercato.orders", "mercato.users.dead"):
                await channel.default_exchange.publish(aio_pika.Message(b"x"), queue)

    asyncio.run(fill())
    # The broker counts a queue's messages a moment later.
    wait_until(lambda: around_(around.broker, BROKER_URL=url).keys() >= {"orders queue", "users queue"})
    found = around_(around.broker, BROKER_URL=url)
    assert found["broker"][:2] == ("ok", "reached, with the queues of 5 services")
    assert found["orders queue"] == (
        "warning",
        "1 events wait, and nobody takes them",
        "mercato serve orders",
    )
    assert found["users queue"][1:] == (
        "1 messages were refused for good",
        "look into the queue mercato.users.dead",
    )


def test_a_broker_that_is_away_silent_or_misspelt_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(around, "_BROKER_S", 0.5)
    with answering(None) as port:
        for url in (f"amqp://a:secret@127.0.0.1:{port}/", f"amqp://a:secret@127.0.0.1:{free_port()}/"):
            verdict, what, then = around_(around.broker, BROKER_URL=url)["broker"]
            assert verdict == "problem"
            assert what.startswith("RabbitMQ at 127.0.0.1 cannot be used: ")
            assert "MERCATO_BROKER_URL" in then
            assert "secret" not in what + then
    assert around_(around.broker, BROKER_URL="http://x")["broker"][0] == "problem"
    assert around_(around.broker) == {}


def test_a_redis_that_is_away_silent_or_full_is_a_problem(own_redis: RedisServer) -> None:
    need("redis")
    assert around_(around.redis) == {}
    assert around_(around.redis, REDIS_URL=own_redis.url)["redis"][:2] == (
        "ok",
        "127.0.0.1 answers, and takes what is written",
    )
    own_redis.command("CONFIG", "SET", "maxmemory", "1")
    assert "OutOfMemoryError" in around_(around.redis, REDIS_URL=own_redis.url)["redis"][1]
    with answering(None) as port:
        for url in (f"redis://:secret@127.0.0.1:{port}/0", f"redis://:secret@127.0.0.1:{free_port()}/0"):
            verdict, what, then = around_(around.redis, REDIS_URL=url)["redis"]
            assert (verdict, "secret" in what + then) == ("problem", False)


def answer(**fields: object) -> bytes:
    report = {"status": "ok", "service": "users", "version": __version__, "phase": "serving", "checks": {}}
    body = msgspec.json.encode(report | fields)
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body


def test_each_service_is_asked_at_its_address() -> None:
    nobody = {f"{name.upper()}_URL": f"http://127.0.0.1:{free_port()}" for name in SCHEMAS}
    assert around_(around.services, **nobody)["services"][0] == "ok"
    failing = answer(
        service="orders",
        status="degraded",
        checks={"orders_database": "failing"},
        reasons={"orders_database": "It is away."},
    )
    with (
        answering(answer()) as users,
        answering(failing) as orders,
        answering(answer(service="payments", version="0.0.1")) as payments,
        answering(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello") as products,
    ):
        ports = {"USERS": users, "ORDERS": orders, "PAYMENTS": payments, "PRODUCTS": products}
        urls = {f"{name}_URL": f"http://127.0.0.1:{port}" for name, port in ports.items()}
        found = around_(around.services, **(nobody | urls))
        misled = around_(around.services, **(nobody | {"ORDERS_URL": urls["USERS_URL"]}))
    assert found["users service"][0] == "ok"
    assert found["orders service"][:2] == (
        "problem",
        f"serving at {urls['ORDERS_URL']}, but failing: orders_database. It is away",
    )
    assert found["payments service"][0] == "warning"
    assert "is no Mercato" in found["products service"][1]
    assert found["notifications service"][1:] == (
        f"nothing runs at {nobody['NOTIFICATIONS_URL']}",
        "mercato serve notifications, or name its address: MERCATO_NOTIFICATIONS_URL",
    )
    assert misled["orders service"][1] == f"at {urls['USERS_URL']} is users"


@APART
def test_clocks_of_redis_and_of_services_that_differ_are_told(
    ahead: float, verdict: str, own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("redis")
    date = formatdate(time.time(), usegmt=True).encode()
    clock = SimpleNamespace(time=lambda: time.time() + ahead, monotonic=time.monotonic)
    monkeypatch.setattr(around, "time", clock)
    assert around_(around.redis, REDIS_URL=own_redis.url)["redis clock"][0] == verdict
    with answering(answer().replace(b"\r\n", b"\r\nDate: " + date + b"\r\n", 1)) as port:
        found = around_(around.services, USERS_URL=f"http://127.0.0.1:{port}")
    assert found["users service"][0] == "ok"
    assert found.get("users clock", ("ok",))[0] == verdict


async def test_a_mail_server_that_is_away_or_lets_nobody_in_is_a_problem() -> None:
    async def looked(**settings: str) -> tuple[str, str, str]:
        wanted = {"MAIL_SENDER": "smtp", "SMTP_HOST": "127.0.0.1", "SMTP_TLS": "none", **settings}
        return (await asyncio.to_thread(around_, outside.mail_server, **wanted))["mail server"]

    assert around_(outside.mail_server) == {}
    async with mail_server() as server:
        assert (await looked(SMTP_PORT=str(server.port)))[0] == "ok"
        secret = {"SMTP_USER": "shop", "SMTP_PASSWORD": "rabbit-night"}
        verdict, what, then = await looked(SMTP_PORT=str(server.port), **secret)
        assert (verdict, "rabbit" in what, "MERCATO_SMTP_HOST" in then) == ("problem", False, True)
    assert "cannot be used" in (await looked(SMTP_PORT=str(free_port())))[1]
    assert (await looked(SMTP_HOST=""))[1:] == ("it has no name", "set MERCATO_SMTP_HOST")


async def test_a_payment_provider_that_is_away_or_takes_no_key_is_a_problem() -> None:
    async def looked(url: str, key: str) -> tuple[str, str, str]:
        wanted = {"PAYMENT_PROVIDER": "stripe", "STRIPE_URL": url, "STRIPE_KEY": key}
        return (await asyncio.to_thread(around_, outside.payment_provider, **wanted))["payment provider"]

    assert around_(outside.payment_provider) == {}
    async with running_double() as double:
        assert (await looked(double.url, API_KEY))[0] == "ok"
        verdict, what, then = await looked(double.url, "sk_test_wrong")
        assert (verdict, "401" in what, "MERCATO_STRIPE_KEY" in then) == ("problem", True, True)
    assert (await looked(f"http://127.0.0.1:{free_port()}", API_KEY))[0] == "problem"


def test_whatever_hangs_is_a_problem_in_time() -> None:
    hangs = threading.Event()

    def look() -> list[Finding]:
        hangs.wait(30)
        return []

    (finding,) = begin("anything", look, deadline_s=0.05)()
    hangs.set()
    assert (finding.state, finding.told) == (State.PROBLEM, "nothing was found within 0 s")


def test_a_defect_in_a_check_is_not_hidden() -> None:
    def look() -> list[Finding]:
        raise LookupError("a defect")

    with pytest.raises(LookupError):
        begin("anything", look)()
