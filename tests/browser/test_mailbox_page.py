"""The page that reads the local mailbox, in a real browser on a running platform."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, Route, expect

from tests.running import Platform, Store, open_store

EVIL = "Eve <script>document.title='taken'</script><img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A running platform."""
    folder: Path = tmp_path_factory.mktemp("mailbox")
    running = Platform(folder)
    running.start()
    yield running
    assert running.stop() == 0


class Watched:
    """A page, and what it complained about or asked others for."""

    def __init__(self, page: Page, platform: Platform) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.elsewhere: list[str] = []
        page.on("console", lambda line: self.complaints.append(line.text) if line.type == "error" else None)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on(
            "response",
            lambda made: None if made.url.startswith(platform.url) else self.elsewhere.append(made.url),
        )

    async def sign_in(self, store: str, email: str, password: str) -> None:
        await self.page.get_by_label("Store").first.fill(store)
        await self.page.get_by_label("Email").fill(email)
        await self.page.get_by_label("Password").fill(password)
        await self.page.get_by_role("button", name="Sign in").click()


@pytest.fixture
async def watched(browser: Browser, platform: Platform) -> AsyncIterator[Watched]:
    page = await browser.new_page(viewport={"width": 1200, "height": 900})
    found = Watched(page, platform)
    await page.goto(f"{platform.url}/mailbox")
    yield found
    assert found.elsewhere == []
    await page.close()


async def store_with_mails(platform: Platform, name: str) -> Store:
    """Open a store in which two people are welcomed, one of whom has a strange name."""
    store = await open_store(platform, name)
    async with platform.client(store.admin) as shop:
        eve = {
            "email": f"eve@{name}.example",
            "password": "eves-password",
            "first_name": "Eve",
            "last_name": EVIL,
        }
        assert (await shop.post("/api/v1/users", eve)).status == 201
        async with asyncio.timeout(15):
            while True:
                sent = await shop.get("/api/v1/notifications?status=sent")
                if sent.json["meta"]["total_count"] == 3:
                    return store
                await asyncio.sleep(0.02)


async def test_an_admin_reads_the_mails_of_the_store(watched: Watched, platform: Platform) -> None:
    await store_with_mails(platform, "reading")
    page = watched.page
    await watched.sign_in("reading", "admin@reading.example", "admin-password")
    entries = page.locator("#mails button")
    await expect(entries).to_have_count(3)
    await entries.nth(0).click()
    await expect(page.locator("article h2")).to_have_text("Welcome to reading")
    await expect(page.locator("dl")).to_contain_text(f"{EVIL} <eve@reading.example>")
    frame = page.frame_locator("iframe")
    await expect(frame.get_by_role("heading", name="Welcome to reading")).to_be_visible()
    card = frame.locator(".card")
    await expect(card).to_have_css("background-color", "rgb(255, 255, 255)")
    await page.get_by_role("button", name="Text").click()
    await expect(page.locator("pre")).to_contain_text("/account/verify-email?token=")
    await page.get_by_role("button", name="HTML").click()
    async with page.context.expect_page() as opening:
        await frame.get_by_role("link", name="Confirm my email address").click()
    linked = await opening.value
    await linked.get_by_role("button", name="Confirm that it is mine").click()
    await expect(linked.get_by_role("status")).to_have_text("Thank you: your email address is confirmed.")
    assert await linked.evaluate("window.opener") is None
    assert await page.title() == "Mailbox"
    assert watched.complaints == []


async def test_it_looks_after_itself_in_the_dark_and_on_a_telephone(
    watched: Watched, platform: Platform
) -> None:
    await store_with_mails(platform, "dark")
    page = watched.page
    await page.emulate_media(color_scheme="dark")
    await page.set_viewport_size({"width": 360, "height": 800})
    await watched.sign_in("dark", "admin@dark.example", "admin-password")
    await page.locator("#mails button").first.click()
    card = page.frame_locator("iframe").locator(".card")
    await expect(card).to_have_css("background-color", "rgb(35, 35, 41)")
    assert await page.evaluate("document.documentElement.scrollWidth") <= 360
    assert watched.complaints == []


@asynccontextmanager
async def trap() -> AsyncIterator[tuple[str, list[str]]]:
    """Serve to whoever is lured here; return the address, and who came."""
    came: list[str] = []

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.append((await reader.readline()).decode())
        writer.close()

    listener = await asyncio.start_server(note, "127.0.0.1", 0)
    async with listener:
        yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}", came


def luring(evil: str) -> str:
    """Return a mail that tries all it can to run, or to load, something."""
    return (
        f"<html><head><meta http-equiv='refresh' content='0;url={evil}/refresh'>"
        f"<base href='{evil}/'><link rel=stylesheet href='{evil}/style'>"
        f"<style>@import url('{evil}/import'); p {{ background: url('{evil}/css') }}</style>"
        "<script>top.document.title='taken'</script></head><body onload='top.document.title=1'>"
        f"<img src='{evil}/image' onerror='top.document.title=2'><iframe src='{evil}/frame'></iframe>"
        "<iframe srcdoc='<script>top.document.title=4</script>'></iframe>"
        f"<object data='{evil}/object'></object>"
        f"<form action='{evil}/form'><button>Send</button></form>"
        "<a href='javascript:top.document.title=3'>Click</a><p>shown</p></body></html>"
    )


async def test_a_mail_can_run_nothing_and_load_nothing(watched: Watched, platform: Platform) -> None:
    await store_with_mails(platform, "hostile")
    page = watched.page
    async with trap() as (evil, came):

        async def answer(route: Route) -> None:
            response = await route.fetch()
            body = await response.json()
            body["data"]["html"] = luring(evil)
            await route.fulfill(response=response, json=body)

        await page.route("**/api/v1/mailbox/*", answer)
        await watched.sign_in("hostile", "admin@hostile.example", "admin-password")
        await page.locator("#mails button").first.click()
        frame = page.frame_locator("article > iframe")
        await expect(frame.get_by_text("shown")).to_be_visible()
        await frame.get_by_role("button", name="Send").click()
        await frame.get_by_role("link", name="Click").click()
        await page.get_by_role("button", name="Text").click()
        await page.get_by_role("button", name="HTML").click()
        await expect(frame.get_by_text("shown")).to_be_visible()
        assert await page.title() == "Mailbox"
        assert came == []


async def test_who_may_not_read_it_is_told(watched: Watched, platform: Platform) -> None:
    await store_with_mails(platform, "refusing")
    page = watched.page
    await watched.sign_in("refusing", "admin@refusing.example", "wrong-password")
    await expect(page.get_by_role("alert")).to_have_text("The email or the password is wrong.")
    await watched.sign_in("no-such-store", "admin@refusing.example", "admin-password")
    await expect(page.get_by_role("alert")).not_to_have_text("The email or the password is wrong.")
    await watched.sign_in("refusing", "customer@refusing.example", "customer-password")
    await expect(page.locator("main .told")).not_to_be_empty()
    await expect(page.locator("#mails button")).to_have_count(0)
    await page.get_by_role("button", name="Sign out").click()
    await watched.sign_in("refusing", "admin@refusing.example", "admin-password")
    await expect(page.locator("#mails button")).to_have_count(3)
    await page.reload()
    await expect(page.locator("#mails button")).to_have_count(3)
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    await page.reload()
    await expect(page.get_by_role("button", name="Sign in")).to_be_visible()


async def test_an_operator_reads_any_store(watched: Watched, platform: Platform) -> None:
    await store_with_mails(platform, "operated")
    login = ("--email", "op@mailbox.example", "--password", "operator-password")
    assert platform.command("tenants", "create-operator", *login).returncode == 0
    page = watched.page
    await watched.sign_in("default", "op@mailbox.example", "operator-password")
    await expect(page.locator("#mails button").first).to_contain_text("Welcome to", timeout=15_000)
    await page.locator("#acting input").fill("operated")
    await page.locator("#acting input").press("Enter")
    await expect(page.locator("#mails button")).to_have_count(3)
    assert watched.complaints == []
