"""Dead letters that were never alive: written straight into an inbox."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from mercato.contracts.events import Event, ordering_key
from mercato.contracts.products import ProductCreated
from mercato.kernel.ids import ProductId, uuid7
from mercato.kernel.tenancy import DEFAULT_TENANT
from mercato.messaging.inbox import Parked, ParkedState
from mercato.runtime.embedded import Embedded
from mercato.runtime.settings import Settings, load
from tests.running import Platform

REASON = "LookupError: the shelf is bare"


async def bury(platform: Platform, sku: str = "MUG") -> str:
    """Leave a product's event behind that a platform's orders has given up; return its id."""
    return await _bury(platform.settings, sku)


async def bury_in(data: Path, sku: str = "MUG", environ: dict[str, str] | None = None) -> str:
    """Do so in a data folder, or in the databases that `environ` names."""
    return await _bury(load(environ or {}, data=str(data)), sku)


async def _bury(settings: Settings, sku: str) -> str:
    product = ProductCreated(
        tenant_id=DEFAULT_TENANT,
        product_id=ProductId(uuid7()),
        sku=sku,
        name=sku.title(),
        price=500,
        currency="USD",
    )
    now = datetime.now(UTC)
    event = Event(
        id=uuid7(),
        source="/mercato/products",
        type=product.type,
        subject=product.subject,
        time=now,
        tenantid=DEFAULT_TENANT,
        partitionkey=ordering_key(product),
        sequence=f"{1:020}",
        data=msgspec.Raw(msgspec.json.encode(product)),
    )
    letter = Parked(
        event_id=event.id,
        tenant_id=DEFAULT_TENANT,
        type=event.type,
        key=event.partitionkey,
        sequence=1,
        body=msgspec.json.encode(event),
        state=ParkedState.DEAD,
        attempts=8,
        reason=REASON,
        next_try_at=now,
        first_seen_at=now,
    )
    platform = Embedded(settings, serves=False)
    try:
        await platform.process.inbox_stores["orders"].bury(
            msgspec.structs.replace(letter, state=ParkedState.FAILED)
        )
    finally:
        await platform.process.close()
    return event.id


def dead_letter(folder: Path, sku: str = "MUG") -> str:
    """Leave one behind in the data folder of `folder`; return its id."""
    return asyncio.run(bury_in(folder / "mercato-data", sku))
