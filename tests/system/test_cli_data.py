"""The commands that work on a data folder: schemas, stores, dead letters."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mercato.runtime.folder import SCHEMAS
from tests.buried import REASON, dead_letter
from tests.commands import Ended, Server, mercato, serving, wait_until
from tests.modes import DATA_FOLDER

pytestmark = DATA_FOLDER


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder whose databases were made and never served from."""
    assert mercato("migrate", "up", folder=tmp_path).code == 0
    return tmp_path


def sign_in(server: Server, email: str, password: str, store: str = "default") -> tuple[int, Any]:
    return server.ask("POST", "/api/v1/users/login", {"email": email, "password": password}, store=store)


def test_schemas_go_up_and_down_and_tell_where_they_stand(tmp_path: Path) -> None:
    def status() -> dict[str, str | None]:
        found = mercato("migrate", "status", "--json", folder=tmp_path).json
        return {each["service"]: each["revision"] for each in found}

    assert set(status().values()) == {None}
    assert "not made yet" in mercato("migrate", "status", folder=tmp_path).out

    up = mercato("migrate", "up", "--service", "orders", folder=tmp_path)
    assert (up.code, up.out) == (0, "orders: at orders_0003\n")
    assert status() == {
        "users": None,
        "products": None,
        "orders": "orders_0003",
        "payments": None,
        "notifications": None,
    }
    mercato("migrate", "up", folder=tmp_path)
    assert None not in status().values()

    down = mercato("migrate", "down", "--service", "orders", folder=tmp_path)
    assert (down.code, down.out) == (0, "orders: at orders_0002\n")
    assert status()["orders"] == "orders_0002"
    down = mercato("migrate", "down", "--service", "orders", "--to", "base", folder=tmp_path)
    assert (down.code, down.out) == (0, "orders: at base\n")
    assert status()["orders"] == "base"
    assert mercato("migrate", "up", folder=tmp_path).code == 0
    assert status()["orders"] == "orders_0003"


def test_what_cannot_be_migrated_is_refused_by_name(tmp_path: Path) -> None:
    def refusal(*words: str) -> str:
        return mercato("migrate", *words, folder=tmp_path).refusal

    assert refusal("down", "--service", "orders") == (
        f"There is no orders database in {tmp_path / 'mercato-data'}."
    )
    unknown = "There is no service warehouse; there are users, products, orders, payments, notifications."
    assert refusal("up", "--service", "warehouse") == unknown
    mercato("migrate", "up", "--service", "orders", folder=tmp_path)
    assert "nonsense" in refusal("down", "--service", "orders", "--to", "nonsense")
    newer = tmp_path / "mercato-data" / "orders.db"
    with closing(sqlite3.connect(newer)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = 'orders_9999'")
    for words in (["migrate", "up"], ["up"]):
        ended = mercato(*words, folder=tmp_path)
        assert ended.code == 2
        assert "a schema this version does not know" in ended.err.splitlines()[-1]
        assert '"logger":"alembic' not in ended.err


def test_a_folder_in_use_is_not_migrated(tmp_path: Path) -> None:
    with serving("serve", "orders", folder=tmp_path):
        for words in (["up"], ["down", "--service", "orders"]):
            refusal = mercato("migrate", *words, folder=tmp_path).refusal
            assert refusal == "Another Mercato is serving orders from the data folder mercato-data."


def test_the_first_logins_are_made_on_a_running_platform(tmp_path: Path) -> None:
    with serving("up", folder=tmp_path) as server:
        operator = mercato(
            *["tenants", "create-operator", "--email", "olga@example.com", "--password", "olga-password"],
            folder=tmp_path,
        )
        assert operator.code == 0, operator
        assert operator.out.startswith("Operator olga@example.com can sign in to the store default: user ")
        status, answer = sign_in(server, "olga@example.com", "olga-password")
        assert (status, answer["data"]["user"]["role"]) == (200, "operator")

        admin = {"email": "ada@shop.example", "password": "ada-password", "first_name": "A", "last_name": "A"}
        shop = {"id": "shop", "name": "Shop", "currency": "EUR", "admin": admin}
        assert server.ask("POST", "/api/v1/tenants", shop)[0] == 201
        made = mercato(
            *["tenants", "create-admin", "shop", "--email", "adam@shop.example"],
            folder=tmp_path,
            given="adam-password\n",
        )
        assert made.out.startswith("Admin adam@shop.example can sign in to the store shop: user ")
        status, answer = sign_in(server, "adam@shop.example", "adam-password", "shop")
        assert (status, answer["data"]["user"]["role"]) == (200, "admin")
        assert sign_in(server, "adam@shop.example", "adam-password")[0] == 401

        stores = mercato("tenants", "list", "--json", folder=tmp_path).json
        assert [(each["id"], each["currency"], each["status"]) for each in stores] == [
            ("default", "USD", "active"),
            ("shop", "EUR", "active"),
        ]
        assert "shop" in mercato("tenants", "list", folder=tmp_path).out


def test_the_first_operator_is_made_before_the_first_start(folder: Path) -> None:
    made = mercato("tenants", "create-operator", "--email", "o@e.cc", folder=folder, given="olga-password\n")
    assert made.code == 0, made

    with serving("up", folder=folder) as server:
        assert sign_in(server, "o@e.cc", "olga-password")[0] == 200


@pytest.mark.parametrize(
    "words, named",
    [
        ("create-admin nowhere --email a@b.cc --password long-enough", "There is no such store."),
        ("create-operator --email a@b.cc --password short", "password"),
        ("create-operator --email a@b.cc", "password"),
        ("create-operator --email nonsense --password long-enough", "email"),
    ],
)
def test_a_login_that_cannot_be_made_is_refused_in_a_sentence(words: str, named: str, folder: Path) -> None:
    refusal = mercato("tenants", *words.split(), folder=folder).refusal

    assert named in refusal


def test_a_login_is_made_once(folder: Path) -> None:
    words = ["tenants", "create-operator", "--email", "a@b.cc", "--password", "long-enough"]
    assert mercato(*words, folder=folder).code == 0

    assert "There is an account with this email." in mercato(*words, folder=folder).refusal


def dlq(folder: Path, *words: str, given: str = "") -> Ended:
    return mercato("dlq", *words, folder=folder, given=given)


def test_a_dead_letter_is_listed_shown_replayed_and_has_its_effect(folder: Path) -> None:
    event_id = dead_letter(folder)

    (listed,) = dlq(folder, "list", "--json").json
    assert (listed["id"], listed["consumer"], listed["type"]) == (event_id, "orders", "product.created")
    assert (listed["attempts"], listed["reason"]) == (8, REASON)
    assert event_id in dlq(folder, "list").out
    shown = dlq(folder, "show", event_id).json
    assert msgspec.json.decode(shown["body"])["data"]["sku"] == "MUG"

    assert dlq(folder, "replay", event_id).out == f"{event_id} will be tried anew.\n"
    assert dlq(folder, "list", "--json").json == []
    with serving("up", folder=folder) as server:
        token = customer(server)
        wait_until(lambda: knows(folder, "MUG"))
        assert server.ask("GET", "/api/v1/orders", token=token)[0] == 200
    assert f"There is no dead letter {event_id}" in dlq(folder, "show", event_id).refusal


def test_bytes_that_are_no_event_become_a_dead_letter_that_can_only_be_dropped(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "mercato-data" / "products.db")) as outbox, outbox:
        outbox.execute(
            "INSERT INTO outbox (event_id, key, sequence, type, tenant_id, body, created_at)"
            " VALUES ('broken', 'default/product/x', 1, 'product.created', 'default', X'7B', 0)"
        )
    assert mercato("outbox", "--json", folder=folder).json["products"]["unsent"] == 1
    with serving("up", folder=folder) as server:
        wait_until(lambda: dead_letters(folder) == 1)
        (listed,) = dlq(folder, "list", "--json").json
        event_id = listed["id"]
        assert dlq(folder, "show", event_id).json["body"] == "{"
        assert "could be replayed" in dlq(folder, "replay", event_id).refusal

        for answer in ("", "n\n"):
            assert "Nothing was dropped" in dlq(folder, "drop", event_id, given=answer).err
        assert dead_letters(folder) == 1
        assert dlq(folder, "drop", event_id, given="y\n").out == f"{event_id} is dropped.\n"
        assert dlq(folder, "drop", event_id, "--yes").refusal == f"There is no dead letter {event_id}."
        assert server.ask("GET", "/health/ready")[0] == 200
    assert mercato("outbox", "--json", folder=folder).json["products"]["unsent"] == 0


@pytest.mark.parametrize("command", ["show", "replay", "drop --yes"])
def test_a_dead_letter_that_is_not_there_is_refused(command: str, folder: Path) -> None:
    word, *options = command.split()

    assert dlq(folder, word, "unknown", *options).refusal.startswith("There is no dead letter unknown")


def bury_some(folder: Path) -> None:
    for sku in ("MUG", "CUP", "JUG"):
        dead_letter(folder, sku)


def test_dead_letters_are_replayed_all_at_once_after_a_question(folder: Path) -> None:
    bury_some(folder)

    for answer in ("", "n\n"):
        assert "Nothing was done" in dlq(folder, "replay", "--all", given=answer).err
    for nothing in (["--type", "order.created"], ["--consumer", "payments"]):
        assert dlq(folder, "replay", "--all", *nothing, "--json").json == {"replayed": 0, "left": 0}
    assert dead_letters(folder) == 3
    assert dlq(folder, "replay", "--all", "--type", "product.created", given="y\n").out == (
        "3 dead letters will be tried anew.\n"
    )
    assert dead_letters(folder) == 0
    with serving("up", folder=folder):
        wait_until(lambda: all(knows(folder, sku) for sku in ("MUG", "CUP", "JUG")))


def test_an_empty_list_says_that_there_is_nothing(folder: Path) -> None:
    assert dlq(folder, "list").out == "Dead letters: none.\n"
    assert mercato("outbox", "show", folder=folder).out == "Events not sent yet: none.\n"


def test_dead_letters_are_dropped_all_at_once(folder: Path) -> None:
    bury_some(folder)

    assert "Nothing was done" in dlq(folder, "drop", "--all").err
    assert dlq(folder, "drop", "--all", "--consumer", "orders", "--yes", "--json").json == {"dropped": 3}
    assert dead_letters(folder) == 0


@pytest.mark.parametrize(
    "words, told",
    [
        ("replay", "Name one dead letter, or say --all."),
        ("replay x --all", "Name one dead letter, or say --all."),
        ("drop x --type order.created", "--type and --consumer go with --all."),
        ("drop --all --consumer nobody", "There is no consumer nobody; there are users, "),
    ],
)
def test_what_is_meant_must_be_clear_before_anything_is_done(words: str, told: str, folder: Path) -> None:
    dead_letter(folder)

    assert dlq(folder, *words.split()).refusal.startswith(told)
    assert dead_letters(folder) == 1


def test_events_that_wait_are_listed_by_service(tmp_path: Path) -> None:
    with serving("serve", "users", folder=tmp_path) as server:
        customer(server)

    waiting = mercato("outbox", "show", "--json", folder=tmp_path).json
    assert ("users", "user.created") in [(each["service"], each["type"]) for each in waiting]
    assert waiting[0]["id"] in mercato("outbox", "show", "--service", "users", folder=tmp_path).out
    assert mercato("outbox", "show", "--service", "orders", "--json", folder=tmp_path).json == []
    refusal = mercato("outbox", "show", "--service", "warehouse", folder=tmp_path).refusal
    assert refusal.startswith("There is no service warehouse; there are users, ")


def test_what_changes_something_can_tell_it_as_json(folder: Path) -> None:
    def told(*words: str) -> Any:
        return mercato(*words, "--json", folder=folder).json

    made = told("tenants", "create-operator", "--email", "o@e.cc", "--password", "long-enough")
    assert (made["email"], made["role"], made["tenant_id"]) == ("o@e.cc", "operator", "default")
    assert told("tenants", "set-tier", "default", "premium")["tier"] == "premium"
    first = told("keys", "rotate")["kid"]
    told("keys", "rotate")
    assert told("keys", "retire", first)["until"]
    assert told("migrate", "down", "--service", "orders") == {"orders": "orders_0002"}
    assert set(told("migrate", "up")) == {*SCHEMAS}


def customer(server: Server) -> str:
    ann = {"email": "ann@example.com", "password": "ann-password", "first_name": "Ann", "last_name": "O"}
    return str(server.ask("POST", "/api/v1/users/register", ann)[1]["data"]["token"])


def knows(folder: Path, sku: str) -> bool:
    return count(folder, f"SELECT count(*) FROM catalogue WHERE sku = '{sku}'") == 1


def dead_letters(folder: Path) -> int:
    return count(folder, "SELECT count(*) FROM inbox_parked WHERE state = 'dead'")


def count(folder: Path, query: str) -> int:
    with closing(sqlite3.connect(folder / "mercato-data" / "orders.db")) as connection:
        return int(connection.execute(query).fetchone()[0])
