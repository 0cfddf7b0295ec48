# Made by `make client` from the OpenAPI document; edits are lost.
"""Accounts, and signing in."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Literal

from msgspec import UNSET, UnsetType

from mercato_client.answers import Answer, Listed, Page, each_of
from mercato_client.models.shared import OrderStatus, OrderView, Register, Role, UserView
from mercato_client.models.users import (
    AcceptInvitation,
    ChangePassword,
    ChangeUser,
    CreateUser,
    Forgot,
    Login,
    Refresh,
    Reset,
    SignedInView,
    Verify,
)
from mercato_client.transport import Request, Transport, decode, encode, new_key, path_of


class Users:
    """Accounts, and signing in."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def register(
        self,
        *,
        email: str,
        first_name: str,
        last_name: str,
        password: str,
        idempotency_key: str | None = None,
    ) -> SignedInView:
        """Register as a customer of the store.

        Needs no token.
        """
        request = Request(
            "POST",
            "/api/v1/users/register",
            content=encode(
                Register(email=email, first_name=first_name, last_name=last_name, password=password)
            ),
            key=idempotency_key or new_key(),
        )
        return decode(await self._transport.send(request), Answer[SignedInView]).data

    async def login(self, *, email: str, password: str) -> SignedInView:
        """Sign in with email and password. Too many wrong pairs make an account and an address wait.

        Needs no token.
        """
        request = Request(
            "POST", "/api/v1/users/login", content=encode(Login(email=email, password=password))
        )
        return decode(await self._transport.send(request), Answer[SignedInView]).data

    async def me(self) -> UserView:
        """Return the caller's own account.

        For everybody who is signed in.
        """
        request = Request("GET", "/api/v1/users/me")
        return decode(await self._transport.send(request), Answer[UserView]).data

    async def create(
        self,
        *,
        email: str,
        first_name: str,
        last_name: str,
        password: str | UnsetType | None = UNSET,
        role: Literal["admin", "customer", "operator"] | UnsetType = UNSET,
        is_active: bool | UnsetType = UNSET,
        idempotency_key: str | None = None,
    ) -> UserView:
        """Give somebody an account. An admin makes customers and admins, an operator operators too.

        Without a `password` it is an invitation: a link is sent by which they set it, and until then they
        cannot sign in. The link holds for 7 days.

        For the roles admin, operator, service.
        """
        request = Request(
            "POST",
            "/api/v1/users",
            content=encode(
                CreateUser(
                    email=email,
                    first_name=first_name,
                    last_name=last_name,
                    password=password,
                    role=role,
                    is_active=is_active,
                )
            ),
            key=idempotency_key or new_key(),
        )
        return decode(await self._transport.send(request), Answer[UserView]).data

    async def list(
        self,
        *,
        search: str | None = None,
        active: bool | None = None,
        role: Role | None = None,
        page: int | None = None,
        page_size: int | None = None,
        limit: int | None = None,
        offset: int | None = None,
        after: str | None = None,
        count: bool | None = None,
    ) -> Page[UserView]:
        """List the store's users, newest first.

        For the roles admin, operator, service.
        """
        request = Request(
            "GET",
            "/api/v1/users",
            query={
                "search": search,
                "active": active,
                "role": role,
                "page": page,
                "page_size": page_size,
                "limit": limit,
                "offset": offset,
                "after": after,
                "count": count,
            },
        )
        listed = decode(await self._transport.send(request), Listed[UserView])
        return Page(listed.data, listed.meta)

    def iterate(
        self,
        *,
        search: str | None = None,
        active: bool | None = None,
        role: Role | None = None,
        limit: int = 100,
    ) -> AsyncIterator[UserView]:
        """Go through the whole list, which is fetched page by page."""
        return each_of(
            lambda after: self.list(
                search=search, active=active, role=role, limit=limit, after=after, count=False
            )
        )

    async def get(self, user_id: str) -> UserView:
        """Return a user: oneself, or any of the store to its staff.

        For everybody who is signed in.
        """
        request = Request("GET", path_of("/api/v1/users/{user_id}", user_id=user_id))
        return decode(await self._transport.send(request), Answer[UserView]).data

    async def change(
        self,
        user_id: str,
        *,
        email: str | UnsetType | None = UNSET,
        first_name: str | UnsetType | None = UNSET,
        last_name: str | UnsetType | None = UNSET,
        role: Literal["admin", "customer", "operator"] | UnsetType | None = UNSET,
        is_active: bool | UnsetType | None = UNSET,
        version: int | None = None,
    ) -> UserView:
        """Change a user: oneself but for role and standing, or any of the store by its staff.

        For everybody who is signed in.
        """
        request = Request(
            "PUT",
            path_of("/api/v1/users/{user_id}", user_id=user_id),
            content=encode(
                ChangeUser(
                    email=email, first_name=first_name, last_name=last_name, role=role, is_active=is_active
                )
            ),
            version=version,
        )
        return decode(await self._transport.send(request), Answer[UserView]).data

    async def delete(self, user_id: str, *, version: int | None = None) -> None:
        """Delete a user: oneself, or any of the store by its staff. Tokens end, the email is free at once.

        For everybody who is signed in.
        """
        request = Request("DELETE", path_of("/api/v1/users/{user_id}", user_id=user_id), version=version)
        await self._transport.send(request)

    async def refresh(self, *, refresh_token: str) -> SignedInView:
        """Replace a refresh token, and get an access token with it. One that was used ends the session.

        Needs no token.
        """
        request = Request(
            "POST", "/api/v1/users/token/refresh", content=encode(Refresh(refresh_token=refresh_token))
        )
        return decode(await self._transport.send(request), Answer[SignedInView]).data

    async def logout(self, *, refresh_token: str) -> None:
        """End the session of a refresh token, whether it is one or not.

        Needs no token.
        """
        request = Request(
            "POST", "/api/v1/users/logout", content=encode(Refresh(refresh_token=refresh_token))
        )
        await self._transport.send(request)

    async def change_password(self, *, current_password: str, new_password: str) -> SignedInView:
        """Change one's password. Every other session ends, and earlier tokens are void at once.

        For the roles admin, customer, operator.
        """
        request = Request(
            "POST",
            "/api/v1/users/me/password",
            content=encode(ChangePassword(current_password=current_password, new_password=new_password)),
        )
        return decode(await self._transport.send(request), Answer[SignedInView]).data

    async def forgot(self, *, email: str) -> None:
        """Send a link to reset the password, if there is such an account: the answer does not tell.

        Needs no token.
        """
        request = Request("POST", "/api/v1/users/password/forgot", content=encode(Forgot(email=email)))
        await self._transport.send(request)

    async def reset(self, *, token: str, new_password: str) -> None:
        """Set a new password by a link. Every session ends, and earlier tokens are void at once.

        Needs no token.
        """
        request = Request(
            "POST",
            "/api/v1/users/password/reset",
            content=encode(Reset(token=token, new_password=new_password)),
        )
        await self._transport.send(request)

    async def accept_invitation(self, *, token: str, new_password: str) -> None:
        """Accept an invitation by its link: set the first password. The email is verified by that.

        Needs no token.
        """
        request = Request(
            "POST",
            "/api/v1/users/invitation/accept",
            content=encode(AcceptInvitation(token=token, new_password=new_password)),
        )
        await self._transport.send(request)

    async def send_verification(self) -> None:
        """Send the link again that verifies one's email, unless it is verified.

        For the roles admin, customer, operator.
        """
        request = Request("POST", "/api/v1/users/me/email/verification")
        await self._transport.send(request)

    async def verify(self, *, token: str) -> UserView:
        """Verify an email by a link.

        Needs no token.
        """
        request = Request("POST", "/api/v1/users/email/verify", content=encode(Verify(token=token)))
        return decode(await self._transport.send(request), Answer[UserView]).data

    async def orders(
        self,
        user_id: str,
        *,
        page: int | None = None,
        page_size: int | None = None,
        limit: int | None = None,
        offset: int | None = None,
        after: str | None = None,
        count: bool | None = None,
        from_: datetime | None = None,
        to: datetime | None = None,
        status: OrderStatus | None = None,
    ) -> Page[OrderView]:
        """List a user's orders, newest first: one's own, or any user's for the store's staff.

        For everybody who is signed in.
        """
        request = Request(
            "GET",
            path_of("/api/v1/users/{user_id}/orders", user_id=user_id),
            query={
                "page": page,
                "page_size": page_size,
                "limit": limit,
                "offset": offset,
                "after": after,
                "count": count,
                "from": from_,
                "to": to,
                "status": status,
            },
        )
        listed = decode(await self._transport.send(request), Listed[OrderView])
        return Page(listed.data, listed.meta)

    def iterate_orders(
        self,
        user_id: str,
        *,
        from_: datetime | None = None,
        to: datetime | None = None,
        status: OrderStatus | None = None,
        limit: int = 100,
    ) -> AsyncIterator[OrderView]:
        """Go through the whole list, which is fetched page by page."""
        return each_of(
            lambda after: self.orders(
                user_id, from_=from_, to=to, status=status, limit=limit, after=after, count=False
            )
        )
