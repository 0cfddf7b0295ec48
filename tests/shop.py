"""A small application of declared endpoints, with every collaborator of the shell in memory."""

import asyncio
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Annotated

import msgspec
from prometheus_client import CollectorRegistry

from mercato.kernel.errors import Conflict, NotFound, Unauthenticated
from mercato.kernel.ids import UserId
from mercato.kernel.money import Amount, to_decimal, to_minor
from mercato.kernel.principal import Principal, Role
from mercato.kernel.tenancy import TenantId
from mercato.kernel.tracing import UNTRACED, Tracing
from mercato.web.access_log import AccessLog
from mercato.web.admission import Admission
from mercato.web.asgi import AsgiApp
from mercato.web.call import Call
from mercato.web.cors import Cors
from mercato.web.decode import Body
from mercato.web.endpoint import ADMINS, OPERATOR, PUBLIC, SIGNED_IN, Routes
from mercato.web.envelope import Encoded, Page, Reply
from mercato.web.metrics import RequestMetrics
from mercato.web.paging import ListQuery, page_meta, window
from mercato.web.shell import Shell
from tests.clock import FakeClock
from tests.shells import open_shell, stores_there

CAUSE = "the cause of the failure, with a password in it"
HASH_SECRET = b"secret"


class NewItem(Body, frozen=True, kw_only=True):
    """What an item is made of."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=20)]
    price: Amount
    tags: tuple[str, ...] = ()


class ItemView(msgspec.Struct, frozen=True):
    """An item."""

    id: str
    name: str
    price: Decimal
    owner: str


class ItemTaken(Conflict):
    """Somebody was faster."""

    code = "ITEM_TAKEN"


PEOPLE = {
    "ann": Principal(UserId("user-ann"), "ann@example.com", Role.CUSTOMER, TenantId("default")),
    "adam": Principal(UserId("user-adam"), "adam@example.com", Role.ADMIN, TenantId("default")),
    "olga": Principal(UserId("user-olga"), "olga@example.com", Role.OPERATOR, TenantId("default")),
    "bea": Principal(UserId("user-ann"), "ann@example.com", Role.CUSTOMER, TenantId("other")),
}
"""By their tokens. One user id in two stores, as a store apart might have it."""


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


class TokenBook:
    async def authenticate(self, token: str) -> Principal:
        try:
            return PEOPLE[token]
        except KeyError:
            raise Unauthenticated("The token is not valid.") from None


def item_routes() -> Routes:
    """Endpoints that answer in every way a handler can."""
    routes = Routes("items", prefix="/items")

    @routes.get("", allow=PUBLIC)
    async def list_items(call: Call, query: ListQuery) -> Page[ItemView]:
        """List items."""
        return Page([], page_meta(window(query), None, 0, has_more=False))

    @routes.post("", status=201, allow=ADMINS, raises=(ItemTaken,))
    async def make_item(call: Call, body: NewItem) -> ItemView:
        """Make an item.

        The name may be taken.
        """
        if body.name == "taken":
            raise ItemTaken("Somebody was faster.")
        price = to_decimal(to_minor(body.price, "USD", field="price"), "USD")
        return ItemView("1", body.name, price, call.principal.user_id)

    @routes.get("/{item_id}", allow=SIGNED_IN)
    async def show_item(call: Call, item_id: str) -> Reply[ItemView]:
        """Show an item."""
        if item_id == "none":
            raise NotFound("There is no such item.")
        view = ItemView(item_id, call.tenant, Decimal("19.90"), call.principal.user_id)
        return Reply(view, headers=(("etag", '"1"'),))

    @routes.get("/{item_id}/cached", allow=PUBLIC)
    async def show_cached_item(call: Call, item_id: str) -> Encoded[ItemView]:
        """Show an item as it is kept."""
        return Encoded(b'{"id":"kept"}', headers=(("x-cache", "HIT"),))

    @routes.delete("/{item_id}", allow=OPERATOR)
    async def delete_item(call: Call, item_id: str) -> None:
        """Delete an item."""

    @routes.post("/{item_id}/touch", allow=SIGNED_IN, max_body=10)
    async def touch_item(call: Call, item_id: str) -> None:
        """Touch an item, which takes no body."""

    return routes


def fault_routes() -> Routes:
    """Endpoints that fail."""
    routes = Routes("faults", prefix="/faults")

    @routes.get("/crash", allow=PUBLIC)
    async def crash(call: Call) -> None:
        """Fail with a defect."""
        raise RuntimeError(CAUSE)

    @routes.get("/hang", allow=PUBLIC)
    async def hang(call: Call) -> None:
        """Never answer."""
        await asyncio.Event().wait()

    return routes


@dataclass
class Shop:
    """The application, and what it wrote."""

    app: AsgiApp
    shell: Shell
    clock: FakeClock
    registry: CollectorRegistry
    log: list[bytes] = field(default_factory=list)

    @property
    def lines(self) -> list[dict[str, object]]:
        self.shell.flush()
        return [msgspec.json.decode(line) for line in b"".join(self.log).splitlines()]


def open_shop(
    *routes: Routes,
    origins: tuple[str, ...] = (),
    clock: FakeClock | None = None,
    deadline_s: float = 30,
    admission: Admission | None = None,
    traces: Tracing = UNTRACED,
) -> Shop:
    clock = clock or FakeClock()
    log: list[bytes] = []
    registry = CollectorRegistry()
    served = routes or (item_routes(), fault_routes())
    shell = open_shell(
        [endpoint for each in served for endpoint in each.endpoints],
        authenticator=TokenBook(),
        find_store=stores_there("default", "other"),
        clock=clock,
        cors=Cors(origins),
        access_log=AccessLog(log.append),
        metrics=RequestMetrics(registry),
        hash_secret=HASH_SECRET,
        deadline_s=deadline_s,
        admission=admission,
        traces=traces,
    )
    return Shop(AsgiApp(shell), shell, clock, registry, log)
