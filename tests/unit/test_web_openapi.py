"""The OpenAPI document says what the declarations say."""

from datetime import datetime
from typing import Any

import msgspec
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from mercato.kernel.errors import Conflict
from mercato.kernel.ids import OrderId
from mercato.web.call import Call
from mercato.web.decode import Body
from mercato.web.endpoint import ADMINS, OPERATOR, PUBLIC, SIGNED_IN, Endpoint, NoBody, Routes
from mercato.web.envelope import Download, Upload
from mercato.web.openapi import Described, document
from tests.shop import ItemTaken, ItemView, NewItem, item_routes
from tests.unused_claims import UnusedClaims


class NewOrder(Body, frozen=True):
    """What to order."""

    name: str


class OrderView(msgspec.Struct, frozen=True):
    """An order."""

    id: OrderId
    name: str
    paid_at: datetime | None
    seen_at: list[datetime]
    version: int


def order_routes() -> Routes:
    """Endpoints that make something and go on with it."""
    routes = Routes("orders", prefix="/api/v1/orders", claims=UnusedClaims())

    @routes.post("", status=201, allow=SIGNED_IN, idempotent=True, example={"name": "Mugs"})
    async def place_order(call: Call, body: NewOrder) -> OrderView:
        """Place an order."""
        raise NotImplementedError

    @routes.get("", allow=SIGNED_IN)
    async def orders(call: Call) -> list[OrderView]:
        """List orders."""
        raise NotImplementedError

    @routes.get("/{order_id}", allow=SIGNED_IN)
    async def order(call: Call, order_id: str) -> OrderView:
        """Show an order."""
        raise NotImplementedError

    @routes.put("/{order_id}", allow=OPERATOR, versioned=True)
    async def change(call: Call, order_id: str, body: NewOrder) -> OrderView:
        """Change an order."""
        raise NotImplementedError

    payments = Routes("payments", prefix="/api/v1/payments")

    @payments.post("", allow=SIGNED_IN, example={"order_id": "", "notes": [{"order_id": ""}]})
    async def pay(call: Call, body: NewOrder) -> None:
        """Pay."""

    @payments.post(
        "/import", allow=ADMINS, accepts=("text/csv", "application/x-ndjson"), example={"sku": "A"}
    )
    async def take_in(call: Call, body: Upload) -> None:
        """Take payments in."""

    @payments.get("/export", allow=ADMINS, produces=("text/csv",))
    async def give_out(call: Call) -> Download:
        """Give payments out."""
        raise NotImplementedError

    routes.endpoints += payments.endpoints
    return routes


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
    return msgspec.json.decode(document(endpoints(), Described("Shop", "1.2.3", {"items": "Things."})))


@pytest.fixture(scope="module")
def trade() -> Any:
    return msgspec.json.decode(document(order_routes().endpoints, Described("Trade", "1")))


def codes_of(spec: Any, response: Any) -> list[str]:
    described = spec["components"]["responses"][response["$ref"].rpartition("/")[2]]
    return list(described["content"]["application/json"]["examples"])


def names(operation: Any, where: str) -> set[str]:
    return {each["name"] for each in operation["parameters"] if each["in"] == where}


def test_the_document_is_valid_openapi(spec: Any) -> None:
    OpenAPIV31SpecValidator(spec).validate()
    assert (spec["info"]["title"], spec["info"]["version"]) == ("Shop", "1.2.3")
    assert spec["tags"] == [
        {"name": "items", "description": "Things."},
        {"name": "orders", "description": "Orders."},
    ]
    assert "/hidden" not in spec["paths"]


def test_an_operation_is_described_by_its_handler(spec: Any) -> None:
    place = spec["paths"]["/orders"]["post"]
    assert place["operationId"] == "orders_place"
    assert place["summary"] == "Place an order"
    assert place["description"] == "Stock is held at once.\n\nFor everybody who is signed in."
    assert place["tags"] == ["orders"]
    assert place["requestBody"]["required"] is True
    assert place["security"] == [{"bearer": []}, {"machine": ["orders:write"]}]
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
    def codes(path: str, method: str) -> dict[str, list[str]]:
        responses = spec["paths"][path][method]["responses"]
        return {status: codes_of(spec, each) for status, each in responses.items() if status >= "400"}

    # A store may be suspended, and every client's address may be limited.
    always = {"400", "401", "403", "404", "429", "431", "500", "503"}
    assert set(codes("/items", "get")) == always
    assert set(codes("/items", "post")) == always | {"409", "413", "415"}
    placing = codes("/orders", "post")
    assert set(placing) == always | {"409", "413", "415", "422"}
    assert placing["409"] == ["ITEM_TAKEN", "CONFLICT", "IDEMPOTENCY_KEY_IN_USE"]


def test_two_operations_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="items_list: GET /items"):
        document([*item_routes().endpoints, *item_routes().endpoints], Described("Shop", "1"))


def test_operations_are_named_by_resource_and_what_is_done(trade: Any) -> None:
    OpenAPIV31SpecValidator(trade).validate()
    names = [operation["operationId"] for path in trade["paths"].values() for operation in path.values()]
    assert names == [
        "orders_place",
        "orders_list",
        "orders_get",
        "orders_change",
        "payments_pay",
        "payments_take_in",
        "payments_give_out",
    ]


def test_what_is_made_leads_to_what_can_be_done_with_it(trade: Any) -> None:
    links = trade["paths"]["/api/v1/orders"]["post"]["responses"]["201"]["links"]
    made = "$response.body#/data/id"
    assert links == {
        "orders_get": {"operationId": "orders_get", "parameters": {"order_id": made}},
        "orders_change": {"operationId": "orders_change", "parameters": {"order_id": made}},
        "payments_pay": {
            "operationId": "payments_pay",
            "requestBody": {"order_id": made, "notes": [{"order_id": made}]},
        },
    }
    assert "links" not in trade["paths"]["/api/v1/payments"]["post"]["responses"]["204"]


def test_versions_are_offered_where_they_are_heeded(trade: Any) -> None:
    read, write = (trade["paths"]["/api/v1/orders/{order_id}"][method] for method in ("get", "put"))
    assert "If-None-Match" in names(read, "header")
    assert {"200", "304"} < set(read["responses"])
    assert "ETag" in read["responses"]["200"]["headers"]
    assert "If-Match" in names(write, "header")
    assert codes_of(trade, write["responses"]["412"]) == ["VERSION_MISMATCH"]
    listing = trade["paths"]["/api/v1/orders"]["get"]
    assert "304" not in listing["responses"]


def test_times_and_ids_say_their_format(trade: Any) -> None:
    fields = trade["components"]["schemas"]["OrderView"]["properties"]
    assert fields["id"]["format"] == "uuid"
    assert {"type": "string", "format": "date-time"} in fields["paid_at"]["anyOf"]
    assert fields["seen_at"]["items"]["format"] == "date-time"
    assert "format" not in fields["name"]


def test_files_go_in_and_out_with_their_own_types(trade: Any) -> None:
    uploaded = trade["paths"]["/api/v1/payments/import"]["post"]["requestBody"]["content"]
    assert uploaded["text/csv"]["example"] == "sku\nA\n"
    assert uploaded["application/x-ndjson"]["example"] == '{"sku":"A"}\n'
    export = trade["paths"]["/api/v1/payments/export"]["get"]["responses"]["200"]
    assert list(export["content"]) == ["text/csv"]


def test_a_refusal_is_shown_as_it_comes(trade: Any) -> None:
    found = trade["components"]["responses"]["400.BAD_REQUEST.VALIDATION_ERROR"]
    example = found["content"]["application/json"]["examples"]["VALIDATION_ERROR"]["value"]
    assert example["success"] is False
    assert example["error"]["details"][0].keys() == {"field", "message"}
    assert "Retry-After" in trade["components"]["responses"]["429.RATE_LIMIT_EXCEEDED"]["headers"]
