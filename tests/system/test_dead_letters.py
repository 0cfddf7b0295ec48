"""Dead letters over HTTP: operators list, read, replay and drop them."""

import asyncio

import pytest

from tests.buried import REASON, bury
from tests.running import Platform, Shopper, open_store

PATH = "/api/v1/dead-letters"


async def operator_of(platform: Platform, name: str) -> str:
    """Return an operator's token."""
    account = {"email": f"{name}@ops.example", "password": "operator-password"}
    flags = [word for key, value in account.items() for word in (f"--{key}", value)]
    made = platform.command("tenants", "create-operator", *flags)
    assert made.returncode == 0, made.stderr
    async with platform.client() as anybody:
        return str((await anybody.post("/api/v1/users/login", account)).data["token"])


async def ids(shop: Shopper, query: str = "") -> list[str]:
    return [each["id"] for each in (await shop.get(PATH + query)).data]


async def test_a_dead_letter_is_read_replayed_and_has_its_effect(platform: Platform) -> None:
    letter = await bury(platform, "REPLAYED")
    async with platform.client(await operator_of(platform, "replay")) as shop:
        (listed,) = [each for each in (await shop.get(PATH)).data if each["id"] == letter]
        told = (listed["consumer"], listed["type"], listed["attempts"], listed["reason"])
        assert told == ("orders", "product.created", 8, REASON)
        assert (await shop.get(f"{PATH}/{letter}")).data == [listed]
        assert "REPLAYED" in listed["body"]

        assert (await shop.post(f"{PATH}/{letter}/replay")).status == 202
        async with asyncio.timeout(15):
            while letter in platform.command("dlq", "list", "--json").stdout:  # noqa: ASYNC110  another process
                await asyncio.sleep(0.05)
        assert (await shop.get(f"{PATH}/{letter}")).status == 404
        assert (await shop.post(f"{PATH}/{letter}/replay")).code == "NOT_FOUND"


async def test_a_dropped_dead_letter_is_gone(platform: Platform) -> None:
    letter = await bury(platform, "DROPPED")
    async with platform.client(await operator_of(platform, "drop")) as shop:
        assert (await shop.call("DELETE", f"{PATH}/{letter}")).status == 204
        assert letter not in await ids(shop)
        assert (await shop.call("DELETE", f"{PATH}/{letter}")).status == 404


async def test_dead_letters_are_paged_oldest_first(platform: Platform) -> None:
    buried = [await bury(platform, f"PAGED-{number}") for number in range(5)]
    async with platform.client(await operator_of(platform, "pages")) as shop:
        assert [each for each in await ids(shop) if each in buried] == buried
        found: list[str] = []
        after = ""
        while True:
            answer = await shop.get(f"{PATH}?limit=2{after}")
            assert len(answer.data) <= 2
            found += [each["id"] for each in answer.data]
            if not answer.json["meta"]["has_more"]:
                break
            after = f"&after={answer.json['meta']['next_cursor']}"
        assert [each for each in found if each in buried] == buried
        assert not set(buried) & set(await ids(shop, "?consumer=payments"))
        for letter in buried:
            await shop.call("DELETE", f"{PATH}/{letter}")


@pytest.mark.parametrize("query", ["?after=x", "?after=MjAyNg", "?limit=0", "?limit=101", "?state=dead"])
async def test_a_list_that_cannot_be_made_is_400(platform: Platform, query: str) -> None:
    async with platform.client(await operator_of(platform, f"bad{abs(hash(query))}")) as shop:
        assert (await shop.get(PATH + query)).code == "VALIDATION_ERROR"


async def test_only_operators_see_them(platform: Platform) -> None:
    store = await open_store(platform, "dead-letters")
    letter = await bury(platform, "HIDDEN")
    async with platform.client() as shop:
        for method, path in (
            ("GET", PATH),
            ("GET", f"{PATH}/{letter}"),
            ("POST", f"{PATH}/{letter}/replay"),
            ("DELETE", f"{PATH}/{letter}"),
        ):
            assert (await shop.call(method, path)).status == 401
            for token in (store.admin, store.customer):
                assert (await shop.call(method, path, token=token)).status == 403
    platform.command("dlq", "drop", letter, "--yes")
