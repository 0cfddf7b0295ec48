"""Sessions and passwords over HTTP."""

from typing import Annotated

import msgspec

from mercato.kernel.errors import Forbidden, Unauthenticated, Unavailable
from mercato.kernel.principal import ANYONE, PEOPLE
from mercato.users.domain import MAX_PASSWORD, Password, home
from mercato.users.routes.secret import secret
from mercato.users.service.credentials import Credentials
from mercato.users.service.users import Users
from mercato.users.views import SignedInView, signed_in_view
from mercato.web.call import Call
from mercato.web.decode import Body
from mercato.web.endpoint import NOBODY, PUBLIC, Routes
from mercato.web.envelope import Reply
from mercato.web.limits import RateLimited

_EXAMPLE = {"refresh_token": "mJ5Tqv9Hn3Yt1b0cQyTRk2mJw1uZr8aVd4fXo7sLe6g"}


class Refresh(Body, frozen=True):
    """A session's refresh token."""

    refresh_token: Annotated[str, msgspec.Meta(max_length=512)]


class ChangePassword(Body, frozen=True):
    """The password as it is, and as it is to be."""

    current_password: Annotated[str, msgspec.Meta(max_length=MAX_PASSWORD)]
    new_password: Password


def sessions(api: Routes, users: Users, credentials: Credentials) -> None:
    """Declare the endpoints."""

    @api.post(
        "/api/v1/users/token/refresh",
        allow=PUBLIC,
        audited=NOBODY,
        raises=(Unauthenticated, Forbidden),
        example=_EXAMPLE,
    )
    async def refresh(call: Call, body: Refresh) -> Reply[SignedInView]:
        """Replace a refresh token, and get an access token with it. One that was used ends the session."""
        signed_in = await users.refresh(call.tenant, body.refresh_token, at=call.now, by=call.part())
        return secret(signed_in_view(signed_in))

    @api.post("/api/v1/users/logout", status=204, allow=PUBLIC, audited=NOBODY, example=_EXAMPLE)
    async def logout(call: Call, body: Refresh) -> None:
        """End the session of a refresh token, whether it is one or not."""
        await users.logout(call.tenant, body.refresh_token, by=call.part())

    @api.post(
        "/api/v1/users/me/password",
        allow=PEOPLE,
        audited=ANYONE,
        raises=(Unauthenticated, Forbidden, RateLimited, Unavailable),
        example={"current_password": "correct horse", "new_password": "battery staple"},
    )
    async def change_password(call: Call, body: ChangePassword) -> Reply[SignedInView]:
        """Change one's password. Every other session ends, and earlier tokens are void at once."""
        caller = call.principal
        call.about("user", caller.user_id, tenant=home(caller))
        signed_in = await credentials.change_password(
            caller,
            body.current_password,
            body.new_password,
            address=call.client,
            at=call.now,
            by=call.part(),
        )
        return secret(signed_in_view(signed_in))
