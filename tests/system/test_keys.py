"""Keys rotate under a running platform, by the commands an operator has."""

import asyncio
import json
import time
from typing import Any

from tests.running import Platform, Shopper, open_store
from tests.waiting import until

ORDERS = "/api/v1/orders"


def listed(platform: Platform) -> list[dict[str, Any]]:
    ended = platform.command("keys", "list", "--json")
    assert ended.returncode == 0, ended.stderr
    found: list[dict[str, Any]] = json.loads(ended.stdout)
    return found


async def published(shop: Shopper) -> set[str]:
    return {each["kid"] for each in (await shop.get("/.well-known/jwks.json")).json["keys"]}


async def until_published(shop: Shopper, kids: set[str]) -> None:
    deadline = time.monotonic() + 20
    while await published(shop) != kids:
        assert time.monotonic() < deadline, f"{kids} are not what is published"
        await asyncio.sleep(0.1)


async def test_a_new_key_is_taken_up_and_a_stolen_one_refused_while_it_runs(own_platform: Platform) -> None:
    own_platform.start()
    store = await open_store(own_platform, "rotated")
    async with own_platform.client(store.customer) as shop:
        assert (await shop.get(ORDERS)).status == 200
        (first,) = listed(own_platform)
        assert (first["state"], first["until"]) == ("signs", None)
        made = own_platform.command("keys", "rotate", "--json")
        new = json.loads(made.stdout)["kid"]
        assert [each["state"] for each in listed(own_platform)] in (
            ["published", "signs"],
            ["signs", "verifies"],
        )
        await until_published(shop, {first["kid"], new})
        assert (await shop.get(ORDERS)).status == 200

        last = own_platform.command("keys", "retire", first["kid"], "--at-once")
        assert last.returncode == 0, last.stderr
        await until_published(shop, {new})

        async def unknown() -> bool:
            return (await shop.get(ORDERS)).status == 401

        # Separate services ask for the keys twice a minute.
        await until(unknown, within_s=40)
        login = {"email": "customer@rotated.example", "password": "customer-password"}
        named = {"X-Tenant-Id": "rotated"}
        async with own_platform.client() as anybody:
            token = (await anybody.post("/api/v1/users/login", login, headers=named)).data["token"]
        assert (await shop.get(ORDERS, token=token)).status == 200

    refused = own_platform.command("keys", "retire", new)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "the only signing key" in refused.stderr
    assert own_platform.command("keys", "retire", "nonsense").returncode == 2


async def test_rotating_with_retire_lets_old_tokens_run_out(own_platform: Platform) -> None:
    own_platform.start()
    store = await open_store(own_platform, "retired")
    rotated = own_platform.command("keys", "rotate", "--retire")
    assert rotated.returncode == 0, rotated.stderr
    newer, older = listed(own_platform)
    assert (newer["until"], older["until"] is None) == (None, False)
    assert newer["kid"] in own_platform.command("keys", "list").stdout
    assert own_platform.stop() == 0
    own_platform.start()
    async with own_platform.client(store.customer) as shop:
        assert (await shop.get(ORDERS)).status == 200
