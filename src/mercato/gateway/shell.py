"""The shell of the gateway: it limits, routes, logs and counts requests, and passes them on."""

import asyncio
from collections.abc import Mapping
from typing import Any

from mercato.gateway.everywhere import ask_all
from mercato.gateway.origin import Proxies
from mercato.gateway.table import EVERY, Table
from mercato.gateway.upstream import Passage, Passed, Upstream
from mercato.web.http import Request, Response
from mercato.web.limits import site
from mercato.web.shell import Seen, Shell

_LIMITED = "x-ratelimit-limit"


class GatewayShell(Shell):
    """Answers what is the gateway's own as any shell does, and passes on the rest."""

    def __init__(
        self,
        table: Table,
        upstreams: Mapping[str, Upstream],
        *,
        proxies: Proxies,
        max_body: int,
        **shell: Any,  # noqa: ANN401  a Shell's own
    ) -> None:
        """Build on a Shell, which gets what else is given."""
        super().__init__(table.router, max_body=max_body, **shell)
        self._table = table
        self._upstreams = upstreams
        self._proxies = proxies

    async def _answer(self, request: Request, seen: Seen, task: "asyncio.Task[Any]") -> Response:
        origin = self._proxies.origin(request)
        # For the limits and the log: the client is whom a trusted proxy speaks for.
        request.client, request.secure = origin.client, origin.secure
        await self._admit(request, seen)
        service, endpoint = self._table.find(request.method, request.path)
        if service is None:
            if not endpoint.in_contract:
                # It is for everybody, so whoever has a token that is no good must have it, too.
                request.headers = {
                    name: value for name, value in request.headers.items() if name != "authorization"
                }
            return await self._serve(request, seen, task)
        seen.endpoint = endpoint
        passage = Passage(
            request,
            seen.request_id,
            origin,
            limit=endpoint.max_body or self._max_body,
            deadline_s=endpoint.deadline_s or self.under_way.deadline_s,
            is_download=bool(endpoint.produces),
        )
        self.under_way.allow(task, passage.deadline_s + 1)
        if not request.admitted:
            # Whose tokens are valid, and of which store, is for the services to say.
            seen.whose = site(request.client)
            await self._enter(seen)
        if service == EVERY:
            return await ask_all(list(self._upstreams.values()), passage)
        return await self._upstreams[service].send(passage)

    def _dress(self, request: Request, response: Response, seen: Seen) -> None:
        if not isinstance(response, Passed):
            super()._dress(request, response, seen)
            return
        names = {name for name, _ in response.headers}
        if _LIMITED not in names:
            response.headers.extend(seen.limits)
        if "x-request-id" not in names:
            response.headers.append(("x-request-id", seen.request_id))
        if response.stream is not None:
            response.stream = self._under_way(response.stream, response.close)
