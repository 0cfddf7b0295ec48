"""Paths find their endpoints."""

import pytest

from mercato.kernel.errors import NotFound
from mercato.web.call import Call
from mercato.web.endpoint import PUBLIC, Routes
from mercato.web.errors import MethodNotAllowed
from mercato.web.router import Router


async def here(call: Call) -> None:
    """Answer nothing."""


async def one(call: Call, item_id: str) -> None:
    """Answer nothing."""


async def nested(call: Call, item_id: str, part_id: str) -> None:
    """Answer nothing."""


def router() -> Router:
    routes = Routes("items", prefix="/items")
    routes.get("", allow=PUBLIC)(here)
    routes.post("", allow=PUBLIC)(here)
    routes.get("/mine", allow=PUBLIC)(here)
    routes.get("/{item_id}", allow=PUBLIC)(one)
    routes.delete("/{item_id}", allow=PUBLIC)(one)
    routes.get("/{item_id}/parts/{part_id}", allow=PUBLIC)(nested)
    return Router(routes.endpoints)


@pytest.mark.parametrize(
    "method, path, route, params",
    [
        ("GET", "/items", "GET /items", []),
        ("HEAD", "/items", "GET /items", []),
        ("POST", "/items", "POST /items", []),
        ("GET", "/items/mine", "GET /items/mine", []),
        ("GET", "/items/7", "GET /items/{item_id}", ["7"]),
        ("DELETE", "/items/7", "DELETE /items/{item_id}", ["7"]),
        ("GET", "/items/7/parts/ü", "GET /items/{item_id}/parts/{part_id}", ["7", "ü"]),
        # The path is decoded before it comes here: decoding twice would make another of it.
        ("GET", "/items/%2F", "GET /items/{item_id}", ["%2F"]),
    ],
)
def test_a_path_finds_its_endpoint(method: str, path: str, route: str, params: list[str]) -> None:
    endpoint, values = router().find(method, path)
    assert (endpoint.route, list(values)) == (route, params)


@pytest.mark.parametrize(
    "path", ["", "/", "items", "/items/", "//items", "/items//parts/1", "/items/7/parts", "/items/7/parts/1/"]
)
def test_an_unknown_path_is_not_found(path: str) -> None:
    with pytest.raises(NotFound):
        router().find("GET", path)
    with pytest.raises(NotFound):
        router().allowed(path)


def test_another_method_is_told_which_there_are() -> None:
    with pytest.raises(MethodNotAllowed) as refused:
        router().find("PUT", "/items/7")
    assert refused.value.allowed == "DELETE, GET, HEAD, OPTIONS"
    with pytest.raises(MethodNotAllowed) as refused:
        router().find("BREW", "/items")
    assert refused.value.allowed == "GET, HEAD, OPTIONS, POST"


def test_two_endpoints_on_one_method_and_path_do_not_start() -> None:
    routes = Routes("items")
    routes.get("/a/{item_id}", allow=PUBLIC)(one)
    routes.get("/a/{item_id}", allow=PUBLIC)(one)
    with pytest.raises(ValueError, match="declared twice"):
        Router(routes.endpoints)


def test_a_handler_that_does_not_fit_its_path_does_not_start() -> None:
    routes = Routes("items")
    with pytest.raises(TypeError, match="takes"):
        routes.get("/a/{other_id}", allow=PUBLIC)(one)
    with pytest.raises(TypeError, match="no claims"):
        routes.post("/a", allow=PUBLIC, idempotent=True)
