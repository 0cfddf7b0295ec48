"""Guessing at passwords: who is kept out by it, and what is no way around it."""

import asyncio

from tests.running import Answer, Platform, Shopper, open_store

USERS = "/api/v1/users"
PASSWORD = "customer-password"
LIMIT = 10


async def sign_in(shop: Shopper, email: str, password: str, **headers: str) -> Answer:
    return await shop.post(f"{USERS}/login", {"email": email, "password": password}, headers=headers)


async def test_no_spelling_and_no_header_makes_more_guesses(own_platform: Platform) -> None:
    own_platform.start()
    store = await open_store(own_platform, "spelt-lock")
    named = {"X-Tenant-Id": store.id}
    accented = "jos\N{LATIN SMALL LETTER E WITH ACUTE}@spelt.example"
    async with own_platform.client() as shop:
        account = {"email": accented, "password": PASSWORD, "first_name": "J", "last_name": "E"}
        assert (await shop.post(f"{USERS}/register", account, headers=named)).status == 201
        spellings = [
            accented,
            "jose\N{COMBINING ACUTE ACCENT}@spelt.example",
            "JOS\N{LATIN CAPITAL LETTER E WITH ACUTE}@SPELT.EXAMPLE",
            "Jose\N{COMBINING ACUTE ACCENT}@Spelt.Example",
            "jo\N{LATIN SMALL LETTER LONG S}\N{LATIN SMALL LETTER E WITH ACUTE}@spelt.example",
        ]
        guesses = [
            await sign_in(
                shop,
                spellings[n % len(spellings)],
                f"wrong-{n}",
                **named,
                **{"X-Forwarded-For": f"198.51.100.{n}", "Forwarded": f"for=198.51.100.{n}"},
            )
            for n in range(LIMIT + 5)
        ]
        assert [each.status for each in guesses] == [401] * LIMIT + [429] * 5
        assert all(0 < int(each.headers["retry-after"]) <= 900 for each in guesses[LIMIT:])
        for email in spellings:
            locked = await sign_in(shop, email, PASSWORD, **named)
            assert (locked.status, locked.code) == (429, "RATE_LIMIT_EXCEEDED")


async def test_a_locked_account_keeps_nobody_else_out_and_no_session(own_platform: Platform) -> None:
    own_platform.start()
    store, other = await open_store(own_platform, "locked"), await open_store(own_platform, "locked-other")
    named, elsewhere = {"X-Tenant-Id": store.id}, {"X-Tenant-Id": other.id}
    email = f"customer@{store.id}.example"
    async with own_platform.client() as shop:
        twin = {"email": email, "password": PASSWORD, "first_name": "T", "last_name": "W"}
        await shop.post(f"{USERS}/register", twin, headers=elsewhere)
        session = (await sign_in(shop, email, PASSWORD, **named)).data
        await asyncio.gather(*(sign_in(shop, email, f"wrong-{n}", **named) for n in range(LIMIT)))
        assert (await sign_in(shop, email, PASSWORD, **named)).status == 429
        # The same email in another store, another account in the store, and whoever is signed in go on.
        assert (await sign_in(shop, email, PASSWORD, **elsewhere)).status == 200
        admin = f"admin@{store.id}.example"
        assert (await sign_in(shop, admin, "admin-password", **named)).status == 200
        assert (await shop.get(f"{USERS}/me", token=session["token"])).status == 200
        refresh = {"refresh_token": session["refresh_token"]}
        assert (await shop.post(f"{USERS}/token/refresh", refresh, headers=named)).status == 200
        # Neither a new email nor guessing by way of the session is a way around.
        change = {"current_password": "wrong-password", "new_password": "another-password"}
        guess = await shop.post(f"{USERS}/me/password", change, token=session["token"])
        assert guess.status == 429


async def test_a_storm_of_guesses_from_many_sides_gets_no_more_of_them(own_platform: Platform) -> None:
    own_platform.start()
    store, other = await open_store(own_platform, "storm"), await open_store(own_platform, "storm-other")
    email = f"customer@{store.id}.example"
    async with own_platform.client() as shop:
        answers = await asyncio.gather(
            *(sign_in(shop, email, f"wrong-{n}", **{"X-Tenant-Id": store.id}) for n in range(40)),
            # With a token the store is the token's, whatever the header says.
            *(
                shop.post(
                    f"{USERS}/login",
                    {"email": email, "password": f"wrong-{n}"},
                    token=store.admin,
                    headers={"X-Tenant-Id": other.id},
                )
                for n in range(20)
            ),
        )
    assert sorted(each.status for each in answers) == [401] * LIMIT + [429] * 50


async def test_a_limit_that_applied_is_told_on_every_answer(own_platform: Platform) -> None:
    own_platform.environ.update(MERCATO_ADDRESS_RATE="1000", MERCATO_ADDRESS_BURST="1000")
    own_platform.start()
    store = await open_store(own_platform, "told")
    told = {"x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"}
    async with own_platform.client() as shop:
        answers = {
            "found": await shop.get(f"{USERS}/me", token=store.customer),
            "created": await shop.post(
                "/api/v1/products", {"sku": "A", "name": "A", "price": 1}, token=store.admin
            ),
            "unauthorized": await shop.get(f"{USERS}/me"),
            "bad token": await shop.get(f"{USERS}/me", token="a.b.c"),
            "forbidden": await shop.get(USERS, token=store.customer),
            "missing": await shop.get("/api/v1/orders/x", token=store.customer),
            "no path": await shop.get("/nowhere"),
            "no store": await shop.get("/api/v1/products", headers={"X-Tenant-Id": "nobody"}),
            "method": await shop.call("PATCH", "/api/v1/products"),
            "options": await shop.call("OPTIONS", "/api/v1/products"),
            "head": await shop.call("HEAD", "/api/v1/products"),
            "body": await shop.post(f"{USERS}/login", {}),
            "query": await shop.get("/api/v1/products?page=0"),
            "kind": await shop.send("POST", f"{USERS}/login", "text/plain", b"x"),
            "size": await shop.send("POST", f"{USERS}/login", "application/json", b" " * 1_100_000),
        }
        for name, answer in answers.items():
            assert told <= set(answer.headers), name
        left = [int(each.headers["x-ratelimit-remaining"]) for each in answers.values()]
        assert all(0 < each < 1000 for each in left)
        tag = {"If-None-Match": answers["found"].headers["etag"]}
        unchanged = await shop.get(f"{USERS}/me", token=store.customer, headers=tag)
        assert unchanged.status == 304
        assert told <= set(unchanged.headers)
