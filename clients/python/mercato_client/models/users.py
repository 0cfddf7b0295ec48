# Made by `make client` from the OpenAPI document; edits are lost.
"""What users send and answer."""

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from mercato_client.models.shared import UserView


class AcceptInvitation(msgspec.Struct, frozen=True, kw_only=True):
    """An invitation's token, and the first password."""

    token: str
    new_password: str


class ChangePassword(msgspec.Struct, frozen=True, kw_only=True):
    """The password as it is, and as it is to be."""

    current_password: str
    new_password: str


class ChangeUser(msgspec.Struct, frozen=True, kw_only=True):
    """What is to change of a user; what is left out stays. At least one field is needed."""

    email: str | UnsetType | None = UNSET
    first_name: str | UnsetType | None = UNSET
    last_name: str | UnsetType | None = UNSET
    role: Literal["admin", "customer", "operator"] | UnsetType | None = UNSET
    is_active: bool | UnsetType | None = UNSET


class CreateUser(msgspec.Struct, frozen=True, kw_only=True):
    """Who is given an account, and in which role."""

    email: str
    first_name: str
    last_name: str
    password: str | UnsetType | None = UNSET
    role: Literal["admin", "customer", "operator"] | UnsetType = UNSET
    is_active: bool | UnsetType = UNSET


class Forgot(msgspec.Struct, frozen=True, kw_only=True):
    """The email of an account."""

    email: str


class Login(msgspec.Struct, frozen=True, kw_only=True):
    """Email and password."""

    email: str
    password: str


class Refresh(msgspec.Struct, frozen=True, kw_only=True):
    """A session's refresh token."""

    refresh_token: str


class Reset(msgspec.Struct, frozen=True, kw_only=True):
    """A link's token, and the password that is to be."""

    token: str
    new_password: str


class SignedInView(msgspec.Struct, frozen=True, kw_only=True):
    """A user who has signed in. The token expires in `expires_in` seconds."""

    token: str
    refresh_token: str
    expires_in: int
    user: UserView


class Verify(msgspec.Struct, frozen=True, kw_only=True):
    """A link's token."""

    token: str
