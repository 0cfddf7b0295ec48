"""Events about things, as a sender encodes them."""

from datetime import UTC, datetime

import msgspec

from mercato.contracts.events import Event, Payload, ordering_key
from mercato.kernel.tenancy import TenantId

SOURCE = "/mercato/things"
SHOP = TenantId("shop")


class ThingChanged(Payload, frozen=True, kw_only=True):
    """A thing changed for the `n`th time."""

    type = "thing.changed"

    thing: str
    n: int

    @property
    def subject(self) -> str:
        """The thing."""
        return self.thing


class ThingSeen(ThingChanged, frozen=True, kw_only=True):
    """A thing was seen, which nobody minds."""

    type = "thing.seen"


def changed(thing: str, n: int, tenant: TenantId = SHOP) -> ThingChanged:
    return ThingChanged(tenant_id=tenant, thing=thing, n=n)


def key_of(thing: str) -> str:
    return ordering_key(changed(thing, 1))


def event_id(thing: str, n: int) -> str:
    return f"event-{thing}-{n}"


def encoded(payload: ThingChanged, sequence: int | None = None) -> bytes:
    """Return the event as it travels: the thing's `n`th, unless told another number."""
    number = payload.n if sequence is None else sequence
    return msgspec.json.encode(
        Event(
            id=event_id(payload.thing, number),
            source=SOURCE,
            type=payload.type,
            subject=payload.subject,
            time=datetime(2026, 1, 1, tzinfo=UTC),
            tenantid=payload.tenant_id,
            partitionkey=ordering_key(payload),
            sequence=f"{number:020}",
            data=msgspec.Raw(msgspec.json.encode(payload)),
        )
    )
