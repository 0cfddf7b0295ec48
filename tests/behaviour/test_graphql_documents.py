"""Documents that are sent once, and documents that are trusted."""

import hashlib
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from mercato.gateway.graphql_http import documents
from mercato.gateway.graphql_http.asked import Asked
from mercato.gateway.graphql_http.operations import Told
from mercato.kernel.tenancy import DEFAULT_TENANT
from mercato.runtime.settings import Settings, WrongSetting
from mercato.web.call import Call
from tests.asgi_client import Answer
from tests.clock import FakeClock
from tests.graphql_http_shop import GraphqlShop, open_graphql, operations

JSON = {"Accept": "application/json"}
GRAPHQL = {"Accept": "application/graphql-response+json"}
PRODUCTS = "{ products { data { name } } }"
LAMP = {"products": {"data": [{"name": "Brass desk lamp"}]}}


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def persisted(digest: str) -> dict[str, Any]:
    return {"persistedQuery": {"version": 1, "sha256Hash": digest}}


def by_get(digest: str, **more: str) -> str:
    return f"/graphql?{urlencode({'extensions': json.dumps(persisted(digest)), **more})}"


def refused(answer: Answer, status: int, code: str, message: str | None = None) -> None:
    (error,) = answer.json["errors"]
    assert (answer.status, error["extensions"]["code"]) == (status, code)
    assert message is None or error["message"] == message
    assert answer.headers["cache-control"] == "private, no-store"


async def test_a_document_is_sent_once_and_then_its_hash_alone() -> None:
    send = open_graphql(GraphqlShop())
    digest = sha256(PRODUCTS)
    unknown = "PERSISTED_QUERY_NOT_FOUND"
    refused(await send("GET", by_get(digest), headers=JSON), 200, unknown, "PersistedQueryNotFound")
    refused(await send("GET", by_get(digest), headers=GRAPHQL), 400, unknown, "PersistedQueryNotFound")
    refused(await send("POST", "/graphql", {"extensions": persisted(digest)}), 200, unknown)
    sent = await send("GET", by_get(digest, query=PRODUCTS), headers=JSON)
    assert sent.json["data"] == LAMP
    for answer in (
        await send("GET", by_get(digest), headers=JSON),
        await send("POST", "/graphql", {"extensions": persisted(digest)}),
        await send("POST", "/graphql", {"documentId": f"sha256:{digest}"}),
        await send("GET", f"/query?documentId=sha256:{digest}", headers=JSON),
    ):
        assert answer.json["data"] == LAMP
    kept = await send("GET", by_get(digest), headers=JSON)
    assert kept.headers["cache-control"] == "public, max-age=60"
    assert kept.headers["etag"] == sent.headers["etag"]


async def test_nobody_can_plant_a_document_under_the_hash_of_another() -> None:
    send = open_graphql(GraphqlShop())
    asked = {"query": "{ me { id } }", "extensions": persisted(sha256(PRODUCTS))}
    answer = await send("POST", "/graphql", asked)
    assert (answer.status, answer.json["errors"][0]["extensions"]["code"]) == (400, "BAD_REQUEST")
    unknown = {"extensions": persisted(sha256(PRODUCTS))}
    refused(await send("POST", "/graphql", unknown), 200, "PERSISTED_QUERY_NOT_FOUND")


async def test_what_is_no_good_document_is_not_kept() -> None:
    send = open_graphql(GraphqlShop())
    for text in ("{", "{ nothing }", "{ a: me { id } " * 100 + "}" * 100):
        await send("POST", "/graphql", {"query": text, "extensions": persisted(sha256(text))})
        again = await send("POST", "/graphql", {"extensions": persisted(sha256(text))})
        refused(again, 200, "PERSISTED_QUERY_NOT_FOUND")


async def test_a_get_of_a_kept_mutation_changes_nothing() -> None:
    shop = GraphqlShop()
    send = open_graphql(shop)
    text = 'mutation { logout(refreshToken: "") }'
    await send("POST", "/graphql", {"query": text, "extensions": persisted(sha256(text))})
    answer = await send("GET", by_get(sha256(text)), headers=JSON)
    assert answer.status == 405
    assert shop.asked == ["logout"]


def test_what_is_kept_is_bounded_and_what_was_used_last_stays() -> None:
    known = documents.Documents()

    def asked(number: int, *, whole: bool = True) -> Asked:
        text = f"{{ a{number} }}" + "#" * 60_000
        return Asked(query=text if whole else None, extensions=persisted(sha256(text)))

    most = documents.MOST_BYTES // 60_000
    for number in range(most + 20):
        known.remember(asked(number))
        known.remember(asked(number))
        assert known.find(asked(0, whole=False)).startswith("{ a0 }")
    with pytest.raises(Exception, match="PersistedQueryNotFound"):
        known.find(asked(1, whole=False))
    assert known.find(asked(most + 19, whole=False)).startswith(f"{{ a{most + 19} }}")
    long = "#" * documents.MOST_BYTES_OF_ONE
    known.remember(Asked(query=long, extensions=persisted(sha256(long))))
    with pytest.raises(Exception, match="PersistedQueryNotFound"):
        known.find(Asked(extensions=persisted(sha256(long))))


async def test_keeping_documents_is_a_setting() -> None:
    send = open_graphql(GraphqlShop(Settings(graphql_persisted_queries=False)))
    asked = {"query": PRODUCTS, "extensions": persisted(sha256(PRODUCTS))}
    assert (await send("POST", "/graphql", asked)).json["data"] == LAMP
    del asked["query"]
    code = "PERSISTED_QUERY_NOT_SUPPORTED"
    refused(await send("POST", "/graphql", asked), 200, code, "PersistedQueryNotSupported")


def as_folder(path: Path) -> Path:
    (path / "shop").mkdir()
    (path / "shop" / "Products.graphql").write_text(PRODUCTS)
    (path / "Me.gql").write_text("{ me { id } }")
    (path / "README.md").write_text("{ orders { data { id } } }")
    return path


def as_object(path: Path) -> Path:
    file = path / "persisted-documents.json"
    file.write_text(json.dumps({"Products": PRODUCTS, "Me": "{ me { id } }"}))
    return file


def as_manifest(path: Path) -> Path:
    file = path / "manifest.json"
    bodies = {"Products": PRODUCTS, "Me": "{ me { id } }"}
    listed = [{"id": name, "name": name, "type": "query", "body": body} for name, body in bodies.items()]
    manifest = {"format": "apollo-persisted-query-manifest", "version": 1, "operations": listed}
    file.write_text(json.dumps(manifest))
    return file


@pytest.mark.parametrize("written", [as_folder, as_object, as_manifest])
async def test_where_documents_are_trusted_there_are_no_others(tmp_path: Path, written: Any) -> None:
    shop = GraphqlShop(Settings(graphql_documents=str(written(tmp_path))))
    send = open_graphql(shop)
    for asked in (
        {"query": PRODUCTS},
        {"documentId": "Products"},
        {"documentId": f"sha256:{sha256(PRODUCTS)}"},
        {"documentId": sha256(PRODUCTS)},
        {"extensions": persisted(sha256(PRODUCTS))},
        {"query": PRODUCTS, "extensions": persisted(sha256(PRODUCTS))},
    ):
        assert (await send("POST", "/graphql", asked)).json["data"] == LAMP
    assert (await send("GET", "/graphql?documentId=Products", headers=JSON)).json["data"] == LAMP
    shop.asked.clear()
    other = "{ orders { data { id } } }"
    refused(await send("POST", "/graphql", {"query": other}), 200, "QUERY_NOT_IN_SAFELIST")
    refused(await send("POST", "/graphql", {"query": other}, headers=GRAPHQL), 400, "QUERY_NOT_IN_SAFELIST")
    refused(await send("POST", "/graphql", {"query": PRODUCTS + " "}), 200, "QUERY_NOT_IN_SAFELIST")
    refused(
        await send("POST", "/graphql", {"query": "{ __schema { types { name } } }"}),
        200,
        "QUERY_NOT_IN_SAFELIST",
    )
    kept = {"query": other, "extensions": persisted(sha256(other))}
    refused(await send("POST", "/graphql", kept), 200, "QUERY_NOT_IN_SAFELIST")
    for asked in ({"documentId": "README"}, {"documentId": "x-a:b"}, {"extensions": kept["extensions"]}):
        refused(await send("POST", "/graphql", asked), 200, "PERSISTED_QUERY_NOT_IN_LIST")
    assert shop.asked == []
    page = await send("GET", "/graphql", headers={"Accept": "text/html"})
    assert page.headers["content-type"].startswith("application/json")


@pytest.mark.parametrize(
    "content, told",
    [
        (None, "cannot be read"),
        ("{", "is no JSON object of texts by id"),
        ("[]", "is no JSON object of texts by id"),
        ('{"a": 1}', "is no JSON object of texts by id"),
        ('{"format": "apollo-persisted-query-manifest"}', "is no JSON object of texts by id"),
        (
            '{"format": "apollo-persisted-query-manifest", "operations": [1]}',
            "is no JSON object of texts by id",
        ),
        ("{}", "holds no documents"),
    ],
)
def test_documents_that_cannot_be_used_stop_the_start(tmp_path: Path, content: str | None, told: str) -> None:
    file = tmp_path / "documents.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(WrongSetting, match=f"MERCATO_GRAPHQL_DOCUMENTS is .*documents.json', which {told}"):
        open_graphql(GraphqlShop(Settings(graphql_documents=str(file))))


def test_two_documents_of_one_name_stop_the_start(tmp_path: Path) -> None:
    for folder, text in (("a", "{ me { id } }"), ("b", PRODUCTS)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "Same.graphql").write_text(text)
    with pytest.raises(WrongSetting, match="has two documents named Same"):
        open_graphql(GraphqlShop(Settings(graphql_documents=str(tmp_path))))


@pytest.mark.parametrize(
    "setting, query",
    [
        ({"graphql_max_document": 1024}, PRODUCTS + "#" * 1024),
        ({"graphql_max_tokens": 8}, PRODUCTS),
        ({"graphql_max_depth": 2}, PRODUCTS),
        ({"graphql_max_aliases": 1}, "{ a: me { id } b: me { id } }"),
        ({"graphql_max_cost": 1}, "{ me { id } products { data { name } } }"),
        ({"graphql_introspection": False}, "{ __schema { types { name } } }"),
    ],
)
async def test_each_limit_is_a_setting(setting: dict[str, Any], query: str) -> None:
    good = await open_graphql(GraphqlShop())("POST", "/graphql", {"query": query})
    assert not good.json.get("errors")
    shop = GraphqlShop(Settings(**setting))
    bad = await open_graphql(shop)("POST", "/graphql", {"query": query})
    assert bad.json["errors"]
    assert "data" not in bad.json
    assert shop.asked == []


async def test_a_batchs_bound_and_a_bodys_are_settings() -> None:
    send = open_graphql(GraphqlShop(Settings(graphql_max_batch=2, graphql_max_body=1024)))
    batch = [{"query": PRODUCTS}] * 3
    assert (await send("POST", "/graphql", batch[:2])).status == 200
    assert (await send("POST", "/graphql", batch)).status == 400
    assert (await send("POST", "/graphql", {"query": PRODUCTS + "#" * 1024})).status == 413


async def over_a_socket(shop: GraphqlShop, asked: Asked) -> list[Told]:
    call = Call("request", DEFAULT_TENANT, FakeClock()(), "192.0.2.7")
    return [told async for told in operations(shop).run(asked, call)]


async def test_documents_are_found_for_operations_of_sockets_too(tmp_path: Path) -> None:
    shop = GraphqlShop(Settings(graphql_documents=str(as_folder(tmp_path))))
    (answer,) = await over_a_socket(shop, Asked(extensions=persisted(sha256(PRODUCTS))))
    assert answer.executed
    assert json.loads(answer.body)["data"] == LAMP
    (answer,) = await over_a_socket(shop, Asked(query="{ orders { data { id } } }"))
    assert not answer.executed
    (answer,) = await over_a_socket(shop, Asked(query="subscription { orderStatusChanged { id } }"))
    assert not answer.executed
    (answer,) = await over_a_socket(GraphqlShop(), Asked(query="subscription { orderStatusChanged { id } }"))
    assert json.loads(answer.body)["errors"][0]["extensions"]["code"] == "UNAUTHORIZED"
