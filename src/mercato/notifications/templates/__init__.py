"""The words and looks of emails, by Jinja2.

Names and texts of people are values, never templates. In HTML they are escaped; in plain text, and in the
subject, which is its first line, they are put on one line, so that they cannot pretend to be another.
"""

import asyncio
import re
from importlib import resources
from typing import TYPE_CHECKING, Any

from mercato.kernel.ids import OrderId
from mercato.notifications.domain import Template, money, one_line
from mercato.notifications.ports import Letter, Worded
from mercato.notifications.templates.styles import STYLES

if TYPE_CHECKING:
    from jinja2 import Environment

Words = dict[Template, tuple[Any, Any]]
"""The templates of text and HTML. Jinja2 is imported when the first email is worded."""


class JinjaTemplates:
    """See notifications.ports.Templates."""

    def __init__(self) -> None:
        self._words: Words | None = None
        self._loading = asyncio.Lock()

    async def word(self, letter: Letter) -> Worded:
        """Return an email's words."""
        words = self._words or await self._load()
        text, html = words[letter.template]
        values = _values(letter)
        subject, _, told = text.render(values).strip().partition("\n")
        return Worded(subject, told.strip() + "\n", html.render(values, subject=subject))

    async def _load(self) -> Words:
        """Compile every template, in a thread: it takes a while, once."""
        async with self._loading:
            if self._words is None:
                self._words = await asyncio.to_thread(_compiled)
            return self._words


def _compiled() -> Words:
    from jinja2 import Environment, FunctionLoader, StrictUndefined  # noqa: PLC0415  see Words

    def environment(*, html: bool) -> "Environment":
        return Environment(
            loader=FunctionLoader(_source),
            autoescape=html,  # noqa: S701  plain text has no markup; see `_on_one_line`
            undefined=StrictUndefined,
            finalize=None if html else _on_one_line,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )

    texts, pages = environment(html=False), environment(html=True)
    return {
        template: (texts.get_template(f"{template}.txt"), pages.get_template(f"{template}.html"))
        for template in Template
    }


def _source(name: str) -> str:
    """Return a template's source. Styles are written into it here, once, as mail programs want them."""
    source = resources.files(__name__).joinpath(name).read_text(encoding="utf-8")
    return re.sub(r'class="([a-z]+)"', _styled, source) if name.endswith(".html") else source


def _styled(found: "re.Match[str]") -> str:
    return f'{found[0]} style="{STYLES[found[1]]}"'


def _on_one_line(value: object) -> object:
    return one_line(value) if isinstance(value, str) else value


def _values(letter: Letter) -> dict[str, object]:
    facts = letter.facts
    return {
        "store": letter.store.name,
        "name": letter.name,
        "link": letter.link,
        "number": _number(letter.order_id),
        "order_id": letter.order_id,
        "order_name": facts.name,
        "lines": [
            (line.quantity, line.name, money(line.quantity * line.unit_price, facts.currency))
            for line in facts.lines
        ],
        "amount": money(facts.amount, facts.currency) if facts.currency else "",
        "refunded": money(facts.refunded, facts.currency) if facts.currency else "",
        "is_all": facts.refunded >= facts.amount,
        "hold_until": "" if facts.hold_until is None else f"{facts.hold_until:%H:%M on %-d %B %Y} (UTC)",
        "method": facts.method.replace("_", " "),
        "reason": facts.reason,
    }


def _number(order_id: OrderId | None) -> str:
    """Return what people call an order by: the end of its id, which is the part that differs."""
    return "" if order_id is None else order_id[-12:].upper()
