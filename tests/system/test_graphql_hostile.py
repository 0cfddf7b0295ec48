"""Hostile GraphQL on the running platform: refused before it costs anything, and no way round limits."""

from urllib.parse import quote

import pytest

from tests.graphql_client import ask
from tests.running import Platform, open_store

NESTED = "{ orders { data { " + "payment { order { " * 12 + "id" + " } }" * 12 + " } } }"
HOSTILE = {
    "depth": NESTED,
    "aliases": "{ " + " ".join(f"a{n}: me {{ id }}" for n in range(31)) + " }",
    "ten thousand aliases": "{ " + " ".join(f"a{n}: me {{ id }}" for n in range(3_000)) + " }",
    "cyclic fragments": "{ me { ...a } } fragment a on User { ...b } fragment b on User { ...a }",
    "cost": "{ orders(limit: 100) { data { user { orders(limit: 100) { user { id } payment { id } } } } } }",
    "deep input": "mutation { createOrder(input: " + "{items: " * 200 + "[]" + "}" * 200 + ") { id } }",
    "no end": "{ me { id ",
    "nothing": "",
}
LOGIN = 'a%d: login(input: {email: "customer@%s.example", password: "wrong-%d"}) { token }'


@pytest.mark.parametrize("kind", HOSTILE)
async def test_a_hostile_document_is_refused_and_nothing_is_executed(platform: Platform, kind: str) -> None:
    async with platform.client() as shop:
        answer = await shop.post("/graphql", {"query": HOSTILE[kind]})
        assert answer.status in {200, 400}, answer.body
        assert "data" not in answer.json
        (error, *_) = answer.json["errors"]
        assert error["message"]
        assert error["extensions"]["code"] != "INTERNAL_ERROR"
        assert "Traceback" not in answer.body.decode()


async def test_a_list_of_a_hundred_millions_is_refused_by_name(platform: Platform) -> None:
    async with platform.client() as shop:
        answer = await shop.post("/graphql", {"query": "{ products(limit: 100000000) { data { id } } }"})
        assert answer.json["errors"][0]["extensions"]["code"] != "INTERNAL_ERROR"
        assert answer.json.get("data") in (None, {"products": None})


async def test_a_body_of_five_megabytes_and_a_batch_of_fifty_are_refused(platform: Platform) -> None:
    async with platform.client() as shop:
        large = await shop.post("/graphql", {"query": "{ me { id } }" + " " * 5_000_000})
        assert (large.status, large.json["errors"][0]["extensions"]["code"]) == (413, "PAYLOAD_TOO_LARGE")
        batch = await shop.post("/graphql", [{"query": "{ me { id } }"}] * 50)
        assert batch.status == 400
        assert batch.json["errors"]


async def test_a_mutation_by_get_changes_nothing(platform: Platform) -> None:
    document = quote('mutation { logout(refreshToken: "x") }')
    async with platform.client() as shop:
        answer = await shop.get(f"/graphql?query={document}", headers={"Accept": "application/json"})
        assert (answer.status, answer.headers["allow"]) == (405, "POST")


async def test_passwords_are_not_guessed_by_aliases(platform: Platform) -> None:
    store = await open_store(platform, "gql-guess")
    document = "mutation { " + " ".join(LOGIN % (n, store.id, n) for n in range(10)) + " }"
    async with platform.client(store=store.id) as shop:
        first = await ask(shop, document)
        assert set(first.codes.values()) == {"UNAUTHORIZED"}
        again = await ask(shop, document)
        assert set(again.codes.values()) == {"RATE_LIMIT_EXCEEDED"}
        right = (LOGIN % (0, store.id, 0)).replace("wrong-0", "customer-password")
        refused = await ask(shop, f"mutation {{ {right} }}")
        assert refused.codes == {"a0": "RATE_LIMIT_EXCEEDED"}
