"""Catalogues of any size, put straight into a database by the service's own statements."""

import asyncio
import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from mercato.adapters.sql.sqlite_writer import SqliteTx
from mercato.kernel.ids import ProductId, uuid7
from mercato.kernel.tenancy import TenantId
from mercato.products.domain import NewProduct, create_product
from mercato.products.stores import rows
from mercato.products.stores.ledger import Ledger

_TOGETHER = 10_000
_BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
_ADJECTIVES = ("Amber", "Bold", "Calm", "Deep", "Éclair", "Fine", "Grand", "Honest", "Icy", "Jolly")
_NOUNS = ("Mug", "Lamp", "Chair", "Desk", "Shelf", "Plate", "Bowl", "Spoon", "Carpet", "Clock")
CATEGORIES = 40
RARE = 10_000
"""One product of so many has the word `rare`; one of ten is sold out."""


def fill(path: Path, tenant: TenantId, count: int, tell: Callable[[int], None] = lambda _: None) -> None:
    """Add so many products to the database at `path`, which nobody else has open."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        # If this breaks off, the whole database is thrown away.
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA cache_size = -400000")
        for first in range(0, count, _TOGETHER):
            connection.execute("BEGIN")
            asyncio.run(_add(SqliteTx(connection), tenant, range(first, min(first + _TOGETHER, count))))
            connection.execute("COMMIT")
            tell(first)


async def _add(tx: SqliteTx, tenant: TenantId, numbers: range) -> None:
    ledger, tally = Ledger(lambda _, __: None), rows.Tally(tenant)
    for number in numbers:
        at = _BEGAN + timedelta(seconds=number)
        draft = _draft(number)
        product, opening, _ = create_product(
            draft, product_id=ProductId(uuid7()), tenant=tenant, currency="USD", at=at
        )
        await rows.insert(tx, product, tally)
        await ledger.move(tx, tenant, opening, actor="bench", at=at)
    await tally.write(tx)


def _draft(number: int) -> NewProduct:
    """Return a product that is always the same for its number."""
    dice = random.Random(number)  # noqa: S311  a catalogue guards nothing
    adjective, noun = dice.choice(_ADJECTIVES), dice.choice(_NOUNS)
    rare = " A rare piece." if number % RARE == 7 else ""
    return NewProduct(
        sku=f"SKU-{number:07}",
        name=f"{adjective} {noun} {dice.randrange(1_000_000)}",
        description=f"A {noun.lower()} for daily use, number {number}.{rare}",
        price=Decimal(dice.randrange(100_000)).scaleb(-2),
        category=f"category-{int(CATEGORIES * dice.random() ** 2)}",
        stock=0 if dice.randrange(10) == 0 else dice.randrange(1, 100),
    )
