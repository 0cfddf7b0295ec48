"""What stands before the shells of a service apart: who calls, from where, and how long they wait."""

from collections.abc import Mapping
from contextlib import suppress

from mercato.adapters.http.client import DEADLINE_HEADER
from mercato.adapters.identity.service_tokens import FORWARDED_HEADER, ClusterSecret
from mercato.clients.internal import PREFIX
from mercato.kernel.errors import Unauthenticated
from mercato.kernel.ids import uuid7
from mercato.kernel.passing import passing
from mercato.web.http import Request, Response
from mercato.web.shell import Shell, usable_request_id

_MOST_MS_DIGITS = 9


class Front:
    """Sends calls of other services to one shell and all others to another.

    Of what the gateway says of a client nothing is believed that the cluster's secret has not signed.
    """

    def __init__(
        self, service: str, shell: Shell, internal: Shell | None, secret: ClusterSecret | None
    ) -> None:
        """Without `internal` there are no internal paths."""
        self._service = service
        self._shell = shell
        self._internal = internal
        self._secret = secret

    async def handle(self, request: Request) -> Response:
        """Answer one request."""
        headers = request.headers
        request_id = headers.get("x-request-id", "")
        if not usable_request_id(request_id):
            # Given here, so that the calls of neighbours that are made for it have the same.
            request_id = uuid7()
            request.headers = {**headers, "x-request-id": request_id}
        self._take_the_gateways_word(request)
        request.deadline_s = seconds = _seconds(headers)
        shell = self._shell
        if self._internal is not None and request.path.startswith(PREFIX + "/"):
            shell = self._internal
        with passing(request_id, seconds):
            return await shell.handle(request)

    def _take_the_gateways_word(self, request: Request) -> None:
        """Take up the client's address, which the gateway has counted, and whether it came by TLS."""
        token = request.headers.get(FORWARDED_HEADER)
        if token is None or self._secret is None:
            return
        with suppress(Unauthenticated):
            forwarded = self._secret.forwarded(token, audience=self._service)
            request.client, request.secure, request.counted = forwarded.client, forwarded.secure, True


def _seconds(headers: Mapping[str, str]) -> float | None:
    """Return how long the caller still waits, if it says so."""
    given = headers.get(DEADLINE_HEADER, "")
    if not given.isascii() or not given.isdigit() or len(given) > _MOST_MS_DIGITS:
        return None
    return max(int(given), 1) / 1000
