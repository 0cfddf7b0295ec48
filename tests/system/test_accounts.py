"""Accounts on a running platform: restarts, crashes, and the pages that links lead to."""

import asyncio
import re
import time
from urllib.parse import parse_qs, urlsplit

from tests.running import Platform, Shopper, Store, open_store

USERS = "/api/v1/users"
MAILBOX = "/api/v1/mailbox"
DEADLINE_S = 15.0


async def link(shop: Shopper, store: Store, action: str, email: str) -> str:
    """Wait until a link was mailed; return its address, out of the mailbox."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        for mail in (await shop.get(f"{MAILBOX}?limit=100", token=store.admin)).data:
            if mail["recipient"] == email:
                text = (await shop.get(f"{MAILBOX}/{mail['id']}", token=store.admin)).data["text"]
                found = re.search(rf"https?://\S+/account/{action}\S+", text)
                if found:
                    return found[0]
        await asyncio.sleep(0.02)
    raise AssertionError(f"no link to {action} was mailed to {email}")


def token_in(url: str) -> str:
    return str(parse_qs(urlsplit(url).query)["token"][0])


async def customer_of(shop: Shopper, store: Store) -> str:
    return str((await shop.get(f"{USERS}/me", token=store.customer)).data["id"])


async def test_neither_a_stop_nor_a_crash_revives_a_token(own_platform: Platform) -> None:
    own_platform.start()
    first, second = await open_store(own_platform, "first"), await open_store(own_platform, "second")
    async with own_platform.client() as shop:
        path = f"{USERS}/{await customer_of(shop, first)}"
        assert (await shop.call("DELETE", path, token=first.admin)).status == 204
        assert own_platform.stop() == 0
        own_platform.start()
        assert (await shop.get(f"{USERS}/me", token=first.customer)).status == 401
        path = f"{USERS}/{await customer_of(shop, second)}"
        changed = await shop.call("PUT", path, {"is_active": False}, token=second.admin)
        assert changed.status == 200
        own_platform.kill()
        own_platform.start()
        for token in (first.customer, second.customer):
            assert (await shop.get(f"{USERS}/me", token=token)).status == 401
        for token in (first.admin, second.admin):
            assert (await shop.get(f"{USERS}/me", token=token)).status == 200


async def test_the_links_that_are_sent_lead_to_pages_and_work_once(platform: Platform) -> None:
    store = await open_store(platform, "links")
    email = f"customer@{store.id}.example"
    async with platform.client() as shop:
        verifying = await link(shop, store, "verify-email", email)
        page = await shop.get(verifying[verifying.index("/account") :])
        assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert len(re.findall("content-security-policy", str(page.headers))) == 1
        assert "script-src 'sha256-" in page.headers["content-security-policy"]
        # Looking at the page, as scanners of emails do, has not used the link.
        verified = await shop.post(f"{USERS}/email/verify", {"token": token_in(verifying)})
        assert verified.data["email_verified"] is True
        forgot = await shop.post(
            f"{USERS}/password/forgot", {"email": email}, headers={"X-Tenant-Id": store.id}
        )
        assert forgot.status == 202
        body = {
            "token": token_in(await link(shop, store, "reset-password", email)),
            "new_password": "another-password",
        }
        answers = [await shop.post(f"{USERS}/password/reset", body) for _ in range(2)]
        assert [each.status for each in answers] == [204, 400]
        assert (await shop.get(f"{USERS}/me", token=store.customer)).status == 401
