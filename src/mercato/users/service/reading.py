"""Reading users, for whoever asks for them."""

from collections.abc import Sequence

from mercato.contracts.reading import Listed, check_window, listed, sought, told_by, wrong_cursor
from mercato.contracts.user_reading import User, UsersWanted
from mercato.kernel.acting import acting
from mercato.kernel.errors import ValidationFailed
from mercato.kernel.ids import UserId, is_id
from mercato.kernel.paging import Window
from mercato.kernel.principal import ANYONE, STAFF, Principal, Role
from mercato.kernel.rights import check_rights
from mercato.users.domain import home, is_visible
from mercato.users.ports import UserFilter, UserReads, UserStore

_SCOPE = "users:read"
MAX_SEARCH = 200


class UserReading:
    """See contracts.user_reading.UserReader."""

    def __init__(self, reads: UserReads, users: UserStore) -> None:
        self._reads = reads
        self._users = users

    async def page(self, caller: Principal, wanted: UsersWanted, window: Window) -> Listed[User]:
        """Return a part of the store's users, newest first."""
        check_rights(caller, STAFF, _SCOPE)
        check_window(window)
        if wanted.search is not None and len(wanted.search) > MAX_SEARCH:
            raise ValidationFailed.field("search", f"must have at most {MAX_SEARCH} characters")
        if window.after is not None and not is_id(window.after):
            raise wrong_cursor()
        which = UserFilter(
            operators=caller.role is Role.OPERATOR,
            search=wanted.search,
            active=wanted.active,
            role=wanted.role,
        )
        with acting(caller.tenant):
            found = await self._reads.page(caller.tenant, which, window)
            total = told_by(window, found)
            if window.counted and total is None:
                total = await self._users.count(caller.tenant, which)
        return listed(window, found, total, lambda each: each.id)

    async def many(self, caller: Principal, user_ids: Sequence[str]) -> dict[UserId, User]:
        """Return those of the users that the caller may see."""
        check_rights(caller, ANYONE, _SCOPE)
        ids = sought(user_ids)
        if not caller.is_staff:
            ids = [each for each in ids if each == caller.user_id]
        found: list[User] = []
        if home(caller) != caller.tenant and caller.user_id in ids:
            # Who acts in another store than their own is not looked for there.
            ids.remove(caller.user_id)
            with acting(home(caller)):
                found += await self._reads.many(home(caller), [caller.user_id])
        if ids:
            with acting(caller.tenant):
                found += await self._reads.many(caller.tenant, ids)
        return {each.id: each for each in found if is_visible(each, caller)}
