"""`mercato outbox`: events that wait to be sent."""

from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from mercato.cli.common import moment, print_json, print_table, with_platform
from mercato.cli.options import LOOKING, DataOption, JsonFlag, chosen, examples

if TYPE_CHECKING:
    from mercato.contracts.events import Event
    from mercato.messaging.outbox import OutboxLag
    from mercato.runtime.embedded import Embedded

outbox = App(
    name="outbox",
    group=LOOKING,
    help="Show how many events wait to be sent, by service, and since when; or which.",
    help_epilogue=examples("outbox", "outbox show --service orders --json"),
)

SHOW_LIMIT = 200


@outbox.default
def lags(*, data: DataOption = None, json: JsonFlag = False) -> None:
    """Show how many events wait to be sent, by service, and since when; or which."""

    async def read(platform: "Embedded") -> "dict[str, OutboxLag]":
        return {name: await each.lag() for name, each in platform.process.outboxes.items()}

    found = with_platform(data, read)
    if json:
        print_json(found)
        return
    rows = [(name, str(lag.unsent), moment(lag.oldest)) for name, lag in found.items()]
    print_table("Events not sent yet", ("service", "events", "oldest"), rows)


@outbox.command(help_epilogue=examples("outbox show --service orders"))
def show(
    *,
    service: Annotated[str | None, Parameter(help="Only this service's events.")] = None,
    data: DataOption = None,
    json: JsonFlag = False,
) -> None:
    """List the events that wait to be sent, by service and in the order they will go, 200 at most of each."""

    async def read(platform: "Embedded") -> "list[tuple[str, Event]]":
        from mercato.messaging.bus import decode  # noqa: PLC0415  commands import what they need

        outboxes = platform.process.outboxes
        return [
            (name, decode(message.body))
            for name in chosen(service, outboxes)
            for message in await outboxes[name].unsent(SHOW_LIMIT)
        ]

    found = with_platform(data, read)
    if json:
        print_json([_row(name, event) for name, event in found])
        return
    columns = ("id", "service", "type", "store", "key", "time")
    words = [
        (event.id, name, event.type, event.tenantid, event.partitionkey, moment(event.time))
        for name, event in found
    ]
    print_table("Events not sent yet", columns, words)


def _row(service: str, event: "Event") -> dict[str, object]:
    return {
        "id": event.id,
        "service": service,
        "type": event.type,
        "tenant_id": event.tenantid,
        "key": event.partitionkey,
        "time": event.time,
    }
