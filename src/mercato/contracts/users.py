"""Users, as other services see them."""

from typing import Literal, Protocol

import msgspec

from mercato.contracts.events import Payload
from mercato.kernel.ids import UserId
from mercato.kernel.principal import Role
from mercato.kernel.tenancy import TenantId

LinkAction = Literal["reset-password", "verify-email", "accept-invitation"]
"""What a link that is mailed to a user lets them do."""


class Recipient(msgspec.Struct, frozen=True):
    """A user, as somebody who writes to them must know them."""

    user_id: UserId
    email: str
    first_name: str
    last_name: str
    role: Role
    is_active: bool


class People(Protocol):
    """Finds whom to write to."""

    async def recipient(self, tenant: TenantId, user_id: UserId) -> Recipient | None:
        """Return a user of the store, read fresh; None once they are deleted. Raises Unavailable."""
        ...

    async def link(self, tenant: TenantId, user_id: UserId, action: LinkAction) -> str | None:
        """Return a new link for a user: signed, for one use, and not for long. It is a secret.

        None where there is nothing to link to: the user is gone, disabled, or has done it already.
        Raises Unavailable.
        """
        ...


class UserEvent(Payload, frozen=True, kw_only=True):
    """What the events about a user carry."""

    user_id: UserId
    email: str
    first_name: str
    last_name: str
    role: Role
    is_active: bool

    @property
    def subject(self) -> str:
        """The user."""
        return self.user_id


class UserCreated(UserEvent, frozen=True, kw_only=True):
    """Somebody registered or was added by an admin."""

    type = "user.created"

    invited: bool = False
    """They have no password yet: a link by which they set one is mailed to them."""


class UserUpdated(UserEvent, frozen=True, kw_only=True):
    """A user's names, role or standing changed."""

    type = "user.updated"


class UserDeleted(UserEvent, frozen=True, kw_only=True):
    """A user is gone; the email is free again."""

    type = "user.deleted"


class LinkRequested(Payload, frozen=True, kw_only=True):
    """A link is to be mailed to a user. The link itself is a secret, made when it is sent: see People."""

    type = "user.link_requested"

    user_id: UserId
    action: LinkAction

    @property
    def subject(self) -> str:
        """The user."""
        return self.user_id
