"""Emails as their readers see them: light, dark, on a telephone, and without loading a thing."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Literal

import pytest
from playwright.async_api import Browser, Page

from mercato.kernel.ids import OrderId
from mercato.kernel.tenancy import TenantId
from mercato.notifications.domain import LINKS, Facts, Line, Template
from mercato.notifications.ports import Letter
from mercato.notifications.templates import JinjaTemplates
from tests.behaviour.post_office import store

Scheme = Literal["light", "dark"]
WIDTHS = (360, 1024)
LEAST_CONTRAST = 4.5
"""What WCAG 2.2 asks of text (1.4.3)."""

_COLOURS = """() => [...document.querySelectorAll("body *")]
  .filter((each) => [...each.childNodes].some((node) => node.nodeType === 3 && node.data.trim()))
  .map((each) => {
    let behind = each;
    const of = (found) => getComputedStyle(found).backgroundColor;
    while (behind && of(behind) === "rgba(0, 0, 0, 0)") behind = behind.parentElement;
    return [each.textContent.trim().slice(0, 40), getComputedStyle(each).color, behind ? of(behind) : ""];
  })"""


def letter(template: Template) -> Letter:
    return Letter(
        template=template,
        store=store(TenantId("acme"), "The Tea House of the Long Name at the Harbour"),
        name="Anna-Maria",
        order_id=OrderId("01939e2f-5a00-7c4b-9f3e-2b1d8c6a4e70"),
        facts=Facts(
            currency="EUR",
            amount=1_234_567_89,
            refunded=50_00,
            name="For grandmother",
            lines=(
                Line("Darjeeling, 100 g", 2, 12_50),
                Line(
                    "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft", 3, 1
                ),
            ),
            hold_until=datetime(2026, 1, 1, 12, 15, tzinfo=UTC),
            method="bank_transfer",
            reason="The card was declined.",
        ),
        link=f"https://shop.example/account/verify-email?token={'x' * 180}" if template in LINKS else None,
    )


@asynccontextmanager
async def shown(browser: Browser, template: Template, scheme: Scheme, width: int) -> AsyncIterator[Page]:
    """Open an email; whatever it tries to load is an error."""
    worded = await JinjaTemplates().word(letter(template))
    page = await browser.new_page(
        viewport={"width": width, "height": 800}, color_scheme=scheme, java_script_enabled=True
    )
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    await page.set_content(worded.html)
    yield page
    assert asked == []
    await page.close()


@pytest.mark.parametrize("template", Template)
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_every_word_can_be_read_and_nothing_is_cut_off(
    browser: Browser, template: Template, scheme: Scheme
) -> None:
    for width in WIDTHS:
        async with shown(browser, template, scheme, width) as page:
            found = await page.evaluate(_COLOURS)
            assert len(found) > 4
            for words, colour, behind in found:
                assert contrast(colour, behind) >= LEAST_CONTRAST, (words, colour, behind, scheme)
            wide = await page.evaluate("document.documentElement.scrollWidth")
            assert wide <= width, "it has to be scrolled sideways"
            background = await page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert (luminance(background) < 0.1) == (scheme == "dark")


def luminance(colour: str) -> float:
    """Return a colour's relative luminance, as WCAG 2.2 defines it."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)
