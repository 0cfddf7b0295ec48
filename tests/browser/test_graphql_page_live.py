"""The page at /graphql of a running platform, with the schema of the shop."""

from pathlib import Path

from playwright.async_api import Browser, expect

from tests.running import Platform, add_product, open_store


async def test_a_shopper_registers_signs_in_and_asks_who_they_are(
    browser: Browser, own_platform: Platform, tmp_path: Path
) -> None:
    own_platform.start()
    store = await open_store(own_platform, "page")
    async with own_platform.client(store=store.id) as shop:
        await add_product(shop, store, "prod-1", stock=3, price=999.99)
    page = await browser.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    await page.goto(f"{own_platform.url}/graphql")
    await page.get_by_label("Store").fill(store.id)
    answer = page.locator(".graphiql-response")

    async def run(tab: str) -> None:
        await page.get_by_role("tab", name=tab).first.click()
        await page.get_by_role("button", name="Execute query").click()

    await run("Register")
    await expect(answer).to_contain_text("John Doe")
    await page.get_by_label("Email").fill("user@example.com")
    await page.get_by_label("Password").fill("password123")
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    await run("Me")
    await expect(answer).to_contain_text("user@example.com")
    await run("Orders")
    await expect(answer).to_contain_text('"total": 0')
    await page.screenshot(path=tmp_path / "page.png")
    assert complaints == []
