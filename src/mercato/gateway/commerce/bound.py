"""The schema, and how its fields are had."""

from datetime import UTC, datetime
from functools import cache
from importlib import resources
from typing import Any

from mercato.contracts.orders import OrderPaymentStatus, OrderStatus
from mercato.contracts.payments import PaymentMethod, PaymentStatus, RefundStatus
from mercato.gateway.commerce import joins, mutations, queries, subscriptions
from mercato.gateway.graphql.bindings import Bound, Scalar
from mercato.kernel.principal import Role


@cache
def sdl() -> str:
    """Return the schema as it is written down (the GraphQL specification's type system language)."""
    return resources.files(__package__).joinpath("schema.graphql").read_text("utf-8")


def bound() -> Bound:
    """Return the schema with its bindings."""
    return Bound(
        sdl(),
        fields={
            "Query": queries.FIELDS,
            "Mutation": mutations.FIELDS,
            "Subscription": subscriptions.FIELDS,
            **joins.FIELDS,
        },
        scalars={"DateTime": Scalar(_written, _read, plain=datetime)},
        enums={
            each.__name__: {member.value: member for member in each}
            for each in (Role, OrderStatus, OrderPaymentStatus, PaymentStatus, PaymentMethod, RefundStatus)
        },
    )


def _written(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _read(given: Any) -> datetime:  # noqa: ANN401  whatever the client has sent
    if not isinstance(given, str):
        raise ValueError("must be a time with its offset, such as 2026-01-31T12:00:00Z")  # noqa: TRY004  the engine's own form
    moment = datetime.fromisoformat(given)
    if moment.tzinfo is None:
        raise ValueError("must be a time with its offset, such as 2026-01-31T12:00:00Z")
    return moment
