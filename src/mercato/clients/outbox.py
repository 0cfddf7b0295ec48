"""Asking the sender of events to send some again, over HTTP."""

from collections.abc import Awaitable, Callable

from mercato.clients.internal import PREFIX, Asked, Internal
from mercato.clients.neighbour import Neighbour
from mercato.web.call import Call

_RESEND = "/outbox/resend"

ResendOwn = Callable[[str, int, int], Awaitable[int]]
"""`(key, after, before)`: sends own events again; returns how many there still are."""


class AskResend(Asked, frozen=True):
    """The events of a key that are numbered between the two, exclusive."""

    key: str
    after: int
    before: int


async def ask_resend(sender: Neighbour, key: str, after: int, before: int) -> int:
    """Have a service send events again; return how many of them it still has. Raises Unavailable."""
    asked = AskResend(key=key, after=after, before=before)
    return await sender.ask(PREFIX + _RESEND, asked, int, repeatable=True)


def serve_outbox(internal: Internal, resend: ResendOwn) -> None:
    """Declare what `ask_resend` calls."""

    async def again(call: Call, body: AskResend) -> int:  # noqa: ARG001  the outbox is the platform's
        """Send events again."""
        return await resend(body.key, body.after, body.before)

    internal.on(_RESEND, again)
