"""What carries out operations, as the transports need it: the engine and a schema plug in here."""

from collections.abc import AsyncGenerator, Mapping
from typing import Any, Protocol

import msgspec

from mercato.web.call import Call


class Operation(msgspec.Struct, frozen=True, rename={"operation_name": "operationName"}):
    """What a client asks for, as GraphQL over HTTP writes it."""

    query: str | None = None
    operation_name: str | None = None
    variables: Mapping[str, Any] | None = None
    extensions: Mapping[str, Any] | None = None


class Result(Protocol):
    """One answer."""

    @property
    def body(self) -> bytes:
        """The answer in JSON: an object with `data`, `errors` and `extensions`, as far as they are there."""
        ...

    @property
    def executed(self) -> bool:
        """Whether it was carried out: what was refused before has errors alone, and no data."""
        ...


class Executes(Protocol):
    """Carries out operations of every kind."""

    def run(self, operation: Operation, call: Call) -> AsyncGenerator[Result, None]:
        """Answer an operation: once, or for a subscription once for each event, until it is closed.

        Failures are results; what it raises all the same is told as one. How long a query or a mutation may
        take is its own matter. It is closed when nobody wants to hear more.
        """
        ...
