"""`mercato tenants`: stores, and the first logins."""

import sys
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from mercato.cli.common import DataOption, JsonFlag, print_json, print_table, with_platform
from mercato.kernel.clock import utc_now
from mercato.kernel.tenancy import TenantId

if TYPE_CHECKING:
    from mercato.runtime.embedded import Embedded
    from mercato.users.domain import NewUser

tenants = App(name="tenants", help="List stores, and make the first logins.")

_Password = Annotated[
    str | None, Parameter(help="The password; asked for, or read from a pipe, if left out.")
]


@tenants.command(name="list")
def list_(*, data: DataOption = None, json: JsonFlag = False) -> None:
    """List the stores."""

    async def read(platform: "Embedded") -> list[tuple[str, str, str, str, str]]:
        stores = await platform.users.stores.list_stores()
        return [(each.id, each.name, each.currency, each.tier.value, each.status.value) for each in stores]

    columns = ("id", "name", "currency", "tier", "status")
    rows = with_platform(data, read)
    if json:
        print_json([dict(zip(columns, row, strict=True)) for row in rows])
        return
    print_table("Stores", columns, rows)


@tenants.command
def create_operator(
    *,
    email: str,
    password: _Password = None,
    first_name: str = "Platform",
    last_name: str = "Operator",
    data: DataOption = None,
) -> None:
    """Make a login for an operator of the platform."""
    new = _account(email, password, first_name, last_name)

    async def work(platform: "Embedded") -> str:
        users, now = platform.users.service, utc_now()
        await platform.users.stores.ensure_default_store(at=now)
        return (await users.create_operator(new, at=now)).id

    print(f"Operator {email} can sign in to the store default: user {with_platform(data, work)}.")


@tenants.command
def create_admin(
    tenant: str,
    /,
    *,
    email: str,
    password: _Password = None,
    first_name: str = "Store",
    last_name: str = "Admin",
    data: DataOption = None,
) -> None:
    """Make a login for an admin of a store."""
    new = _account(email, password, first_name, last_name)

    async def work(platform: "Embedded") -> str:
        return (await platform.users.service.create_admin(TenantId(tenant), new, at=utc_now())).id

    print(f"Admin {email} can sign in to the store {tenant}: user {with_platform(data, work)}.")


def _account(email: str, password: str | None, first_name: str, last_name: str) -> "NewUser":
    from mercato.users.domain import NewUser  # noqa: PLC0415  commands import what they need

    return NewUser(email=email, password=_secret(password), first_name=first_name, last_name=last_name)


def _secret(given: str | None) -> str:
    """Return the password: given, piped, or asked for without echo."""
    if given is not None:
        return given
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    from getpass import getpass  # noqa: PLC0415  only on a terminal

    return getpass("Password: ")
