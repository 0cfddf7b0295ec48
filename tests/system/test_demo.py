"""The demo: two stores with a history, made through the API, as often as one likes."""

import random
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mercato.cli.demo.plan import ADMIN_PASSWORD, CUSTOMER_PASSWORD
from tests.commands import DEMO_DEADLINE_S, Server, mercato, serving, wait_until
from tests.demo_picture import STORES, admin_of, every, exact, picture
from tests.modes import OWN_PROCESSES
from tests.running import free_port

pytestmark = OWN_PROCESSES


def demo(server: Server, folder: Path, *words: str) -> Any:
    return mercato("demo", "--url", server.url, "--json", *words, folder=folder).json


@pytest.fixture(scope="module")
def one_run(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What one undisturbed run makes."""
    folder = tmp_path_factory.mktemp("one-run")
    with serving("up", folder=folder) as server:
        demo(server, folder)
        return picture(server)


def test_a_second_run_finds_all_of_it_and_changes_nothing(tmp_path: Path) -> None:
    with serving("up", folder=tmp_path) as server:
        first = demo(server, tmp_path)
        before = exact(server)
        second = demo(server, tmp_path)

        assert exact(server) == before
        for store in first["stores"]:
            assert store["made"] == {"store": True, "products": 112, "people": 16, "orders": 50}
            assert store["logins"]["machine"]["client_secret"]
        for store in second["stores"]:
            assert store["made"] == {"store": False, "products": 0, "people": 0, "orders": 0}
            assert store["logins"]["machine"]["client_secret"] is None
    assert mercato("reconcile", folder=tmp_path).code == 0


def test_what_somebody_did_meanwhile_stays_as_it_is(tmp_path: Path) -> None:
    with serving("up", folder=tmp_path) as server:
        demo(server, tmp_path)
        token = admin_of(server, "demo-shop")
        orders = every(server, "orders", token)
        by_status = {each["status"]: each for each in orders}
        moved = f"/api/v1/orders/{by_status['processing']['id']}/status"
        assert server.ask("PATCH", moved, {"status": "shipped"}, token=token)[0] == 200
        for status in ("pending", "confirmed"):
            path = f"/api/v1/orders/{by_status[status]['id']}/cancel"
            assert server.ask("POST", path, {"reason": "Because."}, token=token)[0] == 200
        gone = f"/api/v1/orders/{by_status['delivered']['id']}"
        assert server.ask("DELETE", gone, token=token)[0] == 204
        # Payments are given up and money goes back after the order was cancelled.
        owed = {"pending", "paid"}
        wait_until(lambda: not any(each["payment_status"] in owed for each in cancelled(server, token)))
        before = exact(server)

        demo(server, tmp_path)

        assert exact(server) == before


def cancelled(server: Server, token: str) -> list[Any]:
    return [each for each in every(server, "orders", token) if each["status"] == "cancelled"]


@pytest.mark.parametrize("seed", range(3))
def test_a_run_that_is_killed_anywhere_is_completed_by_the_next(
    seed: int, tmp_path: Path, one_run: dict[str, Any]
) -> None:
    dice = random.Random(seed)
    with serving("up", folder=tmp_path) as server:
        for _ in range(4):
            killed_after(dice.randint(1, 400), server, tmp_path)
        demo(server, tmp_path)

        assert picture(server) == one_run
    assert mercato("reconcile", folder=tmp_path).code == 0


def killed_after(requests: int, server: Server, folder: Path) -> None:
    """Run the demo, and kill it when the platform has logged so many more requests."""
    log = folder / f"{server.port}.err"

    def logged() -> int:
        return log.read_bytes().count(b"\n")

    wanted = logged() + requests
    running = subprocess.Popen(
        [sys.executable, "-m", "mercato", "demo", "--url", server.url], stdout=subprocess.DEVNULL, cwd=folder
    )
    wait_until(lambda: logged() >= wanted or running.poll() is not None, DEMO_DEADLINE_S)
    running.send_signal(signal.SIGKILL)
    running.wait(10)


def test_two_runs_at_once_make_what_one_makes(tmp_path: Path, one_run: dict[str, Any]) -> None:
    with serving("up", folder=tmp_path) as server:
        command = [sys.executable, "-m", "mercato", "demo", "--json", "--url", server.url]
        runs = [
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            for _ in range(2)
        ]
        ended = [(run.communicate(timeout=DEMO_DEADLINE_S), run.returncode) for run in runs]

        assert [code for _, code in ended] == [0, 0], ended
        assert picture(server) == one_run


def test_limits_make_it_slower_and_nothing_else(tmp_path: Path, one_run: dict[str, Any]) -> None:
    rate, burst = "60", "20"
    with serving("up", folder=tmp_path, MERCATO_ADDRESS_RATE=rate, MERCATO_ADDRESS_BURST=burst) as server:
        ended = mercato("demo", "--url", server.url, folder=tmp_path)
        assert ended.code == 0, ended.err
        assert b'"status":429' in (tmp_path / f"{server.port}.err").read_bytes()
    with serving("up", folder=tmp_path) as server:
        assert picture(server) == one_run


def test_a_store_whose_day_is_used_up_is_told_what_to_do(tmp_path: Path) -> None:
    with serving("up", folder=tmp_path, MERCATO_DEFAULT_TIER="basic", MERCATO_TIER_BASIC="0/0/20") as server:
        refusal = mercato("demo", "--url", server.url, folder=tmp_path).refusal

    assert "`mercato tenants set-tier demo-shop unlimited` lifts a store's limits." in refusal


def test_another_seed_has_stores_of_its_own(tmp_path: Path) -> None:
    with serving("up", folder=tmp_path) as server:
        found = demo(server, tmp_path, "--seed", "42")
    assert [store["id"] for store in found["stores"]] == ["demo-shop-42", "demo-tea-42"]
    assert mercato("demo", "--seed", "-1", folder=tmp_path).code == 2


def test_what_is_sold_out_is_left_out_and_told(tmp_path: Path) -> None:
    with serving("up", folder=tmp_path) as server:
        admin = {"email": "admin@demo-shop.example", "password": ADMIN_PASSWORD}
        store = {"id": "demo-shop", "name": "Mine", "admin": admin | {"first_name": "A", "last_name": "B"}}
        token = server.ask("POST", "/api/v1/tenants", store)[1]["data"]["token"]
        (first, *_) = [sku for order in STORES["demo-shop"].orders for sku, _ in order.lines]
        product = {"sku": first, "name": "Mine", "price": 1, "stock": 0}
        assert server.ask("POST", "/api/v1/products", product, token=token)[0] == 201

        ended = mercato("demo", "--url", server.url, folder=tmp_path)

        assert ended.code == 1
        assert "is left out" in ended.err
        assert "Traceback" not in ended.err
        assert "The demo is ready" in ended.out


def test_up_with_a_demo_tells_what_is_there_and_serves_on(tmp_path: Path) -> None:
    with serving("up", "--demo", folder=tmp_path) as server:
        wait_until(lambda: "\nTry:\n" in server.out and server.out.endswith("}'\n"), DEMO_DEADLINE_S)
        for told in (f"{server.url}/api/v1", f"{server.url}/docs", f"{server.url}/health", "\x1b["):
            assert (told in server.out) == (told != "\x1b["), server.out
        for store in STORES:
            for email, password in (
                (f"admin@{store}.example", ADMIN_PASSWORD),
                (f"shopper@{store}.example", CUSTOMER_PASSWORD),
            ):
                assert f"{email:<32} {password}" in server.out
                login = {"email": email, "password": password}
                assert server.ask("POST", "/api/v1/users/login", login, store=store)[0] == 200
            client, secret = machine_of(server.out, store)
            wanted = {"client_id": client, "client_secret": secret}
            token = server.ask("POST", "/api/v1/auth/token", wanted)[1]["data"]["token"]
            assert server.ask("GET", "/api/v1/orders", token=token)[0] == 200
        for line in commands_to_try(server.out):
            answer = subprocess.check_output(["bash", "-c", line], text=True, timeout=30)
            assert answer.startswith('{"success":true'), line
    assert mercato("reconcile", folder=tmp_path).code == 0


def machine_of(out: str, store: str) -> tuple[str, str]:
    """Return the machine's login as it was printed."""
    found = re.search(rf"machine +({store}\.\S+)\n +(\S+)\n", out)
    assert found is not None, out
    return found[1], found[2]


def commands_to_try(out: str) -> list[str]:
    commands = out.partition("\nTry:\n")[2].replace("\\\n", " ").splitlines()
    assert len(commands) == 2
    return [f"{command} -s" for command in commands]


def test_without_a_platform_the_demo_says_what_to_do(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"

    refusal = mercato("demo", "--url", url, folder=tmp_path).refusal

    assert refusal.startswith(f"There is no Mercato at {url} (")
    assert refusal.endswith("; start one with `mercato up`, or name it with --url.")
    for nonsense in ("nonsense", "http://127.0.0.1:port"):
        refusal = mercato("demo", "--url", nonsense, folder=tmp_path).refusal
        assert refusal == f"{nonsense} is no address of a platform; name it as http://HOST:PORT."


def test_where_only_an_operator_opens_stores_the_demo_says_so(tmp_path: Path) -> None:
    with serving("up", folder=tmp_path, MERCATO_ONBOARDING="operator") as server:
        refusal = mercato("demo", "--url", server.url, folder=tmp_path).refusal

    assert refusal.startswith("The store could not be opened: only operators open stores there")


def test_somebody_elses_store_of_that_name_is_not_touched(tmp_path: Path) -> None:
    with serving("up", folder=tmp_path) as server:
        admin = {"email": "a@b.example", "password": "my-own-password", "first_name": "A", "last_name": "B"}
        store = {"id": "demo-shop", "name": "Mine", "admin": admin}
        assert server.ask("POST", "/api/v1/tenants", store)[0] == 201

        refusal = mercato("demo", "--url", server.url, folder=tmp_path).refusal

    assert refusal.startswith("There is a store demo-shop that is not the demo's: ")
