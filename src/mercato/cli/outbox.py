"""`mercato outbox`."""

from mercato.cli.common import print_json, print_table, with_platform
from mercato.messaging.outbox import OutboxLag
from mercato.runtime.embedded import Embedded


def show(*, data: str | None, json: bool) -> None:
    """Print how many events wait, by service."""
    lags = with_platform(data, _lags)
    if json:
        print_json(lags)
        return
    rows = [(name, str(lag.unsent), str(lag.oldest or "-")) for name, lag in lags.items()]
    print_table("Events not sent yet", ("service", "events", "oldest"), rows)


async def _lags(platform: Embedded) -> dict[str, OutboxLag]:
    return {name: await outbox.lag() for name, outbox in platform.process.outboxes.items()}
