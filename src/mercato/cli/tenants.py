"""`mercato tenants`: stores, and the first logins."""

import sys
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

from mercato.cli.acts import act, noted
from mercato.cli.common import Refused, confirmed, existing, print_json, print_table, tell, with_platform
from mercato.cli.options import KEEPING, DataOption, JsonFlag, TenantArgument, YesFlag, examples
from mercato.cli.progress import progress
from mercato.kernel.clock import utc_now
from mercato.kernel.ids import UserId, uuid7
from mercato.kernel.tenancy import DEFAULT_TENANT, TenantId, Tier

if TYPE_CHECKING:
    from mercato.runtime.embedded import Embedded
    from mercato.users.domain import NewUser, Tenant

tenants = App(
    name="tenants",
    group=KEEPING,
    help="List, change, close and purge stores, and make the first logins.",
    help_epilogue=examples("tenants list", "tenants create-operator --email you@example.com"),
)

_COLUMNS = ("id", "name", "currency", "tier", "status")

_RECORDED_S = 5.0
"""How long it takes at most to record what came of a request, after its deadline and its provider's."""

_Email = Annotated[str, Parameter(help="What to sign in with.")]
_Tier = Annotated[Tier, Parameter(help="Which one.")]
_First = Annotated[str, Parameter(help="First name.")]
_Last = Annotated[str, Parameter(help="Last name.")]
_Password = Annotated[
    str | None, Parameter(help="The password; asked for, or read from a pipe, if left out.")
]


@tenants.command(name="list", help_epilogue=examples("tenants list --json"))
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


@tenants.command(help_epilogue=examples("tenants show tea-house"))
def show(tenant: TenantArgument, /, *, data: DataOption = None, json: JsonFlag = False) -> None:
    """Show one store."""

    async def read(platform: "Embedded") -> "Tenant":
        return await platform.users.stores.store(TenantId(tenant))

    found = with_platform(data, read)
    if json:
        print_json(found)
        return
    row = (found.id, found.name, found.currency, found.tier.value, found.status.value)
    facts = [*zip(_COLUMNS, row, strict=True), ("since", f"{found.created_at:%Y-%m-%d}")]
    print_table("Store", ("what", "value"), [*facts, ("version", str(found.version))])


@tenants.command(help_epilogue=examples("tenants suspend tea-house"))
def suspend(tenant: TenantArgument, /, *, data: DataOption = None, json: JsonFlag = False) -> None:
    """Let nobody but operators into a store. A running platform knows of it within a second."""
    _change("tenants_suspend", tenant, data, json=json, status="suspended")


@tenants.command(help_epilogue=examples("tenants activate tea-house"))
def activate(tenant: TenantArgument, /, *, data: DataOption = None, json: JsonFlag = False) -> None:
    """Let a suspended store trade again."""
    _change("tenants_activate", tenant, data, json=json, status="active")


@tenants.command(help_epilogue=examples("tenants set-tier tea-house premium"))
def set_tier(
    tenant: TenantArgument, tier: _Tier, /, *, data: DataOption = None, json: JsonFlag = False
) -> None:
    """Give a store another tier, and with it other limits."""
    _change("tenants_set_tier", tenant, data, json=json, tier=tier)


@tenants.command(help_epilogue=examples("tenants offboard tea-house --yes"))
def offboard(
    tenant: TenantArgument, /, *, yes: YesFlag = False, data: DataOption = None, json: JsonFlag = False
) -> None:
    """Close a store for good. Its data stays until it is purged."""
    if not yes and not confirmed(f"Close the store {tenant} for good?"):
        raise Refused("Nothing was closed; confirm with y, or with --yes.")

    async def work(platform: "Embedded") -> "Tenant":
        by = act("tenants_offboard", "tenant", tenant, TenantId(tenant))
        return await platform.users.stores.offboard(TenantId(tenant), at=utc_now(), by=by)

    closed = with_platform(data, work)
    kept = f"mercato export --tenant {closed.id} tells what is kept of it."
    tell(closed, f"The store {closed.id} is closed; {kept}", json=json)


@tenants.command(help_epilogue=examples("tenants purge tea-house --yes"))
def purge(
    tenant: TenantArgument, /, *, yes: YesFlag = False, data: DataOption = None, json: JsonFlag = False
) -> None:
    """Delete all data of a closed store, for good. On a data folder, nothing may run meanwhile.

    On PostgreSQL the platform goes on: it lets the store's last requests end and its events arrive first.
    """
    from mercato.runtime.folder import SCHEMAS, FolderLock  # noqa: PLC0415  commands import what they need
    from mercato.runtime.purge import purge as delete_all  # noqa: PLC0415

    if not yes and not confirmed(f"Delete all data of the store {tenant} for good?"):
        raise Refused("Nothing was deleted; confirm with y, or with --yes.")
    found = existing(data)
    ends_within = timedelta(seconds=found.request_deadline + found.provider_timeout + _RECORDED_S)

    async def work(platform: "Embedded") -> "Counter[str]":
        with progress() as told:
            note = noted("tenants_purge", "tenant", tenant)
            return await delete_all(platform, TenantId(tenant), told, note=note, ends_within=ends_within)

    lock = None if found.database_url else FolderLock(found.folder, SCHEMAS)
    try:
        tables = with_platform(data, work)
    finally:
        if lock is not None:
            lock.release()
    count = tables.total()
    some = f"{count} rows of the store {tenant} are deleted."
    sentence = some if count else f"There is nothing of {tenant} here."
    tell({"tenant_id": tenant, "rows": count, "tables": tables}, sentence, json=json)


@tenants.command(
    help_epilogue=examples(
        "tenants create-operator --email you@example.com",
        "tenants create-operator --email you@example.com < password.txt",
    )
)
def create_operator(
    *,
    email: _Email,
    password: _Password = None,
    first_name: _First = "Platform",
    last_name: _Last = "Operator",
    data: DataOption = None,
    json: JsonFlag = False,
) -> None:
    """Make a login for an operator of the platform."""
    new = _account(email, password, first_name, last_name)

    async def work(platform: "Embedded") -> str:
        users, now = platform.users.service, utc_now()
        await platform.users.stores.ensure_default_store(at=now)
        user_id = UserId(uuid7())
        by = act("tenants_create_operator", "user", user_id)
        return (await users.create_operator(new, user_id, at=now, by=by)).id

    _made("Operator", email, DEFAULT_TENANT, with_platform(data, work), json=json)


@tenants.command(help_epilogue=examples("tenants create-admin tea-house --email owner@tea.example"))
def create_admin(  # noqa: PLR0913  an argument for each option
    tenant: TenantArgument,
    /,
    *,
    email: _Email,
    password: _Password = None,
    first_name: _First = "Store",
    last_name: _Last = "Admin",
    data: DataOption = None,
    json: JsonFlag = False,
) -> None:
    """Make a login for an admin of a store."""
    new = _account(email, password, first_name, last_name)

    async def work(platform: "Embedded") -> str:
        store, user_id = TenantId(tenant), UserId(uuid7())
        by = act("tenants_create_admin", "user", user_id, store)
        return (await platform.users.service.create_admin(store, new, user_id, at=utc_now(), by=by)).id

    _made("Admin", email, tenant, with_platform(data, work), json=json)


def _change(
    action: str,
    tenant: str,
    data: str | None,
    *,
    json: bool,
    status: Literal["active", "suspended"] | None = None,
    tier: Tier | None = None,
) -> None:
    from mercato.users.domain import TenantChange  # noqa: PLC0415  commands import what they need

    async def work(platform: "Embedded") -> "Tenant":
        change = TenantChange(status=status, tier=tier)
        by = act(action, "tenant", tenant, TenantId(tenant))
        return await platform.users.stores.change(TenantId(tenant), change, at=utc_now(), by=by)

    changed = with_platform(data, work)
    tell(changed, f"The store {changed.id} is {changed.status}, its tier {changed.tier}.", json=json)


def _made(who: str, email: str, tenant: str, user: str, *, json: bool) -> None:
    made = {"id": user, "email": email, "role": who.lower(), "tenant_id": tenant}
    tell(made, f"{who} {email} can sign in to the store {tenant}: user {user}.", json=json)


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
