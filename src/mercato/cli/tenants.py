"""`mercato tenants`: stores, and the first logins."""

import sys
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

from mercato.cli.acts import act, noted
from mercato.cli.common import Refused, confirmed, existing, print_json, print_table, with_platform
from mercato.cli.options import DataOption, JsonFlag
from mercato.kernel.clock import utc_now
from mercato.kernel.ids import UserId, uuid7
from mercato.kernel.tenancy import TenantId, Tier

if TYPE_CHECKING:
    from mercato.runtime.embedded import Embedded
    from mercato.users.domain import NewUser, Tenant

tenants = App(name="tenants", help="List, change, close and purge stores, and make the first logins.")

_COLUMNS = ("id", "name", "currency", "tier", "status")

_Yes = Annotated[bool, Parameter(negative=(), help="Do not ask.")]
_Password = Annotated[
    str | None, Parameter(help="The password; asked for, or read from a pipe, if left out.")
]


@tenants.command(name="list")
def list_(*, data: DataOption = None, json: JsonFlag = False) -> None:
    """List the stores."""

    async def read(platform: "Embedded") -> list[tuple[str, str, str, str, str]]:
        stores = await platform.users.stores.list_stores()
        return [(each.id, each.name, each.currency, each.tier.value, each.status.value) for each in stores]

    rows = with_platform(data, read)
    if json:
        print_json([dict(zip(_COLUMNS, row, strict=True)) for row in rows])
        return
    print_table("Stores", _COLUMNS, rows)


@tenants.command
def show(tenant: str, /, *, data: DataOption = None, json: JsonFlag = False) -> None:
    """Show one store."""

    async def read(platform: "Embedded") -> "Tenant":
        return await platform.users.stores.store(TenantId(tenant))

    found = with_platform(data, read)
    if json:
        print_json(found)
        return
    columns = (*_COLUMNS, "since", "version")
    row = (found.id, found.name, found.currency, found.tier.value, found.status.value)
    print_table("Store", columns, [(*row, f"{found.created_at:%Y-%m-%d}", str(found.version))])


@tenants.command
def suspend(tenant: str, /, *, data: DataOption = None) -> None:
    """Let nobody but operators into a store. A running platform knows of it within a second."""
    _change("tenants_suspend", tenant, data, status="suspended")


@tenants.command
def activate(tenant: str, /, *, data: DataOption = None) -> None:
    """Let a suspended store trade again."""
    _change("tenants_activate", tenant, data, status="active")


@tenants.command
def set_tier(tenant: str, tier: Tier, /, *, data: DataOption = None) -> None:
    """Give a store another tier, and with it other limits."""
    _change("tenants_set_tier", tenant, data, tier=tier)


@tenants.command
def offboard(tenant: str, /, *, yes: _Yes = False, data: DataOption = None) -> None:
    """Close a store for good. Its data stays until it is purged."""
    if not yes and not confirmed(f"Close the store {tenant} for good?"):
        raise Refused("Nothing was closed; confirm with y, or with --yes.")

    async def work(platform: "Embedded") -> "Tenant":
        by = act("tenants_offboard", "tenant", tenant, TenantId(tenant))
        return await platform.users.stores.offboard(TenantId(tenant), at=utc_now(), by=by)

    closed = with_platform(data, work)
    print(f"The store {closed.id} is closed; mercato export --tenant {closed.id} tells what is kept of it.")


@tenants.command
def purge(tenant: str, /, *, yes: _Yes = False, data: DataOption = None, json: JsonFlag = False) -> None:
    """Delete all data of a closed store, for good. Nothing may run on the data folder meanwhile."""
    from mercato.runtime.folder import SCHEMAS, FolderLock  # noqa: PLC0415  commands import what they need
    from mercato.runtime.purge import purge as delete_all  # noqa: PLC0415

    if not yes and not confirmed(f"Delete all data of the store {tenant} for good?"):
        raise Refused("Nothing was deleted; confirm with y, or with --yes.")
    deleted: dict[str, int] = {}

    async def work(platform: "Embedded") -> int:
        note = noted("tenants_purge", "tenant", tenant)
        return await delete_all(platform, TenantId(tenant), deleted.__setitem__, note=note)

    lock = FolderLock(existing(data).folder, SCHEMAS)
    try:
        count = with_platform(data, work)
    finally:
        lock.release()
    if json:
        print_json({"tenant_id": tenant, "rows": count, "tables": {k: v for k, v in deleted.items() if v}})
        return
    print(
        f"{count} rows of the store {tenant} are deleted." if count else f"There is nothing of {tenant} here."
    )


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
        user_id = UserId(uuid7())
        by = act("tenants_create_operator", "user", user_id)
        return (await users.create_operator(new, user_id, at=now, by=by)).id

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
        store, user_id = TenantId(tenant), UserId(uuid7())
        by = act("tenants_create_admin", "user", user_id, store)
        return (await platform.users.service.create_admin(store, new, user_id, at=utc_now(), by=by)).id

    print(f"Admin {email} can sign in to the store {tenant}: user {with_platform(data, work)}.")


def _change(
    action: str,
    tenant: str,
    data: str | None,
    *,
    status: Literal["active", "suspended"] | None = None,
    tier: Tier | None = None,
) -> None:
    from mercato.users.domain import TenantChange  # noqa: PLC0415  commands import what they need

    async def work(platform: "Embedded") -> "Tenant":
        change = TenantChange(status=status, tier=tier)
        by = act(action, "tenant", tenant, TenantId(tenant))
        return await platform.users.stores.change(TenantId(tenant), change, at=utc_now(), by=by)

    changed = with_platform(data, work)
    print(f"The store {changed.id} is {changed.status}, its tier {changed.tier}.")


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
