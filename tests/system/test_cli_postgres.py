"""Every command on PostgreSQL: it works, or says in a sentence what to do instead."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mercato.runtime.folder import SCHEMAS
from tests import postgres_server
from tests.buried import bury_in
from tests.commands import Ended, mercato
from tests.engines import need
from tests.every_command import run_all
from tests.postgres_server import OWNER, ROLES, PostgresServer
from tests.running import Platform, add_product, open_store
from tests.server_rows import ask
from tests.system.test_cli_errors import ABOUT_NO_DATA, LINES, SERVES, WITH_DATA, assert_a_sentence
from tests.waiting import until

ABOUT_DATABASES = WITH_DATA - SERVES - {"doctor"}
ABOUT_KEYS = {"keys list", "keys rotate", "keys retire"}
ABOUT_FILES = {"export", "import"}
MIGRATES = {"migrate up", "migrate down", "migrate status"}


@pytest.fixture(scope="module")
def server() -> PostgresServer:
    need("postgres")
    return postgres_server.shared()


def settings(server: PostgresServer, name: str, **urls: str) -> dict[str, str]:
    roles = {"": ROLES.serving, "SYSTEM_": ROLES.system, "OWNER_": OWNER}
    found = {f"MERCATO_DATABASE_{kind}URL": server.url(name, role) for kind, role in roles.items()}
    return found | urls


def told(commands: set[str], folder: Path, variables: dict[str, str]) -> dict[str, Ended]:
    ended = run_all([LINES[each] for each in commands], folder=folder, variables=variables)
    return {each: ended[LINES[each]] for each in commands}


def test_every_command_works_or_refuses_in_a_sentence_and_leaves_no_folder(
    server: PostgresServer, tmp_path: Path
) -> None:
    variables = server.environ_of_platform()
    ended = told(set(LINES) - SERVES - {"doctor"}, tmp_path, variables)
    for line, each in ended.items():
        if each.code != 0:
            assert_a_sentence(line, each)
    done = {line for line, each in ended.items() if each.code == 0}
    assert done >= {"tenants list", "dlq list", "outbox", "outbox show", "reconcile", *MIGRATES}
    assert done >= {"tenants purge", "tenants create-operator", *(ABOUT_NO_DATA - {"demo"})}
    for line in ABOUT_KEYS:
        assert "There are no signing keys in" in ended[line].refusal
    assert not (tmp_path / "mercato-data").exists(), "no folder that nobody asked for"


def test_databases_that_are_not_there_yet_are_told_with_what_makes_them(
    server: PostgresServer, tmp_path: Path
) -> None:
    variables = settings(server, "nowhere_{service}")
    for line, each in told(
        ABOUT_DATABASES - ABOUT_KEYS - ABOUT_FILES - MIGRATES, tmp_path, variables
    ).items():
        assert_a_sentence(line, each)
        assert "There is no database nowhere_" in each.refusal, line
        assert each.refusal.endswith(": mercato migrate up makes it."), line


def test_databases_of_an_older_schema_are_told_with_what_brings_them_up(
    server: PostgresServer, tmp_path: Path
) -> None:
    variables = server.environ_of_platform()
    assert mercato("migrate", "down", "--service", "orders", folder=tmp_path, **variables).code == 0
    assert (
        mercato("migrate", "down", "--service", "users", "--to", "base", folder=tmp_path, **variables).code
        == 0
    )
    for words in (
        "tenants list",
        "tenants create-operator --email a@b.cc --password long-enough",
        "reconcile",
    ):
        refusal = mercato(*words.split(), folder=tmp_path, **variables).refusal
        assert refusal == (
            f"The users database is at base, and must be at {SCHEMAS['users'].head}:"
            " mercato migrate up, with the owner's role."
        )


@pytest.mark.parametrize(
    "url, sentence",
    [
        ("postgresql://mercato_app@127.0.0.1:1/x_{service}", "PostgreSQL at 127.0.0.1:1 cannot be reached: "),
        ("postgresql://stranger:secret@127.0.0.1:{port}/{name}", "lets no stranger in: "),
        ("postgresql://mercato_app@127.0.0.1:{port}/x_orders", "must name the database with {service}"),
        ("postgresql://127.0.0.1:{port}/{name}", "names no role, or no port that there is"),
        ("postgresql://mercato_app@127.0.0.1:eighty/{name}", "names no role, or no port that there is"),
        ("mysql://mercato_app@127.0.0.1:3306/{name}", "MERCATO_DATABASE_SYSTEM_URL"),
        ("", "MERCATO_DATABASE_SYSTEM_URL is not set, which MERCATO_DATABASE_URL needs."),
    ],
)
def test_a_url_that_leads_nowhere_is_named(
    url: str, sentence: str, server: PostgresServer, tmp_path: Path
) -> None:
    variables = server.environ_of_platform()
    name = variables["MERCATO_DATABASE_URL"].rpartition("/")[2]
    wrong = url.replace("{port}", str(server.port)).replace("{name}", name)
    variables["MERCATO_DATABASE_SYSTEM_URL"] = wrong
    for line, each in told(
        {"tenants list", "dlq list", "outbox show", "reconcile"}, tmp_path, variables
    ).items():
        assert_a_sentence(line, each)
        assert sentence in each.refusal
        assert "secret" not in each.refusal


@pytest.fixture(scope="module")
def platform(server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    running = Platform(tmp_path_factory.mktemp("platform"), server.environ_of_platform())
    running.start()
    yield running
    assert running.stop() == 0


def done(platform: Platform, *words: str) -> str:
    ended = platform.command(*words)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


async def sign_in(platform: Platform, email: str, password: str, store: str) -> int:
    async with platform.client(store=store) as anybody:
        pair = {"email": email, "password": password}
        return (await anybody.post("/api/v1/users/login", pair)).status


async def test_stores_and_logins_are_looked_after_while_it_runs(platform: Platform) -> None:
    store = await open_store(platform, "cared-for")
    done(platform, "tenants", "create-operator", "--email", "op@x.example", "--password", "op-password-1")
    done(
        platform,
        "tenants",
        "create-admin",
        "cared-for",
        "--email",
        "b@x.example",
        "--password",
        "b-password-1",
    )
    assert await sign_in(platform, "op@x.example", "op-password-1", "default") == 200
    assert await sign_in(platform, "b@x.example", "b-password-1", "cared-for") == 200
    rows: list[dict[str, str]] = json.loads(done(platform, "tenants", "list", "--json"))
    assert [each["id"] for each in rows] == ["cared-for", "default"]
    async with platform.client(store.customer) as shop:

        async def answers(status: int) -> bool:
            return (await shop.get("/api/v1/orders")).status == status

        done(platform, "tenants", "suspend", "cared-for")
        await until(lambda: answers(403))
        done(platform, "tenants", "activate", "cared-for")
        await until(lambda: answers(200))
    done(platform, "tenants", "set-tier", "cared-for", "premium")
    assert json.loads(done(platform, "tenants", "show", "cared-for", "--json"))["tier"] == "premium"
    acts = "SELECT action FROM audit_log WHERE actor = 'command line'"

    async def told_of() -> bool:
        rows = await asyncio.to_thread(ask, platform.environ, "users", acts)
        return {"tenants_suspend", "tenants_activate", "tenants_set_tier"} <= {row[0] for row in rows}

    # What a command changed is told by an event, which the platform hands on once it hears of it.
    await until(told_of)


async def test_dead_letters_and_what_waits_are_seen_and_replayed_while_it_runs(platform: Platform) -> None:
    letters = [await bury_in(platform.data, sku, platform.environ) for sku in ("MUG", "CUP", "JUG")]
    listed: list[dict[str, Any]] = json.loads(done(platform, "dlq", "list", "--json"))
    assert [each["id"] for each in listed] == letters
    assert json.loads(done(platform, "dlq", "show", letters[0]))["consumer"] == "orders"
    done(platform, "dlq", "replay", letters[0])

    async def is_known() -> bool:
        found = "SELECT 1 FROM catalogue WHERE sku = 'MUG'"
        return bool(await asyncio.to_thread(ask, platform.environ, "orders", found))

    await until(is_known)
    done(platform, "dlq", "drop", letters[1], "--yes")
    assert done(platform, "dlq", "drop", "--all", "--yes") == "1 dead letters are dropped.\n"
    assert done(platform, "dlq", "list") == "Dead letters: none.\n"
    assert set(json.loads(done(platform, "outbox", "--json"))) == set(SCHEMAS)

    async def is_all_sent() -> bool:
        told = await asyncio.to_thread(done, platform, "outbox", "show", "--service", "orders")
        return told == "Events not sent yet: none.\n"

    # That a command dropped one is told by an event, which the platform finds when it next looks.
    await until(is_all_sent)


async def test_keys_of_the_shared_folder_rotate_and_a_store_is_exported(platform: Platform) -> None:
    store = await open_store(platform, "told")
    async with platform.client(store.admin) as shop:
        await add_product(shop, store, "LAMP", stock=3)
    before = json.loads(done(platform, "keys", "list", "--json"))
    done(platform, "keys", "rotate", "--retire")
    assert len(json.loads(done(platform, "keys", "list", "--json"))) == len(before) + 1
    report = json.loads(done(platform, "export", "--tenant", "told", "--json"))
    assert report["objects"]["user"] == 2
    assert report["objects"]["product"] == 1
    platform.assert_balanced()
    made = json.loads(done(platform, "migrate", "status", "--json"))
    assert {each["service"]: each["revision"] for each in made} == {
        name: schema.head for name, schema in SCHEMAS.items()
    }
