"""Dead letters over HTTP, for operators: events that kept failing, of every consumer here."""

import logging
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated

import msgspec

from mercato.kernel.clock import Clock
from mercato.kernel.errors import NotFound, ValidationFailed
from mercato.messaging.inbox import InboxStore, Parked
from mercato.web.call import Call
from mercato.web.decode import Query
from mercato.web.endpoint import OPERATOR, Routes
from mercato.web.envelope import Page, PageMeta
from mercato.web.paging import DEFAULT_PAGE_SIZE, cursor, read_cursor

log = logging.getLogger(__name__)


class DeadLetterView(msgspec.Struct, frozen=True):
    """An event that kept failing: where, why, and what it says."""

    id: str
    consumer: str
    type: str
    tenant_id: str
    key: str
    sequence: int
    attempts: int
    reason: str
    first_seen_at: datetime
    body: str


class DeadLetterQuery(Query, frozen=True):
    """Which dead letters to list."""

    consumer: Annotated[str, msgspec.Meta(max_length=63)] | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=100)] = DEFAULT_PAGE_SIZE
    after: Annotated[str, msgspec.Meta(max_length=512)] | None = None


def routes(inboxes: Mapping[str, InboxStore], clock: Clock) -> Routes:
    """Declare the endpoints over each consumer's inbox."""
    api = Routes("dead_letters", prefix="/api/v1/dead-letters")

    @api.get("", allow=OPERATOR, storeless=True)
    async def list_dead_letters(call: Call, query: DeadLetterQuery) -> Page[DeadLetterView]:  # noqa: ARG001
        """List dead letters of every consumer, oldest first."""
        after = None if query.after is None else _read(query.after)
        found = [
            (each.first_seen_at, each.event_id, name, each)
            for name, inbox in inboxes.items()
            if query.consumer in {None, name}
            for each in await inbox.dead_letters(query.limit + 1, after=after)
        ]
        found.sort(key=lambda entry: entry[:3])
        shown = found[: query.limit]
        has_more = len(found) > query.limit
        last = cursor(f"{shown[-1][0].isoformat()} {shown[-1][1]}") if has_more else None
        meta = PageMeta(page_size=query.limit, limit=query.limit, has_more=has_more, next_cursor=last)
        return Page([_view(name, each) for _, _, name, each in shown], meta)

    @api.get("/{event_id}", allow=OPERATOR, storeless=True, raises=(NotFound,))
    async def dead_letter(call: Call, event_id: str) -> list[DeadLetterView]:  # noqa: ARG001
        """Show a dead letter, once for each consumer that has it."""
        _possible(event_id)
        found = [(name, await inbox.dead_letter(event_id)) for name, inbox in inboxes.items()]
        views = [_view(name, each) for name, each in found if each is not None]
        if not views:
            raise NotFound("There is no such dead letter.")
        return views

    @api.post("/{event_id}/replay", status=202, allow=OPERATOR, storeless=True, raises=(NotFound,))
    async def replay_dead_letter(call: Call, event_id: str) -> None:
        """Have a dead letter tried anew, within a second."""
        _possible(event_id)
        call.about("dead_letter", event_id)
        by = call.part()
        if not any([await inbox.replay(event_id, clock(), by=by) for inbox in inboxes.values()]):
            raise NotFound("There is no such dead letter that could be tried anew.")
        log.info("dead letter replayed", extra={"event_id": event_id, "by": call.actor})

    @api.delete("/{event_id}", allow=OPERATOR, storeless=True, raises=(NotFound,))
    async def drop_dead_letter(call: Call, event_id: str) -> None:
        """Delete a dead letter: its event will never have its effect."""
        _possible(event_id)
        call.about("dead_letter", event_id)
        by = call.part()
        if not any([await inbox.drop(event_id, by=by) for inbox in inboxes.values()]):
            raise NotFound("There is no such dead letter.")
        log.info("dead letter dropped", extra={"event_id": event_id, "by": call.actor})

    return api


def _possible(event_id: str) -> None:
    # Events' ids have no NUL, and PostgreSQL takes none in a text.
    if "\0" in event_id:
        raise NotFound("There is no such dead letter.")


def _view(consumer: str, found: Parked) -> DeadLetterView:
    return DeadLetterView(
        id=found.event_id,
        consumer=consumer,
        type=found.type,
        tenant_id=found.tenant_id,
        key=found.key,
        sequence=found.sequence,
        attempts=found.attempts,
        reason=found.reason,
        first_seen_at=found.first_seen_at,
        body=found.body.decode(errors="replace"),
    )


def _read(text: str) -> tuple[datetime, str]:
    """Return the moment and the event that a cursor names. Raises ValidationFailed."""
    moment, _, event_id = read_cursor(text).partition(" ")
    try:
        at = datetime.fromisoformat(moment)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None or not event_id:
        raise ValidationFailed.field("after", "must be a next_cursor from an earlier page")
    return at, event_id
