"""The demo on a platform that others use meanwhile: what it is there to show."""

from pathlib import Path

from mercato.contracts.orders import OrderPaymentStatus, OrderStatus
from tests.commands import Server, mercato
from tests.demo_picture import STORES, picture
from tests.running import Platform


def test_every_state_of_orders_and_payments_can_be_seen(platform: Platform, tmp_path: Path) -> None:
    assert mercato("demo", "--url", platform.url, folder=tmp_path).code == 0
    made = picture(Server(platform.url, platform.port, platform.folder / "log.txt"))
    for store, plan in STORES.items():
        found = made[store]
        assert len(found["products"]) == len(plan.products)
        orders = found["orders"].values()
        assert {each["status"] for each in orders} == {status.value for status in OrderStatus}
        assert {each["payment_status"] for each in orders} == {status.value for status in OrderPaymentStatus}
        paid_late = [[each["status"] for each in order["payments"]] for order in orders]
        assert ["failed", "success"] in paid_late
        methods = {(each["method"], each["status"]) for order in orders for each in order["payments"]}
        assert {("cash", "success"), ("bank_transfer", "pending"), ("card", "refunded")} <= methods
        assert sum(user["role"] == "admin" for user in found["users"].values()) == 2
        assert [each["name"] for each in found["machines"]] == ["Warehouse"]
        for wanted in plan.orders:
            order = found["orders"][wanted.name]
            assert order["status"] == wanted.fate.status
            assert len(order["payments"]) == len(wanted.fate.attempts)
