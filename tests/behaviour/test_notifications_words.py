"""The words of emails: what people wrote stands in them as text, and in nothing else."""

import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mercato.kernel.ids import OrderId
from mercato.kernel.tenancy import TenantId
from mercato.notifications.domain import LINKS, Facts, Line, Template, greeted, one_line
from mercato.notifications.ports import Letter, Worded
from mercato.notifications.templates import JinjaTemplates
from tests.behaviour.post_office import store

TEMPLATES = JinjaTemplates()
HOSTILE = [
    "{{7*7}}",
    "{% for x in range(9) %}x{% endfor %}",
    "{{ link }}{{ self }}",
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "javascript:alert(1)",
    "</style><style>*{display:none}",
    "a\r\nSubject: forged\r\n\r\nbody",
    "a\nb",
    "a\u2028b\u2029c\x85d",
    "\x00\x1b[2J",
    "\u202egnp.exe",
    "-->",
    "%(x)s ${x} #{x}",
]


def letter(template: Template, text: str = "Ann", link: str | None = None, **facts: Any) -> Letter:
    """Return an email in which everything that people write is `text`."""
    known: dict[str, Any] = {
        "currency": "EUR",
        "amount": 200_00,
        "refunded": 50_00,
        "name": text,
        "lines": (Line(text, 3, 10_00), Line(text, 1, 170_00)),
        "hold_until": datetime(2026, 1, 1, 12, 15, tzinfo=UTC),
        "method": "bank_transfer",
        "reason": text,
    }
    return Letter(
        template=template,
        store=store(TenantId("acme"), text),
        name=greeted(text),
        order_id=OrderId("01939e2f-5a00-7c4b-9f3e-2b1d8c6a4e70"),
        facts=Facts(**known | facts),
        link=link or ("https://shop.example/?a=1&token=x.y" if template in LINKS else None),
    )


class Page(HTMLParser):
    """What a mail program makes of HTML."""

    def __init__(self, worded: Worded) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.links: set[str] = set()
        self.text = ""
        self.feed(worded.html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value) for name, value in attrs if name != "href"]
        self.links |= {value or "" for name, value in attrs if name == "href"}

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("template", Template)
@pytest.mark.parametrize("text", HOSTILE)
async def test_what_people_write_is_text_and_nothing_else(template: Template, text: str) -> None:
    harmless, hostile = (
        await TEMPLATES.word(letter(template, "Q")),
        await TEMPLATES.word(letter(template, text)),
    )
    plain, page = Page(harmless), Page(hostile)
    greeting = 0 if greeted(text) else 1
    assert len(plain.tags) - len(page.tags) in {0, greeting}
    assert set(page.tags) == set(plain.tags)
    assert set(page.attributes) == set(plain.attributes)
    assert page.links == plain.links
    assert "\n" not in hostile.subject
    assert hostile.subject.isprintable() or "\u202e" in text
    # The lines of the text are the template's own.
    assert hostile.text.count("\n") <= harmless.text.count("\n")
    for line in hostile.text.splitlines():
        assert not re.match(r"(?i)(subject|bcc|to|from):", line)
    if "{{7" in text:
        assert "49" not in hostile.text + hostile.html


@given(text=st.text(min_size=1, max_size=60))
@settings(max_examples=200, deadline=None)
async def test_any_text_leaves_the_mail_as_it_is_made(text: str) -> None:
    template = Template.ORDER_CREATED
    plain, page = (
        Page(await TEMPLATES.word(letter(template, "Q"))),
        Page(await TEMPLATES.word(letter(template, text))),
    )
    assert set(page.tags) == set(plain.tags)
    assert set(page.attributes) == set(plain.attributes)


@pytest.mark.parametrize("template", Template)
async def test_every_email_says_the_same_in_text_and_html(template: Template) -> None:
    worded = await TEMPLATES.word(letter(template, "Tea House"))
    page = Page(worded)
    shown = " ".join(page.text.split())
    assert worded.subject in shown, "it is the page's title"
    assert "Tea House" in worded.subject
    for words in ("Hello Tea House", "You get this email because"):
        assert words in shown
        assert words in " ".join(worded.text.split())
    amounts = set(re.findall(r"[\d,.]+ EUR", worded.text))
    assert set(re.findall(r"[\d,.]+ EUR", shown)) == amounts
    if template in LINKS:
        assert page.links == {"https://shop.example/?a=1&token=x.y"}
        assert "https://shop.example/?a=1&token=x.y" in worded.text
    else:
        assert page.links == set()
        assert "2B1D8C6A4E70" in worded.subject
        assert amounts
    assert "http" not in worded.html.replace("https://shop.example", ""), "it loads nothing"
    assert not re.search(r"(?i)<(img|script|link|iframe|object|form)|url\(|@import", worded.html)
    assert "prefers-color-scheme: dark" in worded.html
    assert 'name="color-scheme" content="light dark"' in worded.html


async def test_a_mail_is_short_enough_to_be_shown_whole() -> None:
    most = letter(Template.ORDER_CREATED, lines=tuple(Line("x" * 100, 1, 1) for _ in range(90)))
    assert len((await TEMPLATES.word(most)).html.encode()) < 100_000, "programs cut what is longer"


@pytest.mark.parametrize(
    "name, greeted_by",
    [
        ("Ann", "Ann"),
        ("Anna-Maria O'Neill", "Anna-Maria O'Neill"),
        ("  José\u00a0 ", "José"),
        ("محمد", "محمد"),
        ("Win a prize at evil.example", None),
        ("http://evil.example", None),
        ("Call 0900 123456", None),
        ("you@evil.example", None),
        ("A" * 41, None),
        ("\r\n", None),
        ("$$$", None),
    ],
)
def test_a_stranger_cannot_write_to_somebody_by_registering_them(name: str, greeted_by: str | None) -> None:
    assert greeted(name) == greeted_by


@given(st.text())
def test_one_line_is_one_line(text: str) -> None:
    line = one_line(text)
    assert len(line.splitlines()) <= 1
    assert one_line(line) == line
