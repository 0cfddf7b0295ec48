"""The demonstration: a store, its products and a purchase, told step by step."""

from pathlib import Path

from tests.commands import mercato, serving, wait_until
from tests.running import Platform, free_port

STEPS = [
    "20 products in the catalogue",
    "shopper@demo-shop.example",
    "found Brass desk lamp for 79.90 USD",
    "ordered 2 products for 107.90 USD",
    "paid 107.90 USD by card: success",
    "the order is confirmed",
    "Store demo-shop at ",
]


def assert_told(out: str) -> None:
    """Assert that every step was told, in order."""
    at = 0
    for step in STEPS:
        assert step in out[at:], out
        at = out.index(step, at)


def test_the_demo_runs_as_often_as_one_likes(platform: Platform) -> None:
    first = mercato("demo", "--url", platform.url, folder=platform.folder)
    second = mercato("demo", "--url", platform.url, folder=platform.folder)

    assert (first.code, second.code) == (0, 0), first.err + second.err
    assert_told(first.out)
    assert_told(second.out)
    assert "opened the store demo-shop" in first.out
    assert "20 of them new" in first.out
    assert "the store demo-shop is there already" in second.out
    assert "0 of them new" in second.out


def test_up_with_a_demo_tells_its_steps_and_serves_on(tmp_path: Path) -> None:
    with serving("up", "--demo", folder=tmp_path) as server:
        wait_until(lambda: "  shopper  " in server.out)
        assert_told(server.out)
        login = {"email": "admin@demo-shop.example", "password": "demo-admin-password"}
        assert server.ask("POST", "/api/v1/users/login", login, store="demo-shop")[0] == 200
    assert mercato("reconcile", folder=tmp_path).code == 0


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

    assert refusal.startswith("The store could not be opened: ")
