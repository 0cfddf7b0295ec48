"""Users, as other services see them."""

from mercato.contracts.events import Payload
from mercato.kernel.ids import UserId
from mercato.kernel.principal import Role


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


class UserUpdated(UserEvent, frozen=True, kw_only=True):
    """A user's names, role or standing changed."""

    type = "user.updated"


class UserDeleted(UserEvent, frozen=True, kw_only=True):
    """A user is gone; the email is free again."""

    type = "user.deleted"
