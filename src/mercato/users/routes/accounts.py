"""Accounts over HTTP."""

from typing import Annotated

import msgspec

from mercato.kernel.errors import Forbidden, NotFound, Unauthenticated, Unavailable
from mercato.kernel.ids import UserId, is_id
from mercato.users.domain import MAX_EMAIL, MAX_PASSWORD, DuplicateEmail, NewUser
from mercato.users.routes.secret import secret
from mercato.users.service.users import Users
from mercato.users.views import SignedInView, UserView, signed_in_view, user_view
from mercato.web.call import Call
from mercato.web.decode import Body
from mercato.web.endpoint import PUBLIC, SIGNED_IN, Routes
from mercato.web.envelope import Reply


class Register(Body, NewUser, frozen=True):
    """Who wants an account."""


class Login(Body, frozen=True):
    """Email and password."""

    email: Annotated[str, msgspec.Meta(max_length=MAX_EMAIL)]
    password: Annotated[str, msgspec.Meta(max_length=MAX_PASSWORD)]


def accounts(api: Routes, users: Users) -> None:
    """Declare the endpoints."""

    @api.post(
        "/api/v1/users/register",
        status=201,
        allow=PUBLIC,
        idempotent=True,
        reissues=True,
        raises=(DuplicateEmail, Forbidden, Unavailable),
    )
    async def register(call: Call, body: Register) -> Reply[SignedInView]:
        """Register as a customer of the store."""
        if call.replayed:
            return await _login(call, body.email, body.password)
        signed_in = await users.register(
            call.tenant, body, UserId(call.new_id()), at=call.now, by=call.cause(user_view)
        )
        return secret(signed_in_view(signed_in))

    @api.post("/api/v1/users/login", allow=PUBLIC, raises=(Unauthenticated, Forbidden, Unavailable))
    async def login(call: Call, body: Login) -> Reply[SignedInView]:
        """Sign in with email and password."""
        return await _login(call, body.email, body.password)

    async def _login(call: Call, email: str, password: str) -> Reply[SignedInView]:
        signed_in = await users.login(call.tenant, email, password, at=call.now, by=call.part())
        return secret(signed_in_view(signed_in))

    @api.get("/api/v1/users/me", allow=SIGNED_IN, raises=(NotFound,))
    async def me(call: Call) -> UserView:
        """Return the caller's own account."""
        return user_view(await users.me(call.principal))

    @api.get("/api/v1/users/{user_id}", allow=SIGNED_IN, raises=(NotFound,))
    async def user(call: Call, user_id: str) -> UserView:
        """Return a user: oneself, or any of the store to its staff."""
        if not is_id(user_id):
            raise NotFound("There is no such user.")
        return user_view(await users.user(call.principal, UserId(user_id)))
