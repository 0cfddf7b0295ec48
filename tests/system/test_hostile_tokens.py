"""Tokens, keys and links that have outlived what they were for."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from tests.running import SPLIT, Answer, Platform, Shopper, Store, add_product, open_store, order_of
from tests.system.test_accounts import link, token_in
from tests.waiting import until

USERS, CLIENTS = "/api/v1/users", "/api/v1/api-clients"
PASSWORD = "customer-password"


@dataclass(frozen=True)
class Kept:
    """All that somebody may have kept of a store."""

    store: Store
    refresh: dict[str, str]
    login: dict[str, str]
    machine: str
    reset: dict[str, str]


async def keep(platform: Platform, store: Store) -> Kept:
    """Sign everybody in, and ask for whatever is good for something later."""
    email = f"customer@{store.id}.example"
    async with platform.client(store=store.id) as shop:
        signed_in = (await shop.post(f"{USERS}/login", {"email": email, "password": PASSWORD})).data
        await shop.post(f"{USERS}/password/forgot", {"email": email})
        reset = {
            "token": token_in(await link(shop, store, "reset-password", email)),
            "new_password": "changed-it",
        }
        wanted = {"name": "Robot", "scopes": ["orders:read", "users:read", "users:write"]}
        made = (await shop.post(CLIENTS, wanted, token=store.admin)).data
        login = {name: made[name] for name in ("client_id", "client_secret")}
        machine = (await shop.post("/api/v1/auth/token", login)).data["token"]
    return Kept(store, {"refresh_token": signed_in["refresh_token"]}, login, machine, reset)


async def uses(shop: Shopper, kept: Kept) -> dict[str, int]:
    """Try everything that was kept; return the statuses."""
    named = {"X-Tenant-Id": kept.store.id}
    answers: dict[str, Answer] = {
        "admin": await shop.get(USERS, token=kept.store.admin),
        "customer": await shop.get(f"{USERS}/me", token=kept.store.customer),
        "machine": await shop.get(USERS, token=kept.machine),
        "refresh": await shop.post(f"{USERS}/token/refresh", kept.refresh, headers=named),
        "login": await shop.post("/api/v1/auth/token", kept.login),
        "reset": await shop.post(f"{USERS}/password/reset", kept.reset),
    }
    return {name: answer.status for name, answer in answers.items()}


async def test_nothing_of_a_purged_store_is_good_for_the_next_one_of_that_name(
    own_platform: Platform,
) -> None:
    own_platform.start()
    kept = await keep(own_platform, await open_store(own_platform, "reborn"))
    async with own_platform.client(kept.store.customer) as shop:
        product = await add_product(shop, kept.store, "LAMP", stock=5)
        first = (await shop.post("/api/v1/orders", order_of(product), key="once")).data["id"]
    assert own_platform.command("tenants", "offboard", "reborn", "--yes").returncode == 0
    assert own_platform.stop() == 0
    assert own_platform.command("tenants", "purge", "reborn", "--yes").returncode == 0
    own_platform.start()
    again = await open_store(own_platform, "reborn")
    refused = {"admin": 401, "customer": 401, "machine": 401, "refresh": 401, "login": 401, "reset": 400}
    async with own_platform.client() as shop:
        assert await uses(shop, kept) == refused
        assert [
            (await shop.get(f"{USERS}/me", token=each)).status for each in (again.admin, again.customer)
        ] == [
            200,
            200,
        ]
        assert (await shop.get(f"/api/v1/orders/{first}", token=again.admin)).status == 404
        # Nor does a restart revive them.
        assert own_platform.stop() == 0
        own_platform.start()
        assert await uses(shop, kept) == refused
        assert (await shop.get(f"{USERS}/me", token=again.admin)).status == 200


async def test_nothing_is_good_while_a_store_is_suspended_and_all_is_afterwards(platform: Platform) -> None:
    kept = await keep(platform, await open_store(platform, "suspended-tokens"))
    operator = await operator_of(platform, "suspended-tokens")
    path = f"/api/v1/tenants/{kept.store.id}"
    async with platform.client() as shop:
        await shop.call("PATCH", path, {"status": "suspended"}, token=operator)
        assert set((await uses(shop, kept)).values()) == {403}
        named = {"X-Tenant-Id": kept.store.id}
        for body, where in (
            (kept.refresh, f"{USERS}/logout"),
            ({"email": f"customer@{kept.store.id}.example", "password": PASSWORD}, f"{USERS}/login"),
            ({"email": f"customer@{kept.store.id}.example"}, f"{USERS}/password/forgot"),
        ):
            assert (await shop.post(where, body, headers=named)).status == 403
        # Whoever is not of that store is not let in by being of another.
        assert (await shop.post("/api/v1/auth/token", kept.login)).status == 403
        await shop.call("PATCH", path, {"status": "active"}, token=operator)
        assert list((await uses(shop, kept)).values()) == [200, 200, 200, 200, 200, 204]


async def test_a_key_belongs_to_who_used_it_first_and_to_nobody_else(platform: Platform) -> None:
    store, other = await open_store(platform, "keyed"), await open_store(platform, "keyed-other")
    async with platform.client() as shop:
        product = await add_product(shop, store, "LAMP", stock=50)
        await add_product(shop, other, "LAMP", stock=50)
        machine = await keep(platform, store)
        wanted = order_of("LAMP")
        callers = (store.customer, store.admin, other.customer, other.admin)
        placed = [await shop.post("/api/v1/orders", wanted, key="shared", token=each) for each in callers]
        assert len({each.data["id"] for each in placed}) == len(callers)
        assert not any("idempotent-replayed" in each.headers for each in placed)
        again = await shop.post("/api/v1/orders", wanted, key="shared", token=store.customer)
        assert (again.body, again.headers["idempotent-replayed"]) == (placed[0].body, "true")
        # A machine that may not place orders learns nothing of who has.
        refused = await shop.post("/api/v1/orders", wanted, key="shared", token=machine.machine)
        assert refused.status == 403
        assert product


async def test_neither_a_key_nor_a_tag_outlives_a_change_of_role(platform: Platform) -> None:
    store = await open_store(platform, "demoted")
    async with platform.client() as shop:
        second = {"email": "second@demoted.example", "password": PASSWORD, "role": "admin"}
        account = {**second, "first_name": "Sam", "last_name": "Second"}
        made = (await shop.post(USERS, account, token=store.admin)).data
        named = {"X-Tenant-Id": store.id}
        pair = {name: second[name] for name in ("email", "password")}
        signed_in = (await shop.post(f"{USERS}/login", pair, headers=named)).data
        product = {"sku": "LAMP", "name": "Lamp", "price": 1}
        created = await shop.post("/api/v1/products", product, key="k", token=signed_in["token"])
        assert created.status == 201
        await shop.call("PUT", f"{USERS}/{made['id']}", {"role": "customer"}, token=store.admin)
        replay = await once_cut_off(
            lambda: shop.post("/api/v1/products", product, key="k", token=signed_in["token"]), created
        )
        assert (replay.status, created.data["id"].encode() in replay.body) == (401, False)
        # What they are now may not replay it either.
        refreshed = await shop.post(
            f"{USERS}/token/refresh", {"refresh_token": signed_in["refresh_token"]}, headers=named
        )
        token = refreshed.data["token"]
        replay = await shop.post("/api/v1/products", product, key="k", token=token)
        assert (replay.status, created.data["id"].encode() in replay.body) == (403, False)
        seen = {"If-None-Match": "*"}
        assert (await shop.get(f"{USERS}/{made['id']}", token=token, headers=seen)).status == 304
        assert (await shop.get(USERS, token=token, headers=seen)).status == 403


async def test_a_deleted_user_leaves_nobody_their_keys_or_their_orders(platform: Platform) -> None:
    store = await open_store(platform, "deleted-keys")
    async with platform.client() as shop:
        await add_product(shop, store, "LAMP", stock=50)
        first = await shop.post("/api/v1/orders", order_of("LAMP"), key="mine", token=store.customer)
        me = (await shop.get(f"{USERS}/me", token=store.customer)).data
        assert (await shop.call("DELETE", f"{USERS}/{me['id']}", token=store.customer)).status == 204
        # The email is free: somebody else registers with it.
        account = {"email": me["email"], "password": "other-password", "first_name": "O", "last_name": "P"}
        named = {"X-Tenant-Id": store.id}
        heir = (await shop.post(f"{USERS}/register", account, headers=named)).data
        assert heir["user"]["id"] != me["id"]
        order = await shop.post("/api/v1/orders", order_of("LAMP"), key="mine", token=heir["token"])
        assert order.data["id"] != first.data["id"]
        assert (await shop.get(f"/api/v1/orders/{first.data['id']}", token=heir["token"])).status == 404
        listed = (await shop.get("/api/v1/orders", token=heir["token"])).data
        assert [each["id"] for each in listed] == [order.data["id"]]
        stale = await once_cut_off(
            lambda: shop.post("/api/v1/orders", order_of("LAMP"), key="mine", token=store.customer), first
        )
        assert stale.status == 401


async def once_cut_off(repeat: Callable[[], Awaitable[Answer]], first: Answer) -> Answer:
    """Repeat a keyed call until its token is refused; return that answer.

    Another process than users' hears a moment later that it is to be, and gives the first answer till then.
    """
    answers: list[Answer] = []

    async def is_refused() -> bool:
        answers.append(await repeat())
        return not SPLIT or answers[-1].body != first.body

    await until(is_refused)
    return answers[-1]


async def test_of_many_who_want_ones_email_at_once_nobody_gets_the_account(platform: Platform) -> None:
    store = await open_store(platform, "email-races")
    named = {"X-Tenant-Id": store.id}
    async with platform.client() as shop:
        accounts = [
            {
                "email": f"u{n}@races.example",
                "password": f"password-{n}",
                "first_name": "U",
                "last_name": str(n),
            }
            for n in range(8)
        ]
        people = [(await shop.post(f"{USERS}/register", each, headers=named)).data for each in accounts]

        async def take(person: Any, email: str) -> int:
            path = f"{USERS}/{person['user']['id']}"
            return (await shop.call("PUT", path, {"email": email}, token=person["token"])).status

        for wanted in ("U0@RACES.example", "prize@races.example"):
            taken = await asyncio.gather(*(take(each, wanted) for each in people[1:]))
            assert sorted(taken) == ([409] * 7 if wanted.startswith("U0") else [200] + [409] * 6)
        pair = {"email": "u0@races.example", "password": "password-0"}
        owner = await shop.post(f"{USERS}/login", pair, headers=named)
        assert owner.data["user"]["id"] == people[0]["user"]["id"]
        everybody = (await shop.get(f"{USERS}?limit=100", token=store.admin)).data
        emails = [each["email"].casefold() for each in everybody]
        assert len(emails) == len(set(emails))


async def test_a_machine_that_writes_users_makes_nobody_of_more_rank_than_a_customer(
    platform: Platform,
) -> None:
    store = await open_store(platform, "robot-power")
    kept = await keep(platform, store)
    claims = json.loads(_decoded(kept.machine))
    async with platform.client(kept.machine) as shop:
        account = {"email": "x@y.example", "password": PASSWORD, "first_name": "X", "last_name": "Y"}
        for role in ("admin", "operator"):
            assert (await shop.post(USERS, {**account, "role": role})).status == 403
        assert (await shop.post(USERS, {**account, "role": "service"})).status == 400
        made = (await shop.post(USERS, account)).data
        admin = (await shop.get(f"{USERS}/me", token=store.admin)).data["id"]
        path = f"{USERS}/{made['id']}"
        assert (await shop.call("PUT", path, {"role": "admin"})).status == 403
        for change in ({"email": "mine@y.example"}, {"is_active": False}, {"role": "customer"}):
            assert (await shop.call("PUT", f"{USERS}/{admin}", change)).status == 403
        assert (await shop.call("DELETE", f"{USERS}/{admin}")).status == 403
        assert (await shop.call("PUT", f"{USERS}/{claims['sub']}", {"role": "admin"})).status == 404
        wider = {"name": "Wider", "scopes": ["products:write"]}
        assert (await shop.post(CLIENTS, wider)).status == 403
        more = {**kept.login, "scope": "orders:read orders:write"}
        assert (await shop.post("/api/v1/auth/token", more)).status == 400


async def test_whoever_is_an_operator_no_more_has_no_machine_that_acts_anywhere(platform: Platform) -> None:
    operator = await operator_of(platform, "robot-keys")
    pair = {"email": "second@robot-keys.example", "password": PASSWORD}
    account = {**pair, "first_name": "Sam", "last_name": "Second", "role": "operator"}
    wanted = {"name": "Everywhere", "scopes": ["stores:any", "users:write"]}
    async with platform.client() as shop:
        second = (await shop.post(USERS, account, token=operator)).data
        signed_in = (await shop.post(f"{USERS}/login", pair)).data["token"]
        made = await shop.post(CLIENTS, wanted, key="robot", token=signed_in)
        login = {name: made.data[name] for name in ("client_id", "client_secret")}
        path = f"{CLIENTS}/{made.data['id']}"
        demoted = await shop.call("PUT", f"{USERS}/{second['id']}", {"role": "admin"}, token=operator)
        assert demoted.status == 200
        admin = (await shop.post(f"{USERS}/login", pair)).data["token"]
        # The same call again would tell a fresh secret.
        assert (await shop.post(CLIENTS, wanted, key="robot", token=admin)).status == 403
        assert (await shop.get(path, token=admin)).status == 404
        for condition in ({}, {"If-Match": '"1"'}, {"If-Match": '"9"'}):
            assert (await shop.call("DELETE", path, token=admin, headers=condition)).status == 404
        listed = await shop.get(f"{CLIENTS}?limit=100", token=admin)
        assert made.data["id"] not in {each["id"] for each in listed.data}
        assert listed.json["meta"]["total_count"] == len(listed.data)
        # The operators' machine itself works on, and they see it.
        assert (await shop.post("/api/v1/auth/token", login)).status == 200
        assert (await shop.call("DELETE", path, token=operator)).status == 204


async def operator_of(platform: Platform, name: str) -> str:
    """Make an operator; return their token."""
    words = ["--email", f"op@{name}.example", "--password", "operator-password"]
    made = platform.command("tenants", "create-operator", *words)
    assert made.returncode == 0, made.stderr
    async with platform.client() as shop:
        pair = {"email": f"op@{name}.example", "password": "operator-password"}
        return str((await shop.post(f"{USERS}/login", pair)).data["token"])


def _decoded(token: str) -> bytes:
    from base64 import urlsafe_b64decode  # noqa: PLC0415  of one helper

    return urlsafe_b64decode(token.split(".")[1] + "==")
