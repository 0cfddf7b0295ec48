"""The page at /graphql in a real browser, over the real endpoint and engine and a small shop."""

import re
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, Locator, Page, Route, expect

from tests.asgi_client import Client
from tests.graphql_http_shop import PASSWORD, GraphqlShop, open_graphql

ORIGIN = "http://localhost:8080"
RUN = "Execute query"
EXAMPLES = ["Register", "PlaceOrder", "Orders", "Me"]


class Watched:
    """A page, what it asked for, and what it complained about."""

    def __init__(self, page: Page, client: Client) -> None:
        self.page = page
        self.client = client
        self.elsewhere: list[str] = []
        self.complaints: list[str] = []
        self.sent: list[dict[str, str]] = []
        """The headers of each request."""
        page.on("console", lambda line: self._heard(line.text) if line.type == "error" else None)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _heard(self, text: str) -> None:
        # The browser tells of every 4xx, which the page tells its user of.
        if not text.startswith("Failed to load resource"):
            self.complaints.append(text)

    async def open(self, path: str = "/graphql") -> None:
        await self.page.route("**/*", self._answer)
        await self.page.goto(ORIGIN + path)
        await expect(self.page.locator(".graphiql-query-editor .CodeMirror-line").first).to_be_visible()

    async def _answer(self, route: Route) -> None:
        request = route.request
        if not request.url.startswith(ORIGIN + "/"):
            self.elsewhere.append(request.url)
            await route.abort()
            return
        headers = await request.all_headers()
        self.sent.append(headers)
        target = request.url.removeprefix(ORIGIN)
        answer = await self.client(request.method, target, request.post_data_buffer, headers=headers)
        await route.fulfill(status=answer.status, headers=dict(answer.headers), body=answer.body)

    async def sign_in(self, name: str, password: str = PASSWORD) -> None:
        await self.page.get_by_label("Email").fill(f"{name}@example.com")
        await self.page.get_by_label("Password").fill(password)
        await self.page.get_by_role("button", name="Sign in").click()

    def tab(self, name: str) -> Locator:
        return self.page.get_by_role("tab", name=re.compile(rf"^{name}\b"))

    async def run(self, tab: str) -> None:
        await self.tab(tab).click()
        await self.page.get_by_role("button", name=RUN).click()

    async def write(self, text: str) -> None:
        await self.page.get_by_label("New tab").click()
        await self.page.locator(".graphiql-query-editor .CodeMirror").click()
        await self.page.keyboard.press("Control+End")
        await self.page.keyboard.insert_text(text)

    async def shows(self, text: str) -> None:
        await expect(self.page.locator(".graphiql-response")).to_contain_text(text)


@pytest.fixture
def shop() -> GraphqlShop:
    return GraphqlShop()


@pytest.fixture
async def watched(browser: Browser, shop: GraphqlShop) -> AsyncIterator[Watched]:
    page = await browser.new_page(viewport={"width": 1200, "height": 800})
    found = Watched(page, open_graphql(shop))
    yield found
    assert found.elsewhere == []
    assert found.complaints == []
    await page.close()


async def test_one_begins_with_examples_signs_in_and_asks(watched: Watched, shop: GraphqlShop) -> None:
    await watched.open()
    for name in EXAMPLES:
        await expect(watched.tab(name)).to_be_visible()
    await watched.run("Orders")
    await watched.shows("UNAUTHORIZED")
    await watched.sign_in("ann", "a wrong one")
    await expect(watched.page.get_by_role("alert")).to_have_text("The email or the password is wrong.")
    await watched.sign_in("ann")
    await expect(watched.page.locator(".who")).to_contain_text("Ann Doe (customer), ann@example.com")
    await expect(watched.page.locator(".bar")).to_contain_text("Store default")
    for tab, shown in (
        ("Register", '"fullName": "User Doe"'),
        ("PlaceOrder", "87"),
        ("Orders", '"total": 1'),
    ):
        await watched.run(tab)
        await watched.shows(shown)
    await watched.run("Me")
    await watched.shows('"lastName": "Doe"')
    assert watched.sent[-1]["authorization"] == "Bearer ann"
    assert PASSWORD not in await watched.page.evaluate("JSON.stringify([localStorage, sessionStorage])")

    await watched.page.reload()
    await expect(watched.page.locator(".who")).to_contain_text("Ann Doe")
    await watched.page.get_by_role("button", name="Sign out").click()
    await expect(watched.page.get_by_role("button", name="Sign in")).to_be_visible()
    await watched.run("Me")
    await watched.shows('"me": null')
    assert "authorization" not in watched.sent[-1]
    assert shop.asked[-2:] == ["logout", "me"]
    assert "ann" not in shop.sessions.values()


async def test_one_names_the_store_that_one_asks_in(watched: Watched, shop: GraphqlShop) -> None:
    await watched.open()
    store = watched.page.get_by_label("Store")
    await store.fill("acme")
    await store.press("Enter")
    await watched.run("Me")
    await watched.shows('"me": null')
    assert shop.stores[-1] == "acme"
    await store.fill("nowhere")
    await watched.run("Me")
    await watched.shows("There is no such store.")
    await watched.sign_in("ann")
    await expect(watched.page.get_by_role("alert")).to_have_text("There is no such store.")
    await store.fill("acme")
    await watched.sign_in("olga")
    await expect(watched.page.locator(".who")).to_contain_text("operator")
    await store.fill("other")
    await watched.run("Me")
    await watched.shows('"id": "user-olga"')
    assert shop.stores[-1] == "other"


async def test_it_documents_completes_and_remembers(watched: Watched) -> None:
    page = watched.page
    await watched.open()
    await page.get_by_label("Show Documentation Explorer").click()
    await page.get_by_role("link", name="Query").click()
    await expect(page.locator(".graphiql-plugin")).to_contain_text(
        "Without a token that is the catalogue alone."
    )
    await page.get_by_label("Hide Documentation Explorer").click()
    await watched.write("query Found($limit: Int) { products(limit: $limit) { data { ")
    await page.keyboard.type("na")
    await expect(page.locator(".CodeMirror-hints")).to_contain_text("name")
    await page.keyboard.press("Enter")
    await page.keyboard.type(" } } }")
    await page.get_by_role("button", name="Variables").click()
    await page.locator(".graphiql-editor-tool .CodeMirror").first.click()
    await page.keyboard.insert_text('{"limit": 0}')
    await page.get_by_role("button", name="Headers").click()
    await page.locator(".graphiql-editor-tool .CodeMirror").last.click()
    await page.keyboard.insert_text('{"x-tenant-id": "acme"}')
    await page.get_by_role("button", name=RUN).click()
    await watched.shows('"data": []')
    assert watched.sent[-1]["x-tenant-id"] == "acme"
    await page.get_by_label("Show History").click()
    await expect(page.locator(".graphiql-history-items")).to_contain_text("Found")
    await page.get_by_label("Open settings dialog").click()
    await page.get_by_role("button", name="Dark").click()
    await expect(page.locator("body")).to_have_css("color-scheme", "dark")
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("dialog")).to_have_count(0)


async def test_a_subscription_tells_what_happens(watched: Watched) -> None:
    await watched.open()
    await watched.write("subscription { orderStatusChanged { id status } }")
    await watched.page.get_by_role("button", name=RUN).click()
    await watched.shows("Sign in first.")
    await watched.sign_in("ann")
    await expect(watched.page.locator(".who")).to_contain_text("Ann Doe")
    await watched.page.get_by_role("button", name=RUN).click()
    await watched.shows('"status": "confirmed"')
    assert watched.sent[-1]["accept"] == "text/event-stream"


async def test_a_session_goes_on_by_itself_until_it_cannot(watched: Watched, shop: GraphqlShop) -> None:
    shop.expires_in = 1
    await watched.open()
    await watched.sign_in("ann")
    await expect(watched.page.locator(".who")).to_contain_text("Ann Doe")
    await watched.run("Me")
    await watched.shows('"id": "user-ann"')
    assert shop.asked[-2:] == ["refreshToken", "me"]
    shop.sessions.clear()
    await watched.run("Orders")
    await expect(watched.page.get_by_role("alert")).to_have_text("Your session has ended. Sign in again.")
    await watched.shows("UNAUTHORIZED")


async def test_a_document_comes_with_the_address_and_can_do_nothing(watched: Watched) -> None:
    evil = "%23 <img src=x onerror=document.title=1></script><script>document.title=2</script>"
    await watched.open(f"/graphql?query={evil}%0Aquery Given {{ products {{ data {{ name }} }} }}")
    await expect(watched.page.locator(".graphiql-query-editor")).to_contain_text("onerror")
    assert await watched.page.title() == "GraphQL"
    await watched.page.get_by_role("button", name=RUN).click()
    await watched.shows('"name": "Brass desk lamp"')


async def test_it_looks_after_itself_in_the_dark_and_on_a_telephone(watched: Watched) -> None:
    page = watched.page
    await page.emulate_media(color_scheme="dark")
    await page.set_viewport_size({"width": 360, "height": 740})
    await watched.open()
    await watched.sign_in("ann")
    await watched.run("Orders")
    await watched.shows('"total": 1')
    await expect(page.locator(".bar")).to_have_css("background-color", "rgb(33, 42, 59)")
    editor = await page.locator(".graphiql-query-editor").bounding_box()
    response = await page.locator(".graphiql-response").bounding_box()
    assert editor is not None
    assert response is not None
    assert response["y"] > editor["y"] + 100
    assert min(editor["width"], response["width"]) > 280
    assert response["y"] + response["height"] <= 740
    assert await page.evaluate("document.documentElement.scrollWidth") <= 360
