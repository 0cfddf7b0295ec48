"""`mercato dlq`: dead letters, which are events that kept failing."""

from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from mercato.cli.acts import act
from mercato.cli.common import Refused, confirmed, print_json, print_table, with_platform
from mercato.cli.options import DataOption, JsonFlag

if TYPE_CHECKING:
    from mercato.messaging.inbox import Parked
    from mercato.runtime.embedded import Embedded

dlq = App(name="dlq", help="List, read, replay and drop dead letters: events that kept failing.")

LIST_LIMIT = 200


@dlq.command(name="list")
def list_(*, data: DataOption = None, json: JsonFlag = False) -> None:
    """List dead letters, oldest first."""

    async def read(platform: "Embedded") -> "list[tuple[str, Parked]]":
        stores = platform.process.inbox_stores
        return [
            (name, each) for name, store in stores.items() for each in await store.dead_letters(LIST_LIMIT)
        ]

    found = with_platform(data, read)
    if json:
        print_json([_summary(name, each) for name, each in found])
        return
    rows = [
        (each.event_id, name, each.type, each.tenant_id, str(each.attempts), each.reason)
        for name, each in found
    ]
    print_table("Dead letters", ("id", "consumer", "type", "store", "attempts", "reason"), rows)


@dlq.command
def show(event_id: str, /, *, data: DataOption = None) -> None:
    """Print one dead letter as JSON, with the event as it came."""

    async def read(platform: "Embedded") -> "tuple[str, Parked]":
        for name, store in platform.process.inbox_stores.items():
            found = await store.dead_letter(event_id)
            if found is not None:
                return name, found
        raise Refused(f"There is no dead letter {event_id}.")

    name, found = with_platform(data, read)
    print_json(_summary(name, found) | {"body": found.body.decode(errors="replace")})


@dlq.command
def replay(event_id: str, /, *, data: DataOption = None) -> None:
    """Try a dead letter anew: a running platform takes it up within a second."""

    async def work(platform: "Embedded") -> bool:
        from mercato.kernel.clock import utc_now  # noqa: PLC0415  commands import what they need

        stores = platform.process.inbox_stores.values()
        by = act("dead_letters_replay", "dead_letter", event_id)
        return any([await store.replay(event_id, utc_now(), by=by) for store in stores])

    if not with_platform(data, work):
        raise Refused(f"There is no dead letter {event_id} that could be replayed.")
    print(f"{event_id} will be tried anew.")


@dlq.command
def drop(
    event_id: str,
    /,
    *,
    yes: Annotated[bool, Parameter(negative=(), help="Do not ask.")] = False,
    data: DataOption = None,
) -> None:
    """Delete a dead letter. Its event will never have its effect."""
    if not yes and not confirmed(f"Drop {event_id} for good?"):
        raise Refused("Nothing was dropped; confirm with y, or with --yes.")

    async def work(platform: "Embedded") -> bool:
        by, stores = act("dead_letters_drop", "dead_letter", event_id), platform.process.inbox_stores
        return any([await store.drop(event_id, by=by) for store in stores.values()])

    if not with_platform(data, work):
        raise Refused(f"There is no dead letter {event_id}.")
    print(f"{event_id} is dropped.")


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
