"""Secrets go in, and come out nowhere but where they belong."""

import asyncio

from tests.rows import kept, rows, wipe
from tests.running import Platform, Shopper, Store, add_product, open_store, order_of
from tests.system.test_accounts import link, token_in
from tests.system.test_hostile_tokens import operator_of

USERS = "/api/v1/users"
CANARY = "canary-0c9f1b7d"


async def confide(shop: Shopper, store: Store) -> set[str]:
    """Tell the platform secrets, well and badly; return them, and those that it has told."""
    named, email = {"X-Tenant-Id": store.id}, "canary@secrets.example"
    secrets = {store.admin, store.customer}
    account = {"email": email, "password": f"{CANARY}-password", "first_name": "Ann", "last_name": "Lee"}
    for _ in range(2):
        made = (await shop.post(f"{USERS}/register", account, key=f"{CANARY}-key", headers=named)).data
        secrets |= {made["token"], made["refresh_token"]}
    for wrong in ("wrong", {"no": "text"}, None):
        login = {"email": email, "password": f"{CANARY}-{wrong}" if isinstance(wrong, str) else wrong}
        assert (await shop.post(f"{USERS}/login", login, headers=named)).status in {400, 401}
    for body in (
        {**account, "role": CANARY},
        {**account, CANARY: CANARY},
        {"email": CANARY, "password": CANARY},
        [f"{CANARY}-list"],
    ):
        refused = await shop.post(f"{USERS}/register", body, headers=named)
        assert refused.status == 400
    change = {"current_password": f"{CANARY}-password", "new_password": f"{CANARY}-changed"}
    changed = (await shop.post(f"{USERS}/me/password", change, token=made["token"])).data
    refreshed = await shop.post(
        f"{USERS}/token/refresh", {"refresh_token": changed["refresh_token"]}, headers=named
    )
    again = await shop.post(
        f"{USERS}/token/refresh", {"refresh_token": changed["refresh_token"]}, headers=named
    )
    assert (refreshed.status, again.status) == (200, 401)
    secrets |= {changed["token"], changed["refresh_token"], refreshed.data["token"]}
    secrets |= {refreshed.data["refresh_token"]}
    for sent in (f"Bearer {CANARY}", f"Basic {CANARY}", CANARY):
        assert (await shop.get(f"{USERS}/me", headers={"Authorization": sent})).status == 401
    assert (await shop.post(f"{USERS}/token/refresh", {"refresh_token": f"{CANARY}-r"})).status == 401
    return secrets | await machine(shop, store) | await pay(shop, store)


async def machine(shop: Shopper, store: Store) -> set[str]:
    """Make a machine's login twice by one key, and sign it in well and badly."""
    secrets = set()
    for _ in range(2):
        wanted = {"name": "Robot", "scopes": ["orders:read"]}
        login = (await shop.post("/api/v1/api-clients", wanted, key="robot", token=store.admin)).data
        secrets.add(login["client_secret"])
    pair = {name: login[name] for name in ("client_id", "client_secret")}
    secrets.add((await shop.post("/api/v1/auth/token", pair)).data["token"])
    bad = await shop.post("/api/v1/auth/token", pair | {"client_secret": f"{CANARY}-secret"})
    assert bad.status == 401
    return secrets


async def pay(shop: Shopper, store: Store) -> set[str]:
    """Pay with tokens that fail, and one whose fate is unknown for a while."""
    tokens = {f"tok_{CANARY}", "tok_lost"}
    for token in sorted(tokens):
        order = (await shop.post("/api/v1/orders", order_of("LAMP"), token=store.customer)).data["id"]
        paying = {"order_id": order, "method": "card", "token": token}
        made = await shop.post("/api/v1/payments", paying, token=store.customer, key=f"pay-{order}")
        assert made.status == 201
        path = f"/api/v1/payments/{made.data['id']}"
        done = await shop.post(f"{path}/process", {}, token=store.customer)
        seen = await shop.get(path, token=store.admin)
        for answer in (made, done, seen):
            assert token.encode() not in answer.body
    return {f"tok_{CANARY}"}


def empty_mailbox(platform: Platform, link: str) -> None:
    """Take the mails out of the mailbox: links are meant to be in them, and nowhere else."""
    mails = rows(platform, "notifications", "SELECT mail FROM mailbox")
    assert any(link in mail for (mail,) in mails)
    wipe(platform, "notifications", "DELETE FROM mailbox")


async def test_no_secret_is_kept_or_told_anywhere(own_platform: Platform) -> None:
    own_platform.start()
    store = await open_store(own_platform, "secrets")
    async with own_platform.client() as shop:
        await add_product(shop, store, "LAMP", stock=9)
        secrets = await confide(shop, store)
        await shop.post(
            f"{USERS}/password/forgot",
            {"email": "canary@secrets.example"},
            headers={"X-Tenant-Id": store.id},
        )
        reset = token_in(await link(shop, store, "reset-password", "canary@secrets.example"))
        bad = await shop.post(f"{USERS}/password/reset", {"token": reset, "new_password": "short"})
        assert (bad.status, reset.encode() in bad.body) == (400, False)
        used = {"token": reset, "new_password": f"{CANARY}-reset"}
        assert [(await shop.post(f"{USERS}/password/reset", used)).status for _ in range(2)] == [204, 400]
        operator = await operator_of(own_platform, "secrets")
        secrets |= {operator, CANARY}
        told = [await shop.get(path) for path in ("/metrics", "/openapi.json", "/health")]
        told += [await shop.get("/api/v1/dead-letters", token=operator)]
        told += [await shop.get(f"{USERS}?limit=100", token=store.admin)]
        told += [await shop.get("/api/v1/notifications?limit=100", token=store.admin)]
        for each in told[-1].data:
            told.append(await shop.get(f"/api/v1/notifications/{each['id']}/preview", token=store.admin))
        for answer in told:
            assert answer.status == 200
            assert not [each for each in {*secrets, reset} if each.encode() in answer.body]
        await asyncio.sleep(1)  # what is settled or relayed in the background is written too
    assert own_platform.stop() == 0
    log = own_platform.log()
    assert not [each for each in {*secrets, reset} if each in log]
    empty_mailbox(own_platform, reset)
    found = kept(own_platform)
    assert {"users", "orders", "payments", "notifications"} <= {name.partition(".")[0] for name in found}
    assert any(b"canary@secrets.example" in content for content in found.values())
    # The keys of calls are their callers' own words, and no secrets.
    spared = f"{CANARY}-key".encode()
    for name, content in found.items():
        for each in {*secrets, reset}:
            assert each.encode() not in content.replace(spared, b""), (name, each)
