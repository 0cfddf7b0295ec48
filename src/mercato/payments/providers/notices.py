"""Providers' webhooks: which payment each is about. See payments.ports.Notices.

News that a payment has come to an end is listened to, and no other: on the way there the provider
is being asked anyway, and to ask what became of a charge that is under way would end it.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated

import msgspec

from mercato.kernel.errors import BadRequest
from mercato.kernel.ids import PaymentId, is_id
from mercato.kernel.tenancy import TenantId, is_slug
from mercato.payments.ports import Notice
from mercato.payments.providers.signature import check

SANDBOX_HEADER = "mercato-signature"
STRIPE_HEADER = "stripe-signature"
SANDBOX_TYPES = frozenset({"charge.settled", "refund.settled"})
STRIPE_TYPES = frozenset(
    {
        "payment_intent.succeeded",
        "payment_intent.payment_failed",
        "payment_intent.canceled",
        "charge.refunded",
        "charge.refund.updated",
        "refund.updated",
        "refund.failed",
    }
)


class _Object(msgspec.Struct, frozen=True):
    metadata: dict[str, str] | None = None


class _Data(msgspec.Struct, frozen=True):
    object: _Object


class WebhookEvent(msgspec.Struct, frozen=True):
    """A webhook's body, in Stripe's form, which the sandbox's have too. Other fields are left out."""

    id: Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
    type: str
    data: _Data

    @classmethod
    def about(cls, kind: str, event_id: str, metadata: Mapping[str, str]) -> "WebhookEvent":
        """Return an event about the object with that metadata."""
        return cls(event_id, kind, _Data(_Object(dict(metadata))))


class SignedNotices:
    """Reads the webhooks of one provider."""

    def __init__(
        self, secret: str, *, header: str, types: frozenset[str], tenant_name: str, key_name: str
    ) -> None:
        """Take events of `types`; the names are of the metadata that says whose payment, and which."""
        self._secret = secret
        self._header = header
        self._types = types
        self._tenant_name = tenant_name
        self._key_name = key_name

    def read(self, headers: Mapping[str, str], body: bytes, *, at: datetime) -> Notice | None:
        """Return what it is about. Raises Unauthenticated, BadRequest."""
        check(self._secret, headers.get(self._header), body, at=at)
        try:
            event = msgspec.json.decode(body, type=WebhookEvent)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise BadRequest("The body is no event.") from None
        if event.type not in self._types:
            return None
        metadata = event.data.object.metadata or {}
        tenant, key = metadata.get(self._tenant_name, ""), metadata.get(self._key_name, "")
        if not (is_slug(tenant) and is_id(key)):
            return Notice(event.id, None, None)
        return Notice(event.id, TenantId(tenant), PaymentId(key))
