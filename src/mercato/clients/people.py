"""contracts.users.People over HTTP."""

from mercato.clients.internal import PREFIX, Asked, Internal, store_of
from mercato.clients.neighbour import Neighbour
from mercato.contracts.users import LinkAction, People, Recipient
from mercato.kernel.ids import UserId
from mercato.kernel.tenancy import TenantId
from mercato.web.call import Call

_RECIPIENT, _LINK = "/people/recipient", "/people/link"


class AskRecipient(Asked, frozen=True):
    """Which user is asked about."""

    user_id: UserId


class AskLink(Asked, frozen=True):
    """For whom a link is, and what it lets them do."""

    user_id: UserId
    action: LinkAction


class PeopleClient:
    """See contracts.users.People."""

    def __init__(self, users: Neighbour) -> None:
        self._users = users

    async def recipient(self, tenant: TenantId, user_id: UserId) -> Recipient | None:
        """Return a user of the store, read fresh; None once they are deleted. Raises Unavailable."""
        kind: type[Recipient | None] = Recipient | None  # type: ignore[assignment]  # a type expression
        asked = AskRecipient(user_id=user_id)
        return await self._users.ask(PREFIX + _RECIPIENT, asked, kind, tenant=tenant, repeatable=True)

    async def link(self, tenant: TenantId, user_id: UserId, action: LinkAction) -> str | None:
        """Return a new link for a user, or None where there is nothing to link to. Raises Unavailable.

        Asking again makes another link, and the one that nobody received is good for nothing.
        """
        kind: type[str | None] = str | None  # type: ignore[assignment]  # a type expression
        asked = AskLink(user_id=user_id, action=action)
        return await self._users.ask(PREFIX + _LINK, asked, kind, tenant=tenant)


def serve_people(internal: Internal, people: People) -> None:
    """Declare what PeopleClient calls."""

    async def recipient(call: Call, body: AskRecipient) -> Recipient | None:
        """Tell whom to write to."""
        return await people.recipient(store_of(call), body.user_id)

    async def link(call: Call, body: AskLink) -> str | None:
        """Make a link for a user."""
        return await people.link(store_of(call), body.user_id, body.action)

    internal.on(_RECIPIENT, recipient)
    internal.on(_LINK, link)
