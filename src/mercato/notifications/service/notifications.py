"""What staff does with notifications: reading them, looking at them, and having them sent again."""

from datetime import datetime

from mercato.contracts.stores import StoreDirectory
from mercato.contracts.users import People
from mercato.kernel.cause import ByCall
from mercato.kernel.errors import NotFound
from mercato.kernel.ids import NotificationId, is_id
from mercato.kernel.principal import Principal, Role
from mercato.notifications.domain import LINKS, Notification
from mercato.notifications.ports import NotificationStore, Templates, Worded
from mercato.notifications.service.delivery import letter

NO_LINK = "https://link.invalid/made-when-it-is-sent"
"""What stands for a link where one is looked at and nobody is meant to follow it."""


class Notifications:
    """The use cases of notifications."""

    def __init__(
        self, store: NotificationStore, people: People, stores: StoreDirectory, templates: Templates
    ) -> None:
        self._store = store
        self._people = people
        self._stores = stores
        self._templates = templates

    async def get(self, caller: Principal, notification_id: str) -> Notification:
        """Return a notification in the caller's scope. Raises NotFound."""
        found = None
        if is_id(notification_id):
            found = await self._store.find(
                caller.tenant, NotificationId(notification_id), operators=sees_operators(caller)
            )
        if found is None:
            raise _not_there()
        return found

    async def preview(self, caller: Principal, notification_id: str) -> Worded:
        """Return the words that a notification would be sent with now, without its link.

        Raises NotFound, Unavailable.
        """
        notification = await self.get(caller, notification_id)
        store = await self._stores.find(caller.tenant)
        if store is None:
            raise _not_there()
        recipient = await self._people.recipient(caller.tenant, notification.user_id)
        link = NO_LINK if notification.template in LINKS else None
        return await self._templates.word(letter(notification, store, recipient, link))

    async def resend(
        self, caller: Principal, notification_id: str, *, at: datetime, by: ByCall
    ) -> Notification:
        """Have a notification sent again. Raises NotFound, OnItsWay."""
        if not is_id(notification_id):
            raise _not_there()
        return await self._store.change(
            caller.tenant,
            NotificationId(notification_id),
            lambda found: found.again(at=at),
            operators=sees_operators(caller),
            by=by,
        )


def sees_operators(caller: Principal) -> bool:
    """Say whether mails to operators are in the caller's scope: they stand above a store's staff."""
    return caller.role is Role.OPERATOR


def _not_there() -> NotFound:
    return NotFound("There is no such notification.")
