"""Users for clients of the AWS SaaS reference architecture: see docs/reference-clients.md."""

from typing import Annotated, Literal, get_args

import msgspec

from mercato.adapters.identity.tokens import COGNITO_ROLES
from mercato.kernel.errors import FieldError, Forbidden, NotFound, Unavailable, ValidationFailed
from mercato.kernel.ids import UserId
from mercato.kernel.principal import ANYONE, Role
from mercato.kernel.versions import VersionMismatch
from mercato.users.domain import (
    DuplicateEmail,
    Email,
    GivenRole,
    LastAdmin,
    Name,
    NewAccount,
    User,
    UserChange,
)
from mercato.users.ports import UserFilter
from mercato.users.service.users import Users
from mercato.users.views import FlatUser, flat_user
from mercato.web import dialect
from mercato.web.call import Call
from mercato.web.endpoint import ADMINS, SIGNED_IN, Routes
from mercato.web.envelope import Page, Reply
from mercato.web.etag import tag
from mercato.web.flat import FlatBody, FlatListQuery, fixed, local_id
from mercato.web.paging import newest_first

DIALECT = dialect.flat(
    {"first_name": "userName", "last_name": "userName", "role": "userRole", "is_active": "enabled"}
)

_Role = Literal["TenantUser", "TenantAdmin", "SystemAdmin"]
_ROLES: dict[_Role, GivenRole] = {
    "TenantUser": "customer",
    "TenantAdmin": "admin",
    "SystemAdmin": "operator",
}
if {COGNITO_ROLES[Role(given)]: given for given in get_args(GivenRole)} != _ROLES:
    raise TypeError("the roles of bodies are not those of tokens")

_Sent = Annotated[str, msgspec.Meta(max_length=500)]
"""What is sent back as it was read."""


class InviteUser(FlatBody, frozen=True):
    """Who is invited, by which name, and in which role."""

    user_name: Name
    user_email: Email
    user_role: _Role = "TenantUser"


class ChangeFlatUser(FlatBody, frozen=True):
    """A user as they are to be. What is left out stays; the rest may be sent back as it was read."""

    user_email: Email | None = None
    user_role: _Role | None = None
    enabled: bool | None = None
    user_name: _Sent | None = None
    username: _Sent | None = None
    email: _Sent | None = None
    status: _Sent | None = None
    created: _Sent | None = None
    modified: _Sent | None = None


def flat(declared: Routes, users: Users) -> None:
    """Declare the endpoints."""
    _of_staff(declared, users)
    _of_one(declared, users)


def _of_staff(declared: Routes, users: Users) -> None:
    @declared.post(
        "",
        status=201,
        allow=ADMINS,
        idempotent=True,
        raises=(DuplicateEmail, Forbidden, Unavailable),
        example={"userName": "ada", "userEmail": "ada@example.com", "userRole": "TenantUser"},
    )
    async def invite(call: Call, body: InviteUser) -> Reply[FlatUser]:
        """Invite somebody: they are sent a link by which they set a password."""
        first, _, last = body.user_name.strip().partition(" ")
        new = NewAccount(
            email=body.user_email, first_name=first, last_name=last.strip(), role=_ROLES[body.user_role]
        )
        made = await users.create(
            call.principal, new, UserId(call.new_id()), at=call.now, by=call.cause(flat_user)
        )
        return _shown(made)

    @declared.get("", allow=ADMINS)
    async def list_users(call: Call, query: FlatListQuery) -> Page[FlatUser]:
        """List the store's users, newest first."""
        caller = call.principal
        wanted = UserFilter(operators=caller.role is Role.OPERATOR)
        return await newest_first(
            query.listed,
            lambda part: users.search(caller, wanted, part),
            lambda: users.count(caller, wanted),
            flat_user,
        )


def _of_one(declared: Routes, users: Users) -> None:
    """Declare what staff does with one account, and everybody with their own. Users go by id or email."""

    @declared.get("/{username}", allow=SIGNED_IN, raises=(NotFound,))
    async def user(call: Call, username: str) -> Reply[FlatUser]:
        """Return a user: oneself, or any of the store to its staff."""
        return _shown(await users.named(call.principal, local_id(call, username)))

    @declared.put(
        "/{username}",
        allow=SIGNED_IN,
        audited=ANYONE,
        versioned=True,
        raises=(NotFound, Forbidden, DuplicateEmail, LastAdmin, VersionMismatch),
        example={"userEmail": "ada@example.com", "userRole": "TenantUser"},
    )
    async def change(call: Call, username: str, body: ChangeFlatUser) -> Reply[FlatUser]:
        """Change a user's email; and role and standing, which nobody does to themselves."""
        found = await users.named(call.principal, local_id(call, username))
        call.about("user", found.id)
        changed = await users.change(
            call.principal,
            found.id,
            _change(body, found),
            expected=call.expected,
            at=call.now,
            by=call.part(),
        )
        return _shown(changed)

    @declared.delete(
        "/{username}",
        allow=SIGNED_IN,
        audited=ANYONE,
        versioned=True,
        raises=(NotFound, Forbidden, LastAdmin, VersionMismatch),
    )
    async def delete(call: Call, username: str) -> None:
        """Delete a user: oneself, or any of the store by its staff. Tokens end, the email is free at once."""
        found = await users.named(call.principal, local_id(call, username))
        call.about("user", found.id)
        await users.delete(call.principal, found.id, expected=call.expected, at=call.now, by=call.part())


def _change(body: ChangeFlatUser, user: User) -> UserChange:
    """Return what is to change. Raises ValidationFailed for what cannot be, and for nothing at all."""
    names = (user.id, f"{user.tenant_id}:{user.id}", user.email)
    refused = fixed("username", body.username, *names)
    refused += fixed("userName", body.user_name, *names, user.full_name)
    refused += fixed("status", body.status, flat_user(user).status)
    if body.email not in {None, user.email, body.user_email}:
        refused.append(FieldError("email", "is changed by userEmail: leave it out, or send it as it was"))
    if body.user_email is None and body.user_role is None and body.enabled is None:
        refused.append(FieldError("body", "must have at least one of userEmail, userRole, enabled"))
    if refused:
        raise ValidationFailed.of(*refused)
    role = None if body.user_role is None else _ROLES[body.user_role]
    return UserChange(email=body.user_email, role=role, is_active=body.enabled)


def _shown(user: User) -> Reply[FlatUser]:
    return Reply(flat_user(user), headers=(("etag", tag(user.version)),))
