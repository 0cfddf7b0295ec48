"""Reading the books, also while a platform runs on them, and telling what was found."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable

import msgspec

from mercato.clients.books import ReadBooks
from mercato.runtime.embedded import Embedded
from mercato.runtime.reconcile.books import Books, in_flight
from mercato.runtime.reconcile.rules import Finding, examine

ATTEMPTS = 6
PAUSE_S = 0.5
_BOOKS = 4

Told = Callable[[str, int, int], None]
"""Is told what is worked on, how much of it is done, and of how much."""


def _nobody(_what: str, _done: int, _total: int) -> None:
    """Nobody watches."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a reconciliation found, over all stores. The books balance without differences."""

    stores: int
    orders: int
    payments: int
    charges: int
    products: int
    open: int
    """How many things are in flight: they are no difference, yet."""
    differences: list[Finding]

    @property
    def balanced(self) -> bool:
        """Whether everything adds up."""
        return not self.differences


Read = Callable[[], Awaitable[tuple[int, Books]]]
"""Reads all books once; returns how many stores there are, and the books. Raises Unavailable."""


async def reconcile(platform: Embedded, told: Told = _nobody) -> Report:
    """Read every store's books in the databases and compare them."""

    async def read_all() -> tuple[int, Books]:
        return len(await platform.users.stores.list_stores()), await read(platform, told)

    return await compare(read_all)


async def reconcile_services(services: Iterable[ReadBooks]) -> Report:
    """Ask running services for every store's books and compare them. Raises Unavailable."""

    async def read_all() -> tuple[int, Books]:
        told = [await each() for each in services]
        return sum(each.stores for each in told), Books(
            orders=[book for each in told for book in each.orders],
            holds=[book for each in told for book in each.holds],
            stock=[book for each in told for book in each.stock],
            payments=[book for each in told for book in each.payments],
            charges=[book for each in told for book in each.charges],
            in_flight=in_flight(key for each in told for key in each.keys_under_way),
        )

    return await compare(read_all)


async def compare(read_all: Read) -> Report:
    """Compare every store's books.

    The databases are read one after the other, so what moves meanwhile may look wrong: a
    difference counts only if every one of several readings shows it.
    """
    stores, books = await read_all()
    findings = examine(books)
    lasting = {finding for finding in findings if not finding.is_open}
    for _ in range(ATTEMPTS - 1):
        if not lasting:
            break
        await asyncio.sleep(PAUSE_S)
        stores, books = await read_all()
        findings = examine(books)
        lasting &= {finding for finding in findings if not finding.is_open}
    return Report(
        stores=stores,
        orders=len(books.orders),
        payments=len(books.payments),
        charges=len(books.charges),
        products=len(books.stock),
        open=sum(finding.is_open for finding in findings),
        differences=sorted(lasting, key=lambda finding: (finding.tenant_id, finding.subject)),
    )


async def read(platform: Embedded, told: Told = _nobody) -> Books:
    """Read all books once."""
    told("books", 0, _BOOKS)
    stock, holds = await platform.products.books()
    told("books", 1, _BOOKS)
    orders = await platform.orders.store.books()
    told("books", 2, _BOOKS)
    payments = await platform.payments.books()
    told("books", 3, _BOOKS)
    charges = await platform.payments.sandbox.book()
    told("books", _BOOKS, _BOOKS)
    return Books(
        orders=orders,
        holds=holds,
        stock=stock,
        payments=payments,
        charges=charges,
        in_flight=in_flight(await _keys_under_way(platform)),
    )


async def _keys_under_way(platform: Embedded) -> Iterable[str]:
    """Return the ordering keys of events that were not sent, or sent and not handled."""
    keys: set[str] = set()
    for outbox in platform.process.outboxes.values():
        keys.update(await outbox.unsent_keys())
    for inbox in platform.process.inbox_stores.values():
        keys.update(await inbox.parked_keys())
    return keys
