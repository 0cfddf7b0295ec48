"""A real browser: Debian's chromium, driven by playwright. Without one the tests say they were not run."""

import os
import shutil
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, async_playwright, expect

_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

# How soon a page shows something depends on what else the machine does.
expect.set_options(timeout=20_000)


@pytest.fixture
def chromium() -> str:
    """Return where the browser is."""
    found = shutil.which("chromium")
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("chromium is missing: run `make setup-engines`")
        pytest.skip("nothing was looked at without chromium: run `make setup-engines`")
    return found


@pytest.fixture
async def browser(chromium: str) -> AsyncIterator[Browser]:
    """A browser that is started for one test."""
    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(executable_path=chromium, args=list(_FLAGS))
        yield started
        await started.close()
