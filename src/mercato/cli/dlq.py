"""`mercato dlq`: dead letters, which are events that kept failing."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import msgspec
from cyclopts import App, Parameter

from mercato.cli.acts import act
from mercato.cli.common import Refused, confirmed, print_json, print_table, tell, with_platform
from mercato.cli.options import LOOKING, DataOption, JsonFlag, YesFlag, examples, flag
from mercato.kernel.clock import utc_now

if TYPE_CHECKING:
    from mercato.messaging.inbox import InboxStore, Parked
    from mercato.runtime.embedded import Embedded

dlq = App(
    name="dlq",
    group=LOOKING,
    help="List, read, replay and drop dead letters: events that kept failing.",
    help_epilogue=examples("dlq list", "dlq replay --all --type product.created"),
)

LIST_LIMIT = 200

_All = Annotated[bool, flag("All of them, or all that the filters name.", "--all")]
_EventId = Annotated[str | None, Parameter(help="The dead letter's id.")]
_Type = Annotated[
    str | None, Parameter(name="--type", help="Only events of this type, such as order.created.")
]
_Consumer = Annotated[str | None, Parameter(help="Only those of this service.")]


class _Chosen(msgspec.Struct, frozen=True):
    """Which dead letters a command is for: one, or all of a type and a consumer."""

    event_id: str | None
    all: bool
    type: str | None
    consumer: str | None

    def check(self) -> None:
        """Raise Refused unless it names one, or all."""
        if (self.event_id is None) is not self.all:
            raise Refused("Name one dead letter, or say --all.")
        if not self.all and (self.type or self.consumer):
            raise Refused("--type and --consumer go with --all.")


@dlq.command(name="list", help_epilogue=examples("dlq list --consumer orders", "dlq list --json"))
def list_(
    *, type_: _Type = None, consumer: _Consumer = None, data: DataOption = None, json: JsonFlag = False
) -> None:
    """List dead letters, oldest first, 200 at most of each consumer."""
    chosen = _Chosen(None, all=True, type=type_, consumer=consumer)

    async def read(platform: "Embedded") -> "list[tuple[str, Parked]]":
        counts: dict[str, int] = {}
        found = []
        async for name, each in _every(platform, chosen):
            counts[name] = counts.get(name, 0) + 1
            if counts[name] <= LIST_LIMIT:
                found.append((name, each))
        return found

    found = with_platform(data, read)
    if json:
        print_json([_summary(name, each) for name, each in found])
        return
    rows = [
        (each.event_id, name, each.type, each.tenant_id, str(each.attempts), each.reason)
        for name, each in found
    ]
    print_table("Dead letters", ("id", "consumer", "type", "store", "attempts", "reason"), rows)


@dlq.command(help_epilogue=examples("dlq show 01a1fd3c-8657-7477-bee0-e412ef21c7bd"))
def show(event_id: str, /, *, data: DataOption = None, json: JsonFlag = False) -> None:  # noqa: ARG001
    """Print one dead letter as JSON, with or without --json, with the event as it came."""

    async def read(platform: "Embedded") -> "tuple[str, Parked]":
        for name, store in platform.process.inbox_stores.items():
            found = await store.dead_letter(event_id)
            if found is not None:
                return name, found
        raise Refused(f"There is no dead letter {event_id}.")

    name, found = with_platform(data, read)
    print_json(_summary(name, found) | {"body": found.body.decode(errors="replace")})


@dlq.command(
    help_epilogue=examples(
        "dlq replay 01a1fd3c-8657-7477-bee0-e412ef21c7bd", "dlq replay --all --consumer orders --yes"
    )
)
def replay(  # noqa: PLR0913  an argument for each option
    event_id: _EventId = None,
    /,
    *,
    all_: _All = False,
    type_: _Type = None,
    consumer: _Consumer = None,
    yes: YesFlag = False,
    data: DataOption = None,
    json: JsonFlag = False,
) -> None:
    """Try a dead letter anew, or all: a running platform takes them up within a second."""
    chosen = _Chosen(event_id, all_, type_, consumer)
    chosen.check()
    now = utc_now()

    async def again(store: "InboxStore", each: str) -> bool:
        return await store.replay(each, now, by=act("dead_letters_replay", "dead_letter", each))

    if chosen.all:
        done, left = _do_all(chosen, "Try {} dead letters anew?", again, data, yes=yes)
        more = f" {left} hold no event, and can only be dropped." if left else ""
        tell({"replayed": done, "left": left}, f"{done} dead letters will be tried anew.{more}", json=json)
        return
    if not _do(str(event_id), again, data):
        raise Refused(f"There is no dead letter {event_id} that could be replayed.")
    tell({"replayed": 1, "left": 0}, f"{event_id} will be tried anew.", json=json)


@dlq.command(
    help_epilogue=examples(
        "dlq drop 01a1fd3c-8657-7477-bee0-e412ef21c7bd", "dlq drop --all --type product.created"
    )
)
def drop(  # noqa: PLR0913  an argument for each option
    event_id: _EventId = None,
    /,
    *,
    all_: _All = False,
    type_: _Type = None,
    consumer: _Consumer = None,
    yes: YesFlag = False,
    data: DataOption = None,
    json: JsonFlag = False,
) -> None:
    """Delete a dead letter, or all. Their events will never have their effect."""
    chosen = _Chosen(event_id, all_, type_, consumer)
    chosen.check()

    async def away(store: "InboxStore", each: str) -> bool:
        return await store.drop(each, by=act("dead_letters_drop", "dead_letter", each))

    if chosen.all:
        done, _ = _do_all(chosen, "Drop {} dead letters for good?", away, data, yes=yes)
        tell({"dropped": done}, f"{done} dead letters are dropped.", json=json)
        return
    if not yes and not confirmed(f"Drop {event_id} for good?"):
        raise Refused("Nothing was dropped; confirm with y, or with --yes.")
    if not _do(str(event_id), away, data):
        raise Refused(f"There is no dead letter {event_id}.")
    tell({"dropped": 1}, f"{event_id} is dropped.", json=json)


_Doing = Callable[["InboxStore", str], Awaitable[bool]]


def _do(event_id: str, doing: _Doing, data: str | None) -> bool:
    """Do something with a dead letter wherever it is; say whether it was anywhere."""

    async def work(platform: "Embedded") -> bool:
        return any([await doing(store, event_id) for store in platform.process.inbox_stores.values()])

    return with_platform(data, work)


def _do_all(chosen: _Chosen, question: str, doing: _Doing, data: str | None, *, yes: bool) -> tuple[int, int]:
    """Do something with all dead letters that are chosen; return with how many it was done, and not done."""

    async def found(platform: "Embedded") -> list[tuple[str, str]]:
        return [(name, each.event_id) async for name, each in _every(platform, chosen)]

    letters = with_platform(data, found)
    if letters and not yes and not confirmed(question.format(len(letters))):
        raise Refused("Nothing was done; confirm with y, or with --yes.")

    async def work(platform: "Embedded") -> int:
        stores = platform.process.inbox_stores
        return sum([await doing(stores[name], event_id) for name, event_id in letters])

    done = with_platform(data, work) if letters else 0
    return done, len(letters) - done


async def _every(platform: "Embedded", chosen: _Chosen) -> "AsyncIterator[tuple[str, Parked]]":
    """Yield the chosen dead letters of each consumer, oldest first."""
    stores = platform.process.inbox_stores
    if chosen.consumer is not None and chosen.consumer not in stores:
        raise Refused(f"There is no consumer {chosen.consumer}; there are {', '.join(stores)}.")
    for name in stores if chosen.consumer is None else (chosen.consumer,):
        after: tuple[datetime, str] | None = None
        while page := await stores[name].dead_letters(LIST_LIMIT, after=after):
            for each in page:
                if chosen.type in {None, each.type}:
                    yield name, each
            after = (page[-1].first_seen_at, page[-1].event_id)


def _summary(consumer: str, found: "Parked") -> dict[str, object]:
    return {
        "id": found.event_id,
        "consumer": consumer,
        "type": found.type,
        "tenant_id": found.tenant_id,
        "key": found.key,
        "sequence": found.sequence,
        "attempts": found.attempts,
        "reason": found.reason,
        "first_seen_at": found.first_seen_at,
    }
