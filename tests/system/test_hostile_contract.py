"""Real answers, success and refusal, are those that the OpenAPI document tells of."""

from typing import Any

from openapi_schema_validator import OAS31Validator

from tests.running import Answer, Platform, Shopper, add_product, open_store, order_of


def assert_told(document: Any, method: str, template: str, answer: Answer) -> None:
    """Assert that the document tells of such an answer."""
    responses = document["paths"][template][method.lower()]["responses"]
    assert str(answer.status) in responses, (method, template, answer.status)
    told = responses[str(answer.status)]
    if "$ref" in told:
        told = document["components"]["responses"][told["$ref"].rpartition("/")[2]]
    content = told["content"]["application/json"]
    schema = {**content["schema"], "components": document["components"]}
    wrong = [each.message for each in OAS31Validator(schema).iter_errors(answer.json)]
    assert not wrong, (method, template, answer.status, wrong)
    if answer.status >= 400:
        code = answer.json["error"]["code"]
        assert code in told["description"], (method, template, code)


async def test_answers_are_as_the_document_tells(platform: Platform) -> None:
    store = await open_store(platform, "contract")
    async with platform.client(store.customer, store.id) as shop:
        product = await add_product(shop, store, "LAMP", stock=5)
        document = (await shop.get("/openapi.json")).json
        ids = {"tenant_id": store.id, "product_id": product, **await things(shop, document, product)}
        for template, methods in document["paths"].items():
            if "get" not in methods:
                continue
            for path in (template.format_map(Nothing(ids)), template.format_map(Nothing())):
                assert_told(document, "GET", template, await shop.get(path))
            assert_told(document, "GET", template, await shop.get(f"{template}?nothing=1"))
            for method in set(methods) - {"get"}:
                answer = await shop.call(method.upper(), template.format_map(Nothing()), {"nothing": 1})
                assert_told(document, method, template, answer)


class Nothing(dict[str, str]):
    """Names nothing, whatever is asked for."""

    def __missing__(self, key: str) -> str:
        return "nothing"


async def things(shop: Shopper, document: Any, product: str) -> dict[str, str]:
    """Order and pay with an answer that gets lost; return the ids."""
    orders, payments = "/api/v1/orders", "/api/v1/payments"
    placed = await shop.post(orders, order_of(product))
    assert_told(document, "POST", orders, placed)
    assert_told(document, "POST", orders, await shop.post(orders, order_of(product, 500)))
    paying = {"order_id": placed.data["id"], "method": "card", "token": "tok_lost"}
    opened = await shop.post(payments, paying)
    assert_told(document, "POST", payments, opened)
    assert_told(document, "POST", payments, await shop.post(payments, paying))
    payment = opened.data["id"]
    unknown = await shop.post(f"{payments}/{payment}/process")
    assert unknown.status == 202
    assert_told(document, "POST", f"{payments}/{{payment_id}}/process", unknown)
    return {"order_id": placed.data["id"], "payment_id": payment, "user_id": placed.data["user_id"]}
