"""Making one store of the demo: what is missing is made, what is there is left as it is."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Any

import msgspec

from mercato.cli.common import Refused
from mercato.cli.demo.api import Answer, Api
from mercato.cli.demo.orders import Desk, Seen
from mercato.cli.demo.plan import Person, PlannedProduct, PlannedStore
from mercato.kernel.money import to_decimal
from mercato.kernel.redaction import discreet

_AT_ONCE = 8
"""How much is done at the same time: a platform on a laptop is not to be kept from everything else."""
MACHINE = "Warehouse"
SCOPES = ("orders:read", "orders:write", "products:read", "products:write")

Told = Callable[[str, int, int], None]
"""Is told what is worked on, how much of it is done, and of how much."""

Work = Callable[[], Awaitable[object]]


class Machine(msgspec.Struct, frozen=True):
    """A machine's login. Its secret is told once, by the run that made it."""

    client_id: str
    client_secret: str | None

    __repr__ = discreet


class MadeStore(msgspec.Struct, frozen=True, kw_only=True):
    """A store that is there, and what this run has added to it."""

    plan: PlannedStore
    machine: Machine
    opened: bool
    new_products: int
    new_people: int
    new_orders: int
    left_out: list[str]
    products: int
    customers: int
    orders: dict[str, int]
    """By status."""
    payments: dict[str, int]
    """By status."""
    emails: int | None
    """How many have been written; None where the platform writes none."""


class StoreMaker:
    """Makes one store, as its first admin and its customers."""

    def __init__(self, api: Api, plan: PlannedStore, told: Told) -> None:
        self._api = api
        self._plan = plan
        self._told = told
        self._admin = ""
        self._tokens: dict[str, asyncio.Task[str]] = {}
        self._known: set[str] = set()

    async def make(self) -> MadeStore:
        """Make what is missing. Raises Refused."""
        opened = await self._open()
        new_products = await self._fill()
        new_people = await self._populate()
        desk = Desk(self._api, self._plan.id, self._plan.currency, admin=self._admin, sign_in=self._customer)
        await self._trade(desk)
        # Last of all: only who comes this far can tell its secret.
        machine = await self._machine()
        orders, payments = await self._every("orders"), await self._every("payments")
        users = await self._every("users")
        return MadeStore(
            plan=self._plan,
            machine=machine,
            opened=opened,
            new_products=new_products,
            new_people=new_people,
            new_orders=desk.made,
            left_out=desk.left_out,
            products=await self._count("products") or 0,
            customers=sum(each["role"] == "customer" for each in users),
            orders=_tally(orders),
            payments=_tally(payments),
            emails=await self._count("notifications"),
        )

    async def _open(self) -> bool:
        """Sign in to the store, opening it if it is not there; say whether it was opened."""
        first = self._plan.admins[0]
        signed_in = await self._login(first)
        if signed_in.status == 404:
            body = {
                "id": self._plan.id,
                "name": self._plan.name,
                "currency": self._plan.currency,
                "admin": _account(first),
            }
            opened = await self._api.call("POST", "/api/v1/tenants", body, store="default", once="store")
            if opened.status == 201:
                self._admin = str(opened.data["token"])
                return not opened.replayed
            if opened.status in {401, 403}:
                raise Refused(
                    "The store could not be opened: only operators open stores there"
                    " (MERCATO_ONBOARDING=operator), and the demo is no operator."
                )
            if opened.status != 409:
                raise Refused(f"The store could not be opened: {opened.message}")
            # Somebody opened it in this moment: perhaps another run.
            signed_in = await self._login(first)
        if signed_in.status != 200:
            raise Refused(
                f"There is a store {self._plan.id} that is not the demo's: {signed_in.message}"
                " With another --seed the demo's stores have other ids."
            )
        self._admin = str(signed_in.data["token"])
        return False

    async def _fill(self) -> int:
        """Import the products that are missing; return how many."""
        self._told("products", 0, len(self._plan.products))
        found = await self._api.lines("/api/v1/products/export", store=self._plan.id, token=self._admin)
        there = {each["sku"] for each in found}
        missing = [each for each in self._plan.products if each.sku not in there]
        if missing:
            lines = b"\n".join(_line(each, self._plan.currency) for each in missing)
            path = "/api/v1/products/import?existing=skip&on_error=abort"
            await self._api.need("POST", path, lines, store=self._plan.id, token=self._admin, once="products")
        self._told("products", len(self._plan.products), len(self._plan.products))
        return len(missing)

    async def _populate(self) -> int:
        """Make the logins that are missing; return how many."""
        self._known = {each["email"] for each in await self._every("users")}
        others = [each for each in self._plan.admins[1:] if each.email not in self._known]
        for person in others:
            body = _account(person) | {"role": "admin"}
            answer = await self._call("POST", "/users", body, token=self._admin, once="admin")
            if answer.status != 201 and answer.code != "DUPLICATE_EMAIL":
                raise Refused(f"{person.email} could not be made: {answer.message}")
        missing = [each for each in self._plan.customers if each.email not in self._known]
        await self._at_once("customers", [partial(self._customer, each) for each in missing])
        return len(others) + len(missing)

    async def _customer(self, person: Person) -> str:
        """Return a customer's token: by registering, or by signing in, and once for all who ask."""
        task = self._tokens.get(person.email)
        if task is None:
            task = asyncio.create_task(self._enter(person))
            self._tokens[person.email] = task
        return await task

    async def _enter(self, person: Person) -> str:
        if person.email not in self._known:
            answer = await self._call("POST", "/users/register", _account(person), once="customer")
            if answer.status == 201:
                return str(answer.data["token"])
            if answer.code != "DUPLICATE_EMAIL":
                raise Refused(f"{person.email} could not register: {answer.message}")
        answer = await self._login(person)
        if answer.status != 200:
            raise Refused(f"{person.email} cannot sign in to {self._plan.id}: {answer.message}")
        return str(answer.data["token"])

    async def _trade(self, desk: Desk) -> None:
        """Take every order to where it is to be."""
        orders = {each["name"]: each for each in await self._every("orders")}
        payments: dict[str, list[Seen]] = {}
        for each in reversed(await self._every("payments")):
            payments.setdefault(each["order_id"], []).append(each)
        work = []
        for wanted in self._plan.orders:
            order = orders.get(wanted.name)
            paid = [] if order is None else payments.get(order["id"], [])
            work.append(partial(desk.settle, wanted, order, paid))
        await self._at_once("orders", work)

    async def _machine(self) -> Machine:
        for each in await self._every("api-clients"):
            if each["name"] == MACHINE:
                return Machine(each["client_id"], None)
        body = {"name": MACHINE, "scopes": SCOPES}
        answer = await self._call("POST", "/api-clients", body, token=self._admin, once="machine")
        if answer.status != 201:
            raise Refused(f"The machine {MACHINE} could not be made: {answer.message}")
        return Machine(answer.data["client_id"], answer.data["client_secret"])

    async def _at_once(self, what: str, work: Sequence[Work]) -> None:
        """Do work, some of it at the same time, beginning in its order. The first failure ends it all."""
        room = asyncio.Semaphore(_AT_ONCE)
        done = 0

        async def one(each: Work) -> None:
            nonlocal done
            async with room:
                await each()
            done += 1
            self._told(what, done, len(work))

        try:
            async with asyncio.TaskGroup() as group:
                for each in work:
                    group.create_task(one(each))
        except* Refused as refusals:
            raise refusals.exceptions[0] from None

    async def _login(self, person: Person) -> Answer:
        body = {"email": person.email, "password": person.password}
        return await self._call("POST", "/users/login", body)

    async def _every(self, what: str) -> list[Seen]:
        return await self._api.every(f"/api/v1/{what}", store=self._plan.id, token=self._admin)

    async def _count(self, what: str) -> int | None:
        """Return how long a list is; None if the platform has none of that name."""
        answer = await self._call("GET", f"/{what}?limit=1", token=self._admin)
        return None if answer.status != 200 else int(answer.body["meta"]["total_count"])

    async def _call(self, method: str, path: str, body: object = None, **options: Any) -> Answer:  # noqa: ANN401
        return await self._api.call(method, f"/api/v1{path}", body, store=self._plan.id, **options)


def _account(person: Person) -> dict[str, str]:
    return {
        "email": person.email,
        "password": person.password,
        "first_name": person.first_name,
        "last_name": person.last_name,
    }


def _line(product: PlannedProduct, currency: str) -> bytes:
    return msgspec.json.encode(
        {
            "sku": product.sku,
            "name": product.name,
            "description": product.description,
            "category": product.category,
            "price": float(to_decimal(product.price, currency)),
            "stock": product.stock,
        }
    )


def _tally(found: Iterable[Seen]) -> dict[str, int]:
    """Count things by their status."""
    counts: dict[str, int] = {}
    for each in found:
        counts[each["status"]] = counts.get(each["status"], 0) + 1
    return dict(sorted(counts.items()))
