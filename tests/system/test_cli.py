"""The commands that start things: what they print, and how they refuse."""

import asyncio
import re
import socket
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from mercato import __version__
from tests.commands import Server, mercato, serving, wait_until
from tests.modes import DATA_FOLDER
from tests.running import Down, Platform, add_product, free_port, open_store, order_of

pytestmark = DATA_FOLDER

COMMANDS = ["up", "serve", "migrate", "config", "reconcile", "tenants", "dlq", "outbox", "demo", "version"]
ANN = {"email": "ann@example.com", "password": "ann-password", "first_name": "Ann", "last_name": "Other"}


def register(server: Server) -> str:
    status, answer = server.ask("POST", "/api/v1/users/register", ANN)
    assert status == 201, answer
    return str(answer["data"]["token"])


def test_the_version_is_told(tmp_path: Path) -> None:
    assert mercato("version", folder=tmp_path).out == f"mercato {__version__}\n"
    assert mercato("version", "--json", folder=tmp_path).json == {"version": __version__}


def test_without_a_command_the_commands_are_listed(tmp_path: Path) -> None:
    ended = mercato(folder=tmp_path)

    assert ended.code == 0
    for command in [
        "up",
        "serve",
        "migrate",
        "config",
        "reconcile",
        "tenants",
        "dlq",
        "outbox",
        "demo",
        "version",
    ]:
        assert re.search(rf"\b{command}\b", ended.out), command


@pytest.mark.parametrize(
    "words", ["upp", "reconcile --loud", "serve warehouse", "up --port eighty", "migrate down", "dlq show"]
)
def test_a_wrong_command_line_is_exit_code_2_and_no_difference_in_the_books(
    words: str, tmp_path: Path
) -> None:
    ended = mercato(*words.split(), folder=tmp_path)

    assert ended.refusal.endswith(" --help` tells what there is.")


@pytest.mark.parametrize(
    "command, name, value, expected",
    [
        (
            "up",
            "MERCATO_HOLD",
            "soon",
            "MERCATO_HOLD is 'soon', which is not acceptable: it takes a number above 0 and up to 86400.",
        ),
        (
            "outbox",
            "MERCATO_LOG_LEVEL",
            "loud",
            "MERCATO_LOG_LEVEL is 'loud', which is not acceptable: it takes debug, info, warning or error.",
        ),
        (
            "config",
            "MERCATO_PROT",
            "1",
            "MERCATO_PROT, in the environment, is not a setting; `mercato config` lists them all.",
        ),
    ],
)
def test_a_wrong_setting_stops_the_start_with_a_sentence_that_names_it(
    command: str, name: str, value: str, expected: str, tmp_path: Path
) -> None:
    assert mercato(command, folder=tmp_path, **{name: value}).refusal == expected
    assert list(tmp_path.iterdir()) == []


def test_config_lists_every_setting_with_where_it_comes_from(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("MERCATO_HOLD=60\nMERCATO_PORT=9001\n")

    found = mercato("config", "--json", "--data", "there", folder=tmp_path, MERCATO_PORT="9002").json

    settings = {each["name"]: (each["value"], each["source"]) for each in found}
    assert {each["name"]: each["default"] for each in found}["MERCATO_PORT"] == "8080"
    assert settings["MERCATO_HOLD"] == ("60.0", ".env")
    assert settings["MERCATO_PORT"] == ("9002", "environment")
    assert settings["MERCATO_DATA"] == ("there", "option")
    assert settings["MERCATO_HOST"] == ("127.0.0.1", "default")
    table = mercato("config", folder=tmp_path).out
    assert all(name in table for name in settings)


@pytest.mark.parametrize(
    "words",
    [
        "reconcile",
        "outbox",
        "dlq list",
        "dlq show x",
        "tenants list",
        "tenants create-operator --email a@b.cc",
    ],
)
def test_a_data_folder_that_is_not_there_is_one_helpful_sentence(words: str, tmp_path: Path) -> None:
    sentence = mercato(*words.split(), "--data", "nowhere", folder=tmp_path, given="some-password\n").refusal

    assert sentence == (
        f"There is no Mercato data in {tmp_path / 'nowhere'}; name the folder with --data,"
        " or start one with `mercato up`."
    )
    assert not (tmp_path / "nowhere").exists()


def test_a_data_folder_that_cannot_be_one_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "users.db").write_text("no database, and long enough to be none " * 50)

    assert mercato("up", "--data", "file", folder=tmp_path).refusal == "file cannot be used: File exists."
    for words in ("up", "migrate status", "tenants list"):
        refusal = mercato(*words.split(), "--data", "broken", folder=tmp_path).refusal
        assert refusal.startswith("broken/users.db cannot be read as a database: ")


def test_up_serves_everything_and_tells_where(tmp_path: Path) -> None:
    with serving("up", folder=tmp_path) as server:
        assert f"Mercato {__version__} is up: every service at {server.url}\n" in server.out
        assert str(tmp_path / "mercato-data") in server.out
        for path in ("/health", "/openapi.json", "/.well-known/jwks.json"):
            assert server.ask("GET", path)[0] == 200
        token = register(server)
        assert server.ask("GET", "/api/v1/orders", token=token)[0] == 200
        assert server.ask("GET", "/api/v1/payments", token=token)[0] == 200

        other = mercato("up", "--port", str(free_port()), folder=tmp_path).refusal
        assert other == "Another Mercato is serving users from the data folder mercato-data."
        alone = mercato("serve", "orders", "--port", str(free_port()), folder=tmp_path).refusal
        assert alone == "Another Mercato is serving orders from the data folder mercato-data."
        taken = mercato("up", "--port", str(server.port), "--data", "other", folder=tmp_path).refusal
        assert taken == f"The address 127.0.0.1:{server.port} is in use; choose another with --port."


def test_a_port_that_somebody_else_has_is_named_before_anything_is_made(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refusal = mercato("up", "--port", str(port), folder=tmp_path).refusal

    assert refusal == f"The address 127.0.0.1:{port} is in use; choose another with --port."
    assert list(tmp_path.iterdir()) == []


def test_a_host_that_is_none_of_ours_is_named(tmp_path: Path) -> None:
    refusal = mercato("up", "--host", "192.0.2.1", folder=tmp_path).refusal

    assert refusal.startswith("The address 192.0.2.1:8080 cannot be used: ")


def test_users_alone_register_and_sign_in_and_their_events_wait(tmp_path: Path) -> None:
    with serving("serve", "users", folder=tmp_path) as server:
        assert f"users alone at {server.url}" in server.out
        register(server)
        login = {"email": ANN["email"], "password": ANN["password"]}
        status, answer = server.ask("POST", "/api/v1/users/login", login)
        assert status == 200
        assert server.ask("GET", "/api/v1/users/me", token=answer["data"]["token"])[0] == 200
        assert server.ask("POST", "/api/v1/users/login", login | {"password": "wrong-password"})[0] == 401
        assert server.ask("GET", "/api/v1/orders")[0] == 404

    waiting = mercato("outbox", "--json", folder=tmp_path).json
    assert waiting["users"]["unsent"] >= 1
    assert waiting["users"]["oldest"] is not None
    assert waiting["orders"] == {"unsent": 0, "oldest": None}
    assert "users" in mercato("outbox", folder=tmp_path).out


def test_orders_alone_cannot_price_and_says_so(tmp_path: Path) -> None:
    """Beside users on the same folder: the keys are shared, so a token from there is good here."""
    with (
        serving("serve", "users", folder=tmp_path) as users,
        serving("serve", "orders", folder=tmp_path) as orders,
    ):
        token = register(users)

        status, answer = orders.ask("POST", "/api/v1/orders", order_of("MUG"), token=token)

        assert (status, answer["error"]["code"]) == (503, "SERVICE_UNAVAILABLE")
        status, answer = orders.ask("GET", "/api/v1/orders", token=token)
        assert (status, answer["data"]) == (200, [])
        assert orders.ask("POST", "/api/v1/orders", order_of("MUG"))[0] == 401


def test_what_orders_alone_accepted_is_reserved_when_products_is_back(tmp_path: Path) -> None:
    admin = {"email": "ada@example.com", "password": "ada-password", "first_name": "Ada", "last_name": "A"}
    with serving("up", folder=tmp_path) as server:
        opened = server.ask("POST", "/api/v1/tenants", {"id": "mugs", "name": "Mugs", "admin": admin})
        token = opened[1]["data"]["token"]
        mug = {"sku": "MUG", "name": "Mug", "price": 5, "stock": 1}
        assert server.ask("POST", "/api/v1/products", mug, token=token)[0] == 201
        wait_for_row(tmp_path, "SELECT 1 FROM catalogue WHERE sku = 'MUG'")
    with serving("serve", "orders", folder=tmp_path) as alone:
        placed = [alone.ask("POST", "/api/v1/orders", order_of("MUG"), token=token) for _ in range(2)]
        assert [status for status, _ in placed] == [201, 201]
        first, second = (answer["data"]["id"] for _, answer in placed)

    with serving("up", folder=tmp_path):
        wait_for_row(tmp_path, f"SELECT 1 FROM orders WHERE id = '{first}' AND stock = 'reserved'")
        wait_for_row(tmp_path, f"SELECT 1 FROM orders WHERE id = '{second}' AND status = 'cancelled'")
    assert mercato("reconcile", folder=tmp_path).code == 0


def test_a_services_own_port_yields_to_a_setting_from_wherever(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (tmp_path / ".env").write_text(f"MERCATO_PORT={port}\n")

        assert f"127.0.0.1:{port} is in use" in mercato("serve", "users", folder=tmp_path).refusal


async def test_what_a_crash_left_open_is_taken_up_by_payments_alone(own_platform: Platform) -> None:
    own_platform.environ = {"MERCATO_PROVIDER_TIMEOUT": "600"}
    own_platform.start()
    store = await open_store(own_platform, "crash")
    async with own_platform.client(store.customer) as shop:
        product = await add_product(shop, store, "MUG", stock=1)
        order = (await shop.post("/api/v1/orders", order_of(product))).data["id"]
        wanted = {"order_id": order, "method": "card", "token": "tok_timeout"}
        payment = (await shop.post("/api/v1/payments", wanted)).data["id"]
        path = f"/api/v1/payments/{payment}"
        processing = asyncio.create_task(shop.post(f"{path}/process"))
        await shop.until(path, "status", "processing")
        own_platform.kill()
        with pytest.raises(Down):
            await processing

    with serving("serve", "payments", folder=own_platform.folder, MERCATO_DATA="data") as alone:
        wait_until(lambda: alone.ask("GET", path, token=store.customer)[1]["data"]["status"] == "failed")


def wait_for_row(folder: Path, query: str) -> None:
    """Wait until the database of orders has what the query asks for."""
    with closing(sqlite3.connect(folder / "mercato-data" / "orders.db")) as connection:
        wait_until(lambda: connection.execute(query).fetchone() is not None)
