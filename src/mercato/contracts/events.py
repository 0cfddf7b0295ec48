"""Events as they travel: CloudEvents 1.0 in JSON (the CloudEvents specification, 1.0.2).

Besides the required attributes each carries `partitionkey` (the partitioning extension): the
ordering key, and `sequence` (the sequence extension): its number among the events of that
key, without gaps, from 1. `traceparent` and `tracestate` (the distributed tracing extension) say where in a
trace it was made, if in any.
"""

import builtins
from datetime import datetime
from typing import Annotated, ClassVar, TypeVar

import msgspec

from mercato.kernel.tenancy import TenantId
from mercato.kernel.tracing import TraceContext, read_context


class Payload(msgspec.Struct, frozen=True, kw_only=True):
    """What happened, as the service that it happened in says it."""

    type: ClassVar[str]
    """The event's type, `family.what`. Events of one family and subject keep their order."""

    tenant_id: TenantId

    @property
    def subject(self) -> str:
        """The id of the aggregate whose events are ordered among themselves."""
        raise NotImplementedError


Events = tuple[Payload, ...]

Traced = tuple[Payload, TraceContext | None]
"""What happened, and where in a trace."""

PayloadT = TypeVar("PayloadT", bound=Payload)


# What a consumer keeps in columns of their own must fit into them, and hold no U+0000.
_KEPT = r"^[^\x00]+\Z"


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One CloudEvent."""

    specversion: str = "1.0"
    id: Annotated[str, msgspec.Meta(max_length=36, pattern=_KEPT)]
    source: str
    type: Annotated[str, msgspec.Meta(max_length=64, pattern=_KEPT)]
    subject: str
    time: datetime
    datacontenttype: str = "application/json"
    tenantid: Annotated[TenantId, msgspec.Meta(max_length=63, pattern=_KEPT)]
    partitionkey: Annotated[str, msgspec.Meta(max_length=160, pattern=_KEPT)]
    sequence: Annotated[str, msgspec.Meta(pattern=r"^00[0-9]{18}\Z")]
    """Digits, zero-padded to 20, so that text order is number order, as the extension asks.

    It fits a database's 64 bits.
    """
    traceparent: str | msgspec.UnsetType = msgspec.UNSET
    tracestate: str | msgspec.UnsetType = msgspec.UNSET
    data: msgspec.Raw

    @property
    def trace(self) -> TraceContext | None:
        """Where in a trace it was made."""
        if self.traceparent is msgspec.UNSET:
            return None
        return read_context(self.traceparent, self.tracestate or None)

    def payload(self, kind: "builtins.type[PayloadT]") -> PayloadT:
        """Decode the data as `kind`. Unknown fields are left out: newer senders may add some."""
        return msgspec.json.decode(self.data, type=kind)


def family(event_type: str) -> str:
    """Return the part of a type before the dot: what consumers subscribe to."""
    return event_type.partition(".")[0]


def ordering_key(payload: Payload) -> str:
    """Return the key within which the event's order is kept."""
    return f"{payload.tenant_id}/{family(payload.type)}/{payload.subject}"
