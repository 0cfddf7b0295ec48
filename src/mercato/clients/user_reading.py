"""contracts.user_reading.UserReader over HTTP."""

from collections.abc import Sequence

from mercato.clients.internal import PREFIX, Internal
from mercato.clients.neighbour import Neighbour
from mercato.clients.reading import AskedFor, AskMany, caller_of, reader, told
from mercato.contracts.reading import Listed
from mercato.contracts.user_reading import User, UserReader, UsersWanted
from mercato.kernel.ids import UserId
from mercato.kernel.paging import Window
from mercato.kernel.principal import Principal
from mercato.web.call import Call

_PAGE, _MANY = "/read/users/page", "/read/users/many"


class AskUsers(AskedFor, frozen=True, kw_only=True):
    """Which part of which list is asked for."""

    wanted: UsersWanted
    window: Window


class UserReaderClient:
    """See contracts.user_reading.UserReader."""

    def __init__(self, users: Neighbour) -> None:
        self._users = users

    async def page(self, caller: Principal, wanted: UsersWanted, window: Window) -> Listed[User]:
        """Return a part of the store's users, newest first."""
        asked = AskUsers(reader=reader(caller), wanted=wanted, window=window)
        return await self._users.ask(
            PREFIX + _PAGE, asked, Listed[User], tenant=caller.tenant, repeatable=True
        )

    async def many(self, caller: Principal, user_ids: Sequence[str]) -> dict[UserId, User]:
        """Return those of the users that the caller may see."""
        asked = AskMany(reader=reader(caller), ids=told(user_ids))
        found = await self._users.ask(
            PREFIX + _MANY, asked, list[User], tenant=caller.tenant, repeatable=True
        )
        return {user.id: user for user in found}


def serve_user_reading(internal: Internal, users: UserReader) -> None:
    """Declare what UserReaderClient calls."""

    async def page(call: Call, body: AskUsers) -> Listed[User]:
        """Read a part of a list."""
        return await users.page(caller_of(call, body), body.wanted, body.window)

    async def many(call: Call, body: AskMany) -> list[User]:
        """Read users."""
        return list((await users.many(caller_of(call, body), body.ids)).values())

    internal.on(_PAGE, page)
    internal.on(_MANY, many)
