"""Answers that something on the way may keep: they are nobody else's."""

from pathlib import Path

import pytest

from mercato.kernel.clock import utc_now
from mercato.runtime.app import contract_of
from mercato.runtime.embedded import Embedded
from mercato.runtime.settings import Settings
from tests.running import Answer, Platform, Shopper, add_product, open_store, order_of

USERS, PAYMENTS = "/api/v1/users", "/api/v1/payments"


class SharedCache:
    """A cache between clients and the platform, that goes by the letter of RFC 9111 and no further."""

    def __init__(self, shop: Shopper) -> None:
        self._shop = shop
        self._kept: dict[tuple[str, ...], Answer] = {}

    async def get(self, path: str, sent: dict[str, str]) -> Answer:
        """Answer from what is kept, if the platform says that it holds; else from the platform."""
        key = (path, sent.get("Authorization", ""), sent.get("X-Tenant-Id", ""))
        kept = self._kept.get(key)
        asked = sent | ({"If-None-Match": kept.headers["etag"]} if kept and "etag" in kept.headers else {})
        answer = await self._shop.get(path, headers=asked)
        if answer.status == 304:
            assert kept is not None
            return kept
        assert {"authorization", "x-tenant-id"} <= set(answer.headers["vary"].lower().split(", ")), path
        control = answer.headers["cache-control"]
        assert "no-cache" in control or "no-store" in control, (path, control)
        if "Authorization" in sent and answer.status != 401:
            assert "private" in control or "no-store" in control, (path, control)
        self._kept[key] = answer
        return answer


@pytest.fixture(scope="module")
def readable(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The paths of everything that can be read."""
    folder: Path = tmp_path_factory.mktemp("declared")
    declared = contract_of(Embedded(Settings(data=str(folder))).process, utc_now)
    return [each.path for each in declared if each.method == "GET" and each.in_contract]


async def test_what_was_answered_to_one_is_answered_to_nobody_else(
    platform: Platform, readable: list[str]
) -> None:
    store, other = await open_store(platform, "cached"), await open_store(platform, "cached-other")
    async with platform.client() as shop:
        product = await add_product(shop, store, "LAMP", stock=5)
        order = (await shop.post("/api/v1/orders", order_of(product), token=store.customer)).data
        paying = {"order_id": order["id"], "method": "card"}
        payment = (await shop.post(PAYMENTS, paying, token=store.customer)).data
        ids = {
            "product_id": product,
            "order_id": order["id"],
            "payment_id": payment["id"],
            "user_id": order["user_id"],
            "username": order["user_id"],
        }
        cache = SharedCache(shop)
        secrets = [each.encode() for each in (*ids.values(), f"@{store.id}.example")]
        others = {"tenant_id": store.id, "api_client_id": product, "event_id": product}
        for template in readable:
            path = template
            for name, value in (ids | others).items():
                path = path.replace(f"{{{name}}}", value)
            for _ in range(2):
                for token in (store.admin, store.customer):
                    await cache.get(path, {"Authorization": f"Bearer {token}"})
                    await cache.get(path, {"X-Tenant-Id": store.id})
            for sent in (
                {"Authorization": f"Bearer {other.customer}"},
                {"Authorization": f"Bearer {other.admin}", "X-Tenant-Id": store.id},
                {"X-Tenant-Id": other.id},
                {},
            ):
                answer = await cache.get(path, sent)
                assert not any(each in answer.body for each in secrets), (path, sent)


async def test_whoever_signs_in_on_the_same_device_is_not_shown_the_one_before(platform: Platform) -> None:
    """A client that keeps answers by path alone asks with the tag of the user before."""
    store, other = await open_store(platform, "devices"), await open_store(platform, "devices-other")
    async with platform.client() as shop:
        first = await shop.get(f"{USERS}/me", token=store.customer)
        for token in (store.admin, other.customer):
            seen = await shop.get(
                f"{USERS}/me", token=token, headers={"If-None-Match": first.headers["etag"]}
            )
            assert seen.status == 200
            assert seen.data["id"] != first.data["id"]
        again = await shop.get(
            f"{USERS}/me", token=store.customer, headers={"If-None-Match": first.headers["etag"]}
        )
        assert (again.status, again.body) == (304, b"")
        # The tag is as good for a write as that of the user's own path.
        path = f"{USERS}/{first.data['id']}"
        sent = {"If-Match": first.headers["etag"]}
        changed = await shop.call("PUT", path, {"first_name": "Cleo"}, token=store.customer, headers=sent)
        assert changed.status == 200
        changed = await shop.call("PUT", path, {"first_name": "Clio"}, token=store.customer, headers=sent)
        assert changed.status == 412


async def test_an_orders_next_payment_is_not_taken_for_the_one_before(platform: Platform) -> None:
    store = await open_store(platform, "repaid")
    async with platform.client(store.customer) as shop:
        product = await add_product(shop, store, "LAMP", stock=5)
        order = (await shop.post("/api/v1/orders", order_of(product))).data["id"]
        paying = {"order_id": order, "method": "card"}
        first = (await shop.post(PAYMENTS, paying)).data
        shown = await shop.get(f"{PAYMENTS}/order/{order}")
        assert shown.data["id"] == first["id"]
        assert (await shop.post(f"{PAYMENTS}/{first['id']}/cancel", {})).status == 200
        second = (await shop.post(PAYMENTS, paying)).data
        assert second["version"] == first["version"]
        latest = await shop.get(f"{PAYMENTS}/order/{order}", headers={"If-None-Match": shown.headers["etag"]})
        assert (latest.status, latest.data["id"]) == (200, second["id"])
