"""Requests that all services answer together: dead letters, which each consumer keeps its own of."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

import msgspec

from mercato.gateway.upstream import Passage, Passed, Upstream
from mercato.kernel.errors import Unavailable
from mercato.web.envelope import PageMeta, encode, success
from mercato.web.paging import cursor

_OF_BODIES = {"content-length", "content-type", "transfer-encoding"}


class _Letter(msgspec.Struct, frozen=True):
    id: str
    consumer: str
    first_seen_at: str


class _Letters(msgspec.Struct, frozen=True):
    data: list[msgspec.Raw]
    meta: PageMeta | None = None


async def ask_all(upstreams: Sequence[Upstream], passage: Passage) -> Passed:
    """Pass a request on to every service, and put the answers together.

    Raises Unavailable if one of them is away: what it keeps would silently be missing.
    """
    # It says nothing in a body, which could be read but once.
    request = replace(passage.request, headers=_without_body(passage.request.headers))
    asked = replace(passage, request=request)
    answers = await asyncio.gather(*(_whole(each, asked) for each in upstreams))
    if any(answer.status >= 500 for answer in answers):
        raise Unavailable("A service is away; try again soon.")
    good = [answer for answer in answers if answer.status < 300]
    if not good:
        return answers[0]
    told = [msgspec.json.decode(answer.body, type=_Letters) for answer in good if answer.body]
    if told:
        good[0].body = _together(told)
    return good[0]


async def _whole(upstream: Upstream, passage: Passage) -> Passed:
    """Return an answer with all of its body, which the services bound."""
    answer = await upstream.send(passage)
    if answer.stream is not None:
        answer.body = b"".join([piece async for piece in answer.stream])
        answer.stream = None
        answer.headers = [each for each in answer.headers if each[0] != "content-length"]
    return answer


def _without_body(headers: Mapping[str, str]) -> Mapping[str, str]:
    return {name: value for name, value in headers.items() if name not in _OF_BODIES}


def _together(told: Sequence[_Letters]) -> bytes:
    """Return the lists as one, in the order that each has."""
    letters = [(msgspec.json.decode(raw, type=_Letter), bytes(raw)) for each in told for raw in each.data]
    letters.sort(key=lambda entry: (entry[0].first_seen_at, entry[0].id, entry[0].consumer))
    metas = [each.meta for each in told if each.meta is not None]
    if not metas:
        return success(encode([msgspec.Raw(raw) for _, raw in letters]))
    limit = metas[0].limit
    shown = letters[:limit]
    more = len(letters) > limit or any(meta.has_more for meta in metas)
    last = cursor(f"{_isoformat(shown[-1][0])} {shown[-1][0].id}") if more and shown else None
    meta = PageMeta(page_size=limit, limit=limit, has_more=more, next_cursor=last)
    return success(encode([msgspec.Raw(raw) for _, raw in shown]), meta)


def _isoformat(letter: _Letter) -> str:
    return letter.first_seen_at.replace("Z", "+00:00")
