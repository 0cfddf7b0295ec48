"""The OpenAPI document says what the declarations say."""

from typing import Any

import msgspec
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from mercato.kernel.errors import Conflict
from mercato.web.call import Call
from mercato.web.endpoint import PUBLIC, SIGNED_IN, Endpoint, NoBody, Routes
from mercato.web.openapi import document
from tests.shop import ItemTaken, ItemView, NewItem, item_routes
from tests.unused_claims import UnusedClaims


def endpoints() -> list[Endpoint]:
    routes = Routes("orders", claims=UnusedClaims())

    @routes.post("/orders", status=201, allow=SIGNED_IN, idempotent=True, raises=(ItemTaken, Conflict))
    async def place(call: Call, body: NewItem) -> ItemView:
        """Place an order.

        Stock is held at once.
        """
        raise NotImplementedError

    @routes.post("/orders/{order_id}/parts/{part_id}/cancel", allow=SIGNED_IN)
    async def cancel(call: Call, order_id: str, part_id: str, body: NoBody) -> None:
        """Cancel a part."""

    @routes.get("/hidden", allow=PUBLIC, in_contract=False)
    async def hidden(call: Call) -> None:
        """Stay out of the document."""

    return [*item_routes().endpoints, *routes.endpoints]


@pytest.fixture(scope="module")
def spec() -> Any:
    return msgspec.json.decode(document(endpoints(), title="Shop", version="1.2.3"))


def names(operation: Any, where: str) -> set[str]:
    return {each["name"] for each in operation["parameters"] if each["in"] == where}


def test_the_document_is_valid_openapi(spec: Any) -> None:
    OpenAPIV31SpecValidator(spec).validate()
    assert spec["info"] == {"title": "Shop", "version": "1.2.3"}
    assert [tag["name"] for tag in spec["tags"]] == ["items", "orders"]
    assert "/hidden" not in spec["paths"]


def test_an_operation_is_described_by_its_handler(spec: Any) -> None:
    place = spec["paths"]["/orders"]["post"]
    assert place["operationId"] == "orders_place"
    assert place["summary"] == "Place an order"
    assert place["description"] == "Stock is held at once."
    assert place["tags"] == ["orders"]
    assert place["requestBody"]["required"] is True
    assert place["security"] == [{"bearer": []}]
    assert spec["paths"]["/items"]["get"]["security"] == [{}, {"bearer": []}]


def test_parameters_come_from_path_query_and_promises(spec: Any) -> None:
    cancel = spec["paths"]["/orders/{order_id}/parts/{part_id}/cancel"]["post"]
    assert names(cancel, "path") == {"order_id", "part_id"}
    assert cancel["requestBody"]["required"] is False
    listing = spec["paths"]["/items"]["get"]
    assert names(listing, "query") == {"page", "page_size", "limit", "offset", "after", "count"}
    size = next(each for each in listing["parameters"] if each["name"] == "page_size")
    assert size["schema"] == {"type": "integer", "minimum": 1, "maximum": 100}
    assert "X-Tenant-Id" in names(listing, "header")
    assert names(spec["paths"]["/orders"]["post"], "header") == {"Idempotency-Key", "X-Tenant-Id"}


def test_amounts_are_numbers_both_ways(spec: Any) -> None:
    schemas = spec["components"]["schemas"]
    assert schemas["NewItem"]["properties"]["price"]["type"] == "number"
    assert schemas["NewItem"]["additionalProperties"] is False
    assert schemas["ItemView"]["properties"]["price"]["type"] == "number"
    assert "ListQuery" not in schemas
    assert "NoQuery" not in schemas


def test_answers_are_enveloped(spec: Any) -> None:
    def success(path: str, method: str, status: str) -> Any:
        return spec["paths"][path][method]["responses"][status]["content"]["application/json"]["schema"]

    view = {"$ref": "#/components/schemas/ItemView"}
    assert success("/orders", "post", "201")["properties"]["data"] == view
    # Headers and encodings are the handler's business, not the client's.
    assert success("/items/{item_id}", "get", "200")["properties"]["data"] == view
    assert success("/items/{item_id}/cached", "get", "200")["properties"]["data"] == view
    listing = success("/items", "get", "200")
    assert listing["properties"]["data"] == {"type": "array", "items": view}
    assert listing["required"] == ["success", "data", "meta"]
    assert "content" not in spec["paths"]["/items/{item_id}"]["delete"]["responses"]["204"]


def test_refusals_are_those_that_can_occur(spec: Any) -> None:
    def codes(path: str, method: str) -> dict[str, str]:
        responses = spec["paths"][path][method]["responses"]
        return {status: each["description"] for status, each in responses.items() if status >= "400"}

    always = {"400", "401", "404", "431", "500", "503"}
    assert set(codes("/items", "get")) == always
    assert set(codes("/items", "post")) == always | {"403", "409", "413", "415"}
    placing = codes("/orders", "post")
    assert set(placing) == always | {"409", "413", "415", "422"}
    assert placing["409"] == "ITEM_TAKEN, CONFLICT, IDEMPOTENCY_KEY_IN_USE."


def test_two_operations_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="items_list_items"):
        document([*item_routes().endpoints, *item_routes().endpoints], title="Shop", version="1")
