"""The shell around every handler: one pass from a request to its answer.

In this order: request id, limits, CORS, authentication, rights, decode, claim, handler,
encode, security headers, log line, metrics.
"""

import asyncio
import logging
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mercato.kernel.cause import Claim
from mercato.kernel.clock import Clock
from mercato.kernel.errors import BadRequest, MercatoError, Unavailable
from mercato.kernel.ids import uuid7
from mercato.kernel.principal import Principal
from mercato.kernel.tenancy import DEFAULT_TENANT
from mercato.web import idempotency
from mercato.web.access_log import AccessLine, AccessLog
from mercato.web.auth import Authenticator, KnownStore, acting_in, caller_of, check_role
from mercato.web.call import ANONYMOUS, Call
from mercato.web.cors import Cors
from mercato.web.decode import decode_query
from mercato.web.endpoint import Endpoint, NoQuery
from mercato.web.envelope import Encoded, Page, Reply, encode, success
from mercato.web.errors import HeadersTooLarge, InternalError, Misframed, UnsupportedMediaType, error_response
from mercato.web.http import Header, Request, Response
from mercato.web.metrics import RequestMetrics
from mercato.web.router import Router
from mercato.web.under_way import UnderWay

log = logging.getLogger(__name__)

MAX_HEADER_BYTES = 32 * 1024
MAX_LOGGED_PATH = 512
_host = re.compile(r"[A-Za-z0-9._-]*(:[0-9]*)?|\[[0-9A-Fa-f:.]+\](:[0-9]*)?").fullmatch
"""A name or an address, with or without a port (RFC 9110, section 7.2). HTTP/1.0 may leave it empty."""
_request_id = re.compile(r"[A-Za-z0-9._:-]{1,128}").fullmatch
_SECURITY: list[Header] = [
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
    ("referrer-policy", "no-referrer"),
]
_HSTS: Header = ("strict-transport-security", "max-age=31536000; includeSubDomains")
_REPLAYED: Header = ("idempotent-replayed", "true")
_UNROUTED = "unrouted"


@dataclass(slots=True)
class _Seen:
    """What the log line and the metrics tell of a request, as far as it got."""

    request_id: str
    at: datetime
    route: str = _UNROUTED
    caller: Principal | None = None
    tenant: str | None = None
    code: str = ""


@dataclass(slots=True)
class _Work:
    """A call that may be carried out: its endpoint, and what the request gives it."""

    endpoint: Endpoint
    call: Call
    params: Sequence[str]
    query: Any
    body: Any = None


class Shell:
    """Answers requests. `handle` never raises and never tells a cause."""

    def __init__(  # noqa: PLR0913  each is one collaborator
        self,
        router: Router,
        *,
        authenticator: Authenticator,
        known_store: KnownStore,
        cors: Cors,
        access_log: AccessLog,
        metrics: RequestMetrics,
        clock: Clock,
        hash_secret: bytes,
        deadline_s: float,
    ) -> None:
        """`hash_secret` keys the hashes of idempotent bodies; `deadline_s` bounds every request."""
        self._router = router
        self._authenticator = authenticator
        self._known_store = known_store
        self._cors = cors
        self._access_log = access_log
        self._metrics = metrics
        self._clock = clock
        self._hash_secret = hash_secret
        self.under_way = UnderWay(deadline_s)

    async def handle(self, request: Request) -> Response:
        """Answer one request."""
        started = time.perf_counter()
        given = request.headers.get("x-request-id")
        request_id = given if given is not None and _request_id(given) else uuid7()
        seen = _Seen(request_id, self._clock())
        task = self.under_way.begin()
        try:
            response = await self._answer(request, seen)
        except MercatoError as error:
            seen.code = error.code
            response = error_response(error, request_id)
        except asyncio.CancelledError:
            if not self.under_way.was_cut(task):
                raise
            late = Unavailable("The request took too long.")
            seen.code = late.code
            response = error_response(late, request_id)
        except Exception:
            log.exception("request failed", extra={"request_id": request_id, "route": seen.route})
            seen.code = InternalError.code
            response = error_response(InternalError("Something went wrong on our side."), request_id)
        finally:
            self.under_way.end(task)
        headers = response.headers
        headers.append(("x-request-id", request_id))
        headers.extend(_SECURITY)
        if request.secure:
            headers.append(_HSTS)
        if "origin" in request.headers:
            headers.extend(self._cors.headers(request))
        self._tell(request, response, seen, time.perf_counter() - started)
        return response

    def flush(self) -> None:
        """Write the log lines that wait: before the process ends."""
        self._access_log.flush()

    async def _answer(self, request: Request, seen: _Seen) -> Response:
        if request.header_bytes > MAX_HEADER_BYTES:
            raise HeadersTooLarge(f"The headers must not exceed {MAX_HEADER_BYTES} bytes.")
        _check_framing(request.headers)
        if request.method == "OPTIONS":
            return self._options(request)
        endpoint, params = self._router.find(request.method, request.path)
        seen.route = endpoint.route
        caller = await caller_of(request, self._authenticator)
        seen.caller = caller
        check_role(endpoint, caller)
        if endpoint.in_contract:
            tenant, caller = await acting_in(request, caller, self._known_store)
        else:
            # Health, metrics and the like belong to no store, and must not depend on one.
            tenant = DEFAULT_TENANT
        seen.tenant = tenant
        call = Call(seen.request_id, tenant, seen.at, request.client, caller)
        work = _Work(endpoint, call, params, query=self._query(endpoint, request))
        if endpoint.method == "GET":
            return await _carry_out(work)
        raw = await request.read_body(endpoint.max_body)
        work.body = self._body(endpoint, request, raw)
        key = request.headers.get("idempotency-key")
        if key is None or endpoint.claims is None:
            return await _carry_out(work)
        digest = idempotency.body_hash(self._hash_secret, request.path, raw)
        return await self._carry_out_once(endpoint.claims, work, idempotency.check_key(key), digest)

    def _options(self, request: Request) -> Response:
        allowed = self._router.allowed(request.path)
        return Response(204, headers=[("allow", allowed), *(self._cors.preflight(request) or ())])

    def _query(self, endpoint: Endpoint, request: Request) -> Any:  # noqa: ANN401  the endpoint's own type
        if endpoint.takes_query:
            return decode_query(request.query, endpoint.query_type)
        if request.query and endpoint.in_contract:
            decode_query(request.query, NoQuery)
        return None

    def _body(self, endpoint: Endpoint, request: Request, raw: bytes) -> Any:  # noqa: ANN401
        if not endpoint.takes_body:
            if raw:
                endpoint.decoder.decode(raw)
            return None
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if request.headers.get("content-encoding", "identity") != "identity":
            raise UnsupportedMediaType("Send the body without a Content-Encoding.")
        if not raw and endpoint.body_optional:
            return endpoint.decoder.decode(b"{}")
        if kind != "application/json" and not kind.endswith("+json"):
            raise UnsupportedMediaType("Send the body as application/json.")
        if not raw:
            raise BadRequest("The body is empty; a JSON object is needed.")
        return endpoint.decoder.decode(raw)

    async def _carry_out_once(
        self, claims: idempotency.Claims, work: _Work, key: str, digest: bytes
    ) -> Response:
        """Carry out a call with an Idempotency-Key, unless an earlier one did."""
        endpoint, call = work.endpoint, work.call
        principal = ANONYMOUS if call.caller is None else call.caller.user_id
        wanted = idempotency.claim_for(call.tenant, principal, endpoint.route, key, uuid7())
        try:
            granted = await idempotency.grant(claims, wanted, digest, now=call.now)
        except asyncio.CancelledError:
            # The claim's step is carried out all the same, and nobody would hold it.
            await self._free(claims, wanted)
            raise
        call.claim = granted.claim
        if granted.answer is not None:
            call.replayed = True
            if endpoint.reissues:
                response = await _carry_out(work)
            else:
                response = Response(endpoint.status, granted.answer)
            response.headers.append(_REPLAYED)
            return response
        try:
            return await _carry_out(work)
        finally:
            if call.effect is None or call.effect.stored is None:
                await self._free(claims, granted.claim)

    async def _free(self, claims: idempotency.Claims, claim: Claim) -> None:
        """Give the key back: it caused nothing. If that fails, its lease ends by itself."""
        try:
            await claims.free(claim)
        except Unavailable as error:
            log.warning("claim could not be freed", extra={"route": claim.route, "cause": repr(error)})

    def _tell(self, request: Request, response: Response, seen: _Seen, seconds: float) -> None:
        """Write the log line and the metrics."""
        status = response.status
        self._metrics.observe(seen.route, status, seen.code, seconds)
        self._access_log.add(
            AccessLine(
                ts=seen.at,
                level="error" if status >= 500 else "info",
                event="request",
                request_id=seen.request_id,
                method=request.method[:16],
                path=request.path[:MAX_LOGGED_PATH],
                route=seen.route,
                status=status,
                ms=round(seconds * 1000, 3),
                client=request.client,
                tenant=seen.tenant,
                user=None if seen.caller is None else seen.caller.user_id,
                code=seen.code,
            )
        )


def _check_framing(headers: Mapping[str, str]) -> None:
    """Refuse what servers and proxies may read differently (RFC 9112, sections 3.2 and 6.1)."""
    if headers.get("transfer-encoding", "chunked").lower() != "chunked":
        raise Misframed("The only Transfer-Encoding is chunked, once.")
    if not _host(headers.get("host", "")):
        raise Misframed("The Host header must be one name or address.")


async def _carry_out(work: _Work) -> Response:
    """Run the handler and encode what it returns."""
    endpoint = work.endpoint
    result = await endpoint.invoke(work.call, work.params, work.body, work.query)
    if isinstance(result, Response):
        return result
    if isinstance(result, Encoded):
        return Response(endpoint.status, success(result.data), headers=list(result.headers))
    status = endpoint.status
    headers: list[Header] = []
    if isinstance(result, Reply):
        status = result.status or status
        headers.extend(result.headers)
        result = result.data
    if result is None:
        return Response(204 if status == 200 else status, headers=headers)
    effect = work.call.effect
    if effect is not None and effect.stored and not endpoint.reissues:
        # The very bytes that a repeated call will get.
        return Response(status, effect.stored, headers=headers)
    if isinstance(result, Page):
        return Response(status, success(encode(result.items), result.meta), headers=headers)
    return Response(status, success(encode(result)), headers=headers)
