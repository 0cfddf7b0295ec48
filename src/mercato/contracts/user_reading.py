"""Users, as whoever may read them sees them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from mercato.contracts.reading import Listed
from mercato.kernel.ids import UserId
from mercato.kernel.paging import Window
from mercato.kernel.principal import Principal, Role
from mercato.kernel.tenancy import TenantId
from mercato.kernel.text import full_name


class User(msgspec.Struct, frozen=True):
    """Somebody with an account in a store."""

    id: UserId
    tenant_id: TenantId
    email: str
    first_name: str
    last_name: str
    role: Role
    is_active: bool
    email_verified: bool
    created_at: datetime
    updated_at: datetime
    version: int

    @property
    def full_name(self) -> str:
        """Both names, or the one there is."""
        return full_name(self.first_name, self.last_name)


class UsersWanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which users a list holds; None leaves a criterion open."""

    search: str | None = None
    """Words that all have to be in email and names; a search without a word finds nobody."""
    active: bool | None = None
    role: Role | None = None


class UserReader(Protocol):
    """Reads users that were not deleted, fresh. The scope is `users:read`.

    Raises Forbidden, ValidationFailed for what is out of bounds, and Unavailable.
    """

    async def page(self, caller: Principal, wanted: UsersWanted, window: Window) -> Listed[User]:
        """Return a part of the store's users, newest first. It is Forbidden for customers."""
        ...

    async def many(self, caller: Principal, user_ids: Sequence[str]) -> dict[UserId, User]:
        """Return those of the users that the caller may see: themselves, or the store's for its staff.

        An operator's own account is there whichever store the call acts in.
        """
        ...
