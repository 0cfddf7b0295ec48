"""Who did what in a store: told once for each change, to that store alone, and without what was said."""

import asyncio
from typing import Any

import msgspec
import pytest

from mercato.kernel.clock import utc_now
from mercato.kernel.ids import uuid7
from mercato.runtime.app import contract_of
from mercato.runtime.embedded import Embedded
from mercato.runtime.settings import Settings
from tests.buried import bury
from tests.rows import kept, number
from tests.running import Answer, Platform, Shopper, Store, add_product, open_store, order_of
from tests.system.test_accounts import link, token_in
from tests.system.test_dead_letters import operator_of

LOG = "/api/v1/audit-log"
CANARY = "canary-5d1e0b"


async def told(shop: Shopper, token: str, query: str = "", *, least: int = 0, **options: Any) -> list[Any]:
    """Return entries, oldest first, once there are as many."""
    for _ in range(500):
        answer = await shop.get(f"{LOG}?limit=100{query}", token=token, **options)
        if len(answer.data) >= least:
            return list(answer.data[::-1])
        await asyncio.sleep(0.02)
    raise AssertionError(answer.data)


def acts(entries: list[Any]) -> list[tuple[str, str, str]]:
    return [(each["action"], each["object_kind"], each["object_id"]) for each in entries]


async def user_id(shop: Shopper, token: str) -> str:
    return str((await shop.get("/api/v1/users/me", token=token)).data["id"])


async def do_a_bit_of_everything(shop: Shopper, store: Store) -> list[tuple[str, str, str]]:
    """Do what an admin does in a day; return each act as it is to be told."""
    headers = {"X-Request-Id": "the-request"}
    product = {"sku": "LAMP", "name": "Lamp", "price": 9, "stock": 5}
    lamp = (await shop.post("/api/v1/products", product, headers=headers)).data["id"]
    await shop.call("PATCH", f"/api/v1/products/{lamp}", {"price": 8, "name": "A lamp"})
    await shop.post(f"/api/v1/products/{lamp}/inventory/adjust", {"delta": 1, "reason": "found"})
    order = (await shop.post("/api/v1/orders", order_of(lamp), token=store.customer)).data["id"]
    wanted = {"order_id": order, "method": "cash"}
    payment = (await shop.post("/api/v1/payments", wanted, token=store.customer)).data["id"]
    await shop.post(f"/api/v1/payments/{payment}/process", {})
    await shop.post(f"/api/v1/payments/{payment}/refund", {"amount": 1, "reason": "chipped"})
    await shop.until(f"/api/v1/orders/{order}", "payment_status", "partially_refunded")
    await shop.call("PATCH", f"/api/v1/orders/{order}/status", {"status": "processing"})
    user = {"email": "new@e.example", "password": f"{CANARY}-password", "first_name": "N", "last_name": "E"}
    made = (await shop.post("/api/v1/users", user)).data["id"]
    await shop.call("PUT", f"/api/v1/users/{made}", {"last_name": CANARY})
    till = (await shop.post("/api/v1/api-clients", {"name": CANARY, "scopes": ["orders:read"]})).data["id"]
    for path in (f"api-clients/{till}", f"users/{made}", f"products/{lamp}"):
        await shop.call("DELETE", f"/api/v1/{path}")
    return [
        ("products_create", "product", lamp),
        ("products_edit", "product", lamp),
        ("products_adjust_inventory", "product", lamp),
        ("payments_process", "payment", payment),
        ("payments_refund", "payment", payment),
        ("orders_change_status", "order", order),
        ("users_create", "user", made),
        ("users_change", "user", made),
        ("api_clients_create", "api_client", till),
        ("api_clients_delete", "api_client", till),
        ("users_delete", "user", made),
        ("products_delete", "product", lamp),
    ]


async def test_what_staff_does_is_told_with_who_what_and_from_where(platform: Platform) -> None:
    store = await open_store(platform, "audit-staff")
    async with platform.client(store.admin) as shop:
        admin = await user_id(shop, store.admin)
        done = await do_a_bit_of_everything(shop, store)

        entries = await told(shop, store.admin, least=len(done))

    assert sorted(acts(entries)) == sorted(done)
    edit = next(each for each in entries if each["action"] == "products_edit")
    assert edit | {"id": "", "created_at": ""} == {
        "id": "",
        "tenant_id": "audit-staff",
        "created_at": "",
        "actor": admin,
        "actor_role": "admin",
        "action": "products_edit",
        "object_kind": "product",
        "object_id": edit["object_id"],
        "fields": ["name", "price"],
        "address": "127.0.0.1",
        "request_id": edit["request_id"],
    }
    assert entries[0]["request_id"] == "the-request"
    assert CANARY.encode() not in msgspec.json.encode(entries)


async def test_of_customers_only_what_concerns_their_accounts_is_told(platform: Platform) -> None:
    store = await open_store(platform, "audit-customers")
    async with platform.client(store.customer) as shop:
        me = await user_id(shop, store.customer)
        lamp = await add_product(shop, store, "LAMP", stock=5)
        order = (await shop.post("/api/v1/orders", order_of(lamp))).data["id"]
        payment = (await shop.post("/api/v1/payments", {"order_id": order, "method": "card"})).data["id"]
        await shop.post(f"/api/v1/payments/{payment}/process", {})
        other = (await shop.post("/api/v1/orders", order_of(lamp))).data["id"]
        await shop.post(f"/api/v1/orders/{other}/cancel", {})
        changed = await shop.call("PUT", f"/api/v1/users/{me}", {"email": "carla@audit.example"})
        assert changed.status == 200
        new = {"current_password": "customer-password", "new_password": f"{CANARY}-new"}
        token = (await shop.post("/api/v1/users/me/password", new)).data["token"]
        assert (await shop.call("DELETE", f"/api/v1/users/{me}", token=token)).status == 204

        entries = await told(shop, store.admin, least=4)

    assert acts(entries) == [
        ("products_create", "product", lamp),
        ("users_change", "user", me),
        ("users_change_password", "user", me),
        ("users_delete", "user", me),
    ]
    assert [each["actor_role"] for each in entries[1:]] == ["customer"] * 3
    assert entries[1]["fields"] == ["email"]
    assert CANARY.encode() not in msgspec.json.encode(entries)


async def test_sign_ins_of_staff_are_told_and_those_of_customers_are_not(platform: Platform) -> None:
    store = await open_store(platform, "audit-sign-ins")
    async with platform.client(store=store.id) as shop:
        for who in ("admin", "customer"):
            login = {"email": f"{who}@audit-sign-ins.example", "password": f"{who}-password"}
            assert (await shop.post("/api/v1/users/login", login | {"password": "wrong"})).status == 401
            signed_in = await shop.post("/api/v1/users/login", login, token=store.admin)
            used = {"refresh_token": signed_in.data["refresh_token"]}
            assert (await shop.post("/api/v1/users/token/refresh", used, token=store.admin)).status == 200
            assert (await shop.post("/api/v1/users/logout", used, token=store.admin)).status == 204
        admin = await user_id(shop, store.admin)

        entries = await told(shop, store.admin, least=1)

    assert acts(entries) == [("users_login", "user", admin)]
    assert (entries[0]["actor"], entries[0]["actor_role"]) == (admin, "admin")


async def test_what_changed_nothing_is_not_told(platform: Platform) -> None:
    store = await open_store(platform, "audit-nothing")
    async with platform.client(store.admin) as shop:
        lamp = await add_product(shop, store, "LAMP", stock=5)
        path = f"/api/v1/products/{lamp}"
        for method, where, body, status, options in (
            ("POST", "/api/v1/products", {"sku": "LAMP", "name": "Again", "price": 1}, 409, {}),
            ("POST", "/api/v1/products", {"sku": "X"}, 400, {}),
            ("PATCH", path, {"price": 9}, 412, {"headers": {"If-Match": '"99"'}}),
            ("PATCH", f"/api/v1/products/{uuid7()}", {"price": 9}, 404, {}),
            ("PATCH", path, {"price": 10.0}, 200, {}),  # as it is
            ("POST", f"{path}/inventory/adjust", {"delta": -9, "reason": "lost"}, 409, {}),
            ("PATCH", path, {"price": 9}, 403, {"token": store.customer}),
        ):
            answer: Answer = await shop.call(method, where, body, **options)
            assert answer.status == status, (method, where, answer.body)
        for _ in range(3):
            assert (
                await shop.post("/api/v1/products", {"sku": "MUG", "name": "M", "price": 1}, key="k")
            ).status == 201
        last = (await shop.call("PATCH", path, {"price": 11})).status
        assert last == 200

        entries = await told(shop, store.admin, least=3)

    assert [each["action"] for each in entries] == ["products_create", "products_create", "products_edit"]


async def test_an_import_is_told_once_however_long_it_is_and_often_it_is_repeated(platform: Platform) -> None:
    store = await open_store(platform, "audit-imports")
    lines = "".join(f'{{"sku": "S-{n}", "name": "Thing {n}", "price": 1}}\n' for n in range(450)).encode()
    async with platform.client(store.admin) as shop:
        for _ in range(2):
            sent = await shop.send(
                "POST",
                "/api/v1/products/import",
                "application/x-ndjson",
                lines,
                headers={"Idempotency-Key": "import"},
            )
            assert sent.data["created"] == 450
        assert (await shop.call("PATCH", "/api/v1/products/S-1", {"price": 2})).status == 404
        await add_product(shop, store, "LAST", stock=1)

        entries = await told(shop, store.admin, least=2)

    assert [each["action"] for each in entries] == ["products_import", "products_create"]
    assert entries[0]["object_kind"] == "import"


async def test_an_operators_acts_are_told_to_the_store_and_nobody_elses_are(platform: Platform) -> None:
    store, other = [await open_store(platform, f"audit-{name}") for name in ("here", "there")]
    operator = await operator_of(platform, "audit-op")
    async with platform.client() as shop:
        here = {"X-Tenant-Id": store.id}
        product = {"sku": "LAMP", "name": "Lamp", "price": 9}
        lamp = (await shop.post("/api/v1/products", product, token=operator, headers=here)).data["id"]
        path = f"/api/v1/tenants/{store.id}"
        assert (await shop.call("PATCH", path, {"tier": "premium"}, token=operator)).status == 200
        own = await user_id(shop, operator)
        changed = await shop.call(
            "PUT", f"/api/v1/users/{own}", {"first_name": "Olaf"}, token=operator, headers=here
        )
        assert changed.status == 200
        await add_product(shop, other, "MUG", stock=1)

        entries = await told(shop, store.admin, least=2)
        theirs = await told(shop, other.admin, least=1)

        assert acts(entries) == [("products_create", "product", lamp), ("tenants_change", "tenant", store.id)]
        for each in entries:
            assert (each["actor"], each["actor_role"]) == (own, "operator")
            assert "audit-op@ops.example" not in str(each)
        assert [each["action"] for each in theirs] == ["products_create"]
        assert await told(shop, operator, headers=here) == entries
        for query in (f"&object_id={lamp}", f"&actor={own}", "&tenant_id=audit-here"):
            answer = await shop.get(f"{LOG}?limit=9{query}", token=other.admin, headers=here)
            assert answer.status == 400 or answer.data == [], query
        assert (await shop.get(LOG, token=store.customer)).status == 403
        assert (await shop.get(LOG)).status == 401
        home = await told(shop, operator, f"&object_id={own}", least=3)
        assert {each["action"] for each in home} == {"tenants_create_operator", "users_login", "users_change"}


async def test_machines_are_told_as_machines_and_read_with_their_scope(platform: Platform) -> None:
    store = await open_store(platform, "audit-machines")
    async with platform.client(store.admin) as shop:
        tokens = {}
        for scopes in (["audit:read"], ["products:write", "products:read", "users:read", "users:write"]):
            made = (await shop.post("/api/v1/api-clients", {"name": "R", "scopes": scopes})).data
            pair = {name: made[name] for name in ("client_id", "client_secret")}
            tokens[scopes[0]] = made["id"], (await shop.post("/api/v1/auth/token", pair)).data["token"]
        robot, token = tokens["products:write"]
        assert (await shop.get(LOG, token=token)).status == 403
        product = {"sku": "LAMP", "name": "Lamp", "price": 9}
        assert (await shop.post("/api/v1/products", product, token=token)).status == 201

        entries = await told(shop, tokens["audit:read"][1], "&action=products_create", least=1)

    assert (entries[0]["actor"], entries[0]["actor_role"]) == (robot, "service")


async def test_a_password_that_is_reset_by_a_link_is_told_as_its_users_act(platform: Platform) -> None:
    store = await open_store(platform, "audit-reset")
    email = "customer@audit-reset.example"
    async with platform.client(store=store.id) as shop:
        assert (await shop.post("/api/v1/users/password/forgot", {"email": email})).status == 202
        used = {
            "token": token_in(await link(shop, store, "reset-password", email)),
            "new_password": f"{CANARY}-new",
        }
        reset = [(await shop.post("/api/v1/users/password/reset", used)).status for _ in range(2)]
        assert reset == [204, 400]
        entries = await told(shop, store.admin, least=1)
    assert [(each["action"], each["actor_role"]) for each in entries] == [("users_reset", "customer")]
    assert entries[0]["actor"] == entries[0]["object_id"]


async def test_what_becomes_of_dead_letters_is_told_once(platform: Platform) -> None:
    operator = await operator_of(platform, "audit-letters")
    letters = [await bury(platform, f"AUDIT-{number}") for number in range(4)]
    async with platform.client(operator) as shop:
        assert (await shop.call("DELETE", f"/api/v1/dead-letters/{letters[0]}")).status == 204
        assert (await shop.call("DELETE", f"/api/v1/dead-letters/{letters[0]}")).status == 404
        assert (await shop.post(f"/api/v1/dead-letters/{letters[1]}/replay")).status == 202
        assert platform.command("dlq", "drop", letters[2], "--yes").returncode == 0
        assert platform.command("dlq", "replay", letters[3]).returncode == 0
        found = [await told(shop, operator, f"&object_id={letter}", least=1) for letter in letters]
    actions = ["dead_letters_drop", "dead_letters_replay"] * 2
    assert [acts(each) for each in found] == [
        [(action, "dead_letter", letter)] for action, letter in zip(actions, letters, strict=True)
    ]
    assert [each[0]["actor_role"] for each in found] == ["operator"] * 2 + ["command_line"] * 2


async def test_commands_are_told_as_the_command_lines(own_platform: Platform) -> None:
    own_platform.start()
    store = await open_store(own_platform, "audit-commands")
    for words in (
        ["tenants", "suspend", store.id],
        ["tenants", "activate", store.id],
        ["tenants", "activate", store.id],
        ["tenants", "set-tier", store.id, "premium"],
        ["tenants", "create-admin", store.id, "--email", "b@e.example", "--password", f"{CANARY}-password"],
    ):
        assert own_platform.command(*words).returncode == 0, words
    operator = await operator_of(own_platform, "audit-commands")
    async with own_platform.client() as shop:
        login = {"email": "admin@audit-commands.example", "password": "admin-password"}
        admin = (await shop.post("/api/v1/users/login", login, headers={"X-Tenant-Id": store.id})).data[
            "token"
        ]
        entries = await told(shop, admin, "&actor=command line".replace(" ", "%20"), least=4)
        assert [each["action"] for each in entries] == [
            "tenants_suspend",
            "tenants_activate",
            "tenants_set_tier",
            "tenants_create_admin",
        ]
        assert {each["actor_role"] for each in entries} == {"command_line"}
        own_platform.command("tenants", "offboard", store.id, "--yes")
        assert own_platform.stop() == 0
        assert own_platform.command("tenants", "purge", store.id, "--yes").returncode == 0
        own_platform.start()
        entries = await told(shop, operator, "&action=tenants_purge", least=1)
        assert acts(entries) == [("tenants_purge", "tenant", store.id)]
    left = "SELECT count(*) FROM audit_log WHERE tenant_id = ?"
    assert number(own_platform, "users", left, store.id) == 0
    assert not [name for name, content in kept(own_platform).items() if CANARY.encode() in content]


def test_an_action_that_is_told_by_name_is_an_operation(own_platform: Platform) -> None:
    process = Embedded(Settings(data=str(own_platform.data))).process
    assert {"users_login", "users_reset"} <= {each.operation_id for each in contract_of(process, utc_now)}


@pytest.mark.parametrize(
    "query",
    [
        "from=x",
        "to=2026-01-01",
        "from=2026-02-01T00:00:00Z&to=2026-01-01T00:00:00Z",
        "actor=",
        "object=x",
        "after=eA",
    ],
)
async def test_a_filter_that_is_none_is_refused(query: str, platform: Platform) -> None:
    store = await open_store(platform, f"audit-{uuid7()[-12:]}")
    async with platform.client(store.admin) as shop:
        assert (await shop.get(f"{LOG}?{query}")).code == "VALIDATION_ERROR"
