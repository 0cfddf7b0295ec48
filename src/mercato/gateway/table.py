"""Which service answers which path: made from what the services declare."""

from collections.abc import Iterable, Mapping, Sequence

from mercato.kernel.errors import NotFound
from mercato.web.endpoint import Endpoint
from mercato.web.router import Router

EVERY = "*"
"""Stands for all services together."""


class Table:
    """The endpoints of all services, and whose each is."""

    def __init__(self, declared: Mapping[str, Sequence[Endpoint]], own: Iterable[Endpoint] = ()) -> None:
        """Place what is `declared`, by service or by EVERY, and what is the gateway's `own`.

        Raises ValueError where two declare the same method and path.
        """
        self._service = {
            id(endpoint): service for service, endpoints in declared.items() for endpoint in endpoints
        }
        self.router = Router([*own, *(each for endpoints in declared.values() for each in endpoints)])

    def find(self, method: str, path: str) -> tuple[str | None, Endpoint]:
        """Return whose the endpoint is, None for the gateway itself, and the endpoint.

        Raises NotFound, MethodNotAllowed.
        """
        if "/." in path and any(segment in {".", ".."} for segment in path.split("/")):
            # Whoever reads such a path as a way through folders ends up somewhere else.
            raise NotFound("There is nothing at this path.")
        if method == "OPTIONS":
            endpoint = next(iter(self.router.methods(path).values()))
        else:
            endpoint, _ = self.router.find(method, path)
        return self._service.get(id(endpoint)), endpoint
