"""A client of GraphQL on a running platform."""

from typing import Any

from tests.running import Shopper

REGISTER = """mutation { register(input: {email: "user@example.com", password: "password123",
  firstName: "John", lastName: "Doe"}) { token user { id email fullName } } }"""
CREATE_ORDER = """mutation { createOrder(input: {shippingAddress: "123 Main St", notes: "careful",
  items: [{productId: "%s", productName: "Laptop", quantity: 1, unitPrice: 999.99}]})
  { id status totalAmount items { productName quantity unitPrice } } }"""
ORDERS = """query { orders(limit: 10) { data { id status totalAmount user { id email fullName }
  payment { id status amount } } pageInfo { total hasMore } } }"""
ME = """query { me { id email firstName lastName orders { id status totalAmount
  items { productName quantity } } } }"""


class Asked:
    """An answer: its data, and its errors by path."""

    def __init__(self, told: dict[str, Any]) -> None:
        self.told = told
        self.data: Any = told.get("data")
        self.errors = {".".join(map(str, each.get("path", []))): each for each in told.get("errors", [])}

    @property
    def codes(self) -> dict[str, str]:
        return {path: error["extensions"]["code"] for path, error in self.errors.items()}


async def ask(shop: Shopper, query: str, token: str | None = None, **variables: Any) -> Asked:
    """Ask, and expect an answer that is one of GraphQL."""
    answer = await shop.post("/graphql", {"query": query, "variables": variables}, token=token)
    assert answer.status == 200, answer.body
    return Asked(answer.json)


async def told(shop: Shopper, query: str, token: str | None = None, **variables: Any) -> Any:
    """Ask, and expect data without errors."""
    answer = await ask(shop, query, token, **variables)
    assert not answer.errors, answer.told
    return answer.data
