"""Whom to write to, and the links that are mailed to them."""

from mercato.contracts.users import LinkAction, Recipient
from mercato.kernel.clock import Clock
from mercato.kernel.ids import UserId
from mercato.kernel.tenancy import TenantId
from mercato.users.ports import UserStore
from mercato.users.service.links import Links


class KnownPeople:
    """See contracts.users.People."""

    def __init__(self, users: UserStore, links: Links, *, clock: Clock) -> None:
        self._users = users
        self._links = links
        self._clock = clock

    async def recipient(self, tenant: TenantId, user_id: UserId) -> Recipient | None:
        """Return a user of the store, read fresh; None once they are deleted."""
        user = await self._users.find(tenant, user_id)
        if user is None:
            return None
        return Recipient(user.id, user.email, user.first_name, user.last_name, user.role, user.is_active)

    async def link(self, tenant: TenantId, user_id: UserId, action: LinkAction) -> str | None:
        """Return a new link for a user, or None where there is nothing to link to."""
        account = await self._users.account_of(tenant, user_id)
        return None if account is None else self._links.make(account, action, at=self._clock())
