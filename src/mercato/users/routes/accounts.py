"""Accounts over HTTP."""

from functools import partial
from typing import Annotated

import msgspec

from mercato.kernel.cause import ByCall
from mercato.kernel.errors import Forbidden, NotFound, Unauthenticated, Unavailable
from mercato.kernel.ids import UserId, is_id
from mercato.kernel.principal import ANYONE, STAFF, Role
from mercato.kernel.versions import VersionMismatch
from mercato.users.domain import (
    MAX_EMAIL,
    MAX_PASSWORD,
    DuplicateEmail,
    LastAdmin,
    NewAccount,
    NewUser,
    User,
    UserChange,
    home,
)
from mercato.users.ports import UserFilter
from mercato.users.routes.secret import secret
from mercato.users.service.users import Users
from mercato.users.views import SignedInView, UserView, signed_in_view, user_view
from mercato.web.call import Call
from mercato.web.decode import Body
from mercato.web.endpoint import ADMINS, NOBODY, PUBLIC, SIGNED_IN, Routes
from mercato.web.envelope import Page, Reply
from mercato.web.limits import RateLimited
from mercato.web.paging import ListQuery, newest_first

_EXAMPLE = {
    "email": "ada@example.com",
    "password": "correct horse",
    "first_name": "Ada",
    "last_name": "Lovelace",
}


class Register(Body, NewUser, frozen=True):
    """Who wants an account."""


class Login(Body, frozen=True):
    """Email and password."""

    email: Annotated[str, msgspec.Meta(max_length=MAX_EMAIL)]
    password: Annotated[str, msgspec.Meta(max_length=MAX_PASSWORD)]


class CreateUser(Body, NewAccount, frozen=True):
    """Who is given an account, and in which role."""


class ChangeUser(Body, UserChange, frozen=True):
    """What is to change of a user; what is left out stays. At least one field is needed."""


class UserQuery(ListQuery, frozen=True):
    """Which users to list. `search` finds those that have all its words in email and names."""

    search: Annotated[str, msgspec.Meta(max_length=200)] | None = None
    active: bool | None = None
    role: Role | None = None


def accounts(api: Routes, users: Users) -> None:
    """Declare the endpoints."""

    @api.post(
        "/api/v1/users/register",
        status=201,
        allow=PUBLIC,
        idempotent=True,
        reissues=True,
        raises=(DuplicateEmail, Forbidden, RateLimited, Unavailable),
        example=_EXAMPLE,
    )
    async def register(call: Call, body: Register) -> Reply[SignedInView]:
        """Register as a customer of the store."""
        if call.replayed:
            return await _login(call, body.email, body.password)
        signed_in = await users.register(
            call.tenant, body, UserId(call.new_id()), at=call.now, by=call.cause(user_view)
        )
        return secret(signed_in_view(signed_in))

    @api.post(
        "/api/v1/users/login",
        allow=PUBLIC,
        audited=NOBODY,
        raises=(Unauthenticated, Forbidden, RateLimited, Unavailable),
        example={"email": _EXAMPLE["email"], "password": _EXAMPLE["password"]},
    )
    async def login(call: Call, body: Login) -> Reply[SignedInView]:
        """Sign in with email and password. Too many wrong pairs make an account and an address wait."""
        return await _login(call, body.email, body.password)

    async def _login(call: Call, email: str, password: str) -> Reply[SignedInView]:
        signed_in = await users.login(
            call.tenant, email, password, address=call.client, at=call.now, by=partial(signing_in, call)
        )
        return secret(signed_in_view(signed_in))

    @api.get("/api/v1/users/me", allow=SIGNED_IN, raises=(NotFound,))
    async def me(call: Call) -> Reply[UserView]:
        """Return the caller's own account."""
        view = user_view(await users.me(call.principal))
        return Reply(view, variant=view.id)

    _of_staff(api, users)
    _of_one(api, users)


def _of_staff(api: Routes, users: Users) -> None:
    """Declare what staff does with accounts."""

    @api.post(
        "/api/v1/users",
        status=201,
        allow=ADMINS,
        idempotent=True,
        raises=(DuplicateEmail, Forbidden, Unavailable),
        example={**_EXAMPLE, "email": "grace@example.com", "role": "customer"},
    )
    async def create(call: Call, body: CreateUser) -> UserView:
        """Give somebody an account. An admin makes customers and admins, an operator operators too.

        Without a `password` it is an invitation: a link is sent by which they set it, and until then they
        cannot sign in. The link holds for 7 days.
        """
        made = await users.create(
            call.principal, body, UserId(call.new_id()), at=call.now, by=call.cause(user_view)
        )
        return user_view(made)

    @api.get("/api/v1/users", allow=ADMINS)
    async def list_users(call: Call, query: UserQuery) -> Page[UserView]:
        """List the store's users, newest first."""
        caller = call.principal
        wanted = UserFilter(
            operators=caller.role is Role.OPERATOR,
            search=query.search,
            active=query.active,
            role=query.role,
        )
        return await newest_first(
            query,
            lambda part: users.search(caller, wanted, part),
            lambda: users.count(caller, wanted),
            user_view,
        )


def _of_one(api: Routes, users: Users) -> None:
    """Declare what staff does with one account, and everybody with their own."""

    @api.get("/api/v1/users/{user_id}", allow=SIGNED_IN, raises=(NotFound,))
    async def user(call: Call, user_id: str) -> UserView:
        """Return a user: oneself, or any of the store to its staff."""
        return user_view(await users.user(call.principal, _named(user_id)))

    @api.put(
        "/api/v1/users/{user_id}",
        allow=SIGNED_IN,
        versioned=True,
        audited=ANYONE,
        raises=(NotFound, Forbidden, DuplicateEmail, LastAdmin, VersionMismatch),
        example={"first_name": "Augusta", "last_name": "King"},
    )
    async def change(call: Call, user_id: str, body: ChangeUser) -> UserView:
        """Change a user: oneself but for role and standing, or any of the store by its staff."""
        _about(call, user_id)
        changed = await users.change(
            call.principal,
            _named(user_id),
            body,
            expected=call.expected,
            at=call.now,
            by=call.cause(user_view),
        )
        return user_view(changed)

    @api.delete(
        "/api/v1/users/{user_id}",
        allow=SIGNED_IN,
        versioned=True,
        audited=ANYONE,
        raises=(NotFound, Forbidden, LastAdmin, VersionMismatch),
    )
    async def delete(call: Call, user_id: str) -> None:
        """Delete a user: oneself, or any of the store by its staff. Tokens end, the email is free at once."""
        _about(call, user_id)
        await users.delete(
            call.principal, _named(user_id), expected=call.expected, at=call.now, by=call.part()
        )


def signing_in(call: Call, user: User) -> ByCall:
    """Return the cause of a sign-in. That of staff is told in the audit log."""
    if user.role in STAFF and not call.replayed:
        call.answered_by(user.id, user.role, user.tenant_id, "users_login")
    return call.part()


def _about(call: Call, user_id: str) -> None:
    """Say in which store the user is: an operator's own account is in none that they name."""
    if user_id == call.principal.user_id:
        call.about("user", user_id, tenant=home(call.principal))


def _named(user_id: str) -> UserId:
    """Return a user's id. Raises NotFound for what cannot be one."""
    if not is_id(user_id):
        raise NotFound("There is no such user.")
    return UserId(user_id)
