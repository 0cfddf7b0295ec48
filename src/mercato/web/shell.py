"""The shell around every handler: one pass from a request to its answer.

In this order: request id, size, address limit, authentication, store, store limit, rights, decode,
claim, handler, encode, preconditions, security headers, log line, metrics, span.
"""

import asyncio
import copy
import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from mercato.kernel.acting import act_for, acting_for
from mercato.kernel.cause import Claim
from mercato.kernel.clock import Clock
from mercato.kernel.errors import BadRequest, MercatoError, Overloaded, Unauthenticated, Unavailable
from mercato.kernel.ids import uuid7
from mercato.kernel.principal import Principal
from mercato.kernel.redaction import without_secrets
from mercato.kernel.subject import subject
from mercato.kernel.tenancy import DEFAULT_TENANT
from mercato.kernel.tracing import UNTRACED, Recorded, Tracing, trace_id
from mercato.web import etag, idempotency, tracing
from mercato.web.access_log import AccessLine, AccessLog
from mercato.web.admission import Admission
from mercato.web.answer import answer
from mercato.web.audit import note_of
from mercato.web.auth import Authenticator, Stores, caller_of, check_role
from mercato.web.call import ANONYMOUS, Call
from mercato.web.cors import Cors
from mercato.web.decode import decode_query
from mercato.web.download import spooled
from mercato.web.endpoint import Endpoint, NoQuery
from mercato.web.envelope import Download, Upload
from mercato.web.errors import HeadersTooLarge, InternalError, Misframed, UnsupportedMediaType, error_response
from mercato.web.health import SERVICE_PATHS
from mercato.web.http import Chunks, Header, Request, Response
from mercato.web.limits import Limiter, OverLimit, site
from mercato.web.metrics import RequestMetrics
from mercato.web.router import Router
from mercato.web.under_way import UnderWay

log = logging.getLogger(__name__)

MAX_HEADER_BYTES = 32 * 1024
DEFAULT_MAX_BODY = 1024 * 1024
STREAM_DEADLINE_S = 3600.0
"""How long an answer may take that is sent while it is made."""
MAX_LOGGED_PATH = 512
_host = re.compile(r"[A-Za-z0-9._-]*(:[0-9]*)?|\[[0-9A-Fa-f:.]+\](:[0-9]*)?").fullmatch
"""A name or an address, with or without a port (RFC 9110, section 7.2). HTTP/1.0 may leave it empty."""
usable_request_id = re.compile(r"[A-Za-z0-9._:-]{1,128}").fullmatch
"""Says whether a request may have the id that its sender gave it."""
_CSP: Header = ("content-security-policy", "default-src 'none'; frame-ancestors 'none'")
_SECURITY: list[Header] = [
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
]
_VARY: Header = ("vary", "Authorization, Origin, X-Tenant-Id")
"""What one path answers depends on who calls and for which store, so no cache may mix them up."""
_CACHE_CONTROL = "cache-control"
_FOR_ONE: Header = (_CACHE_CONTROL, "private, no-cache")
_FOR_ALL: Header = (_CACHE_CONTROL, "no-cache")
"""What is kept of answers that say nothing of it themselves is used only after asking whether it holds."""
_HSTS: Header = ("strict-transport-security", "max-age=31536000; includeSubDomains")
_REPLAYED: Header = ("idempotent-replayed", "true")
_UNROUTED = "unrouted"
_UNLIMITED = ("/health", "/metrics", "/.well-known/", *SERVICE_PATHS)
"""Who watches the process, or fetches keys from it, comes from one address, and must always be answered."""
_JSON = ("application/json",)


@dataclass(slots=True)
class Seen:
    """What the log line and the metrics tell of a request, as far as it got."""

    request_id: str
    at: datetime
    endpoint: Endpoint | None = None
    caller: Principal | None = None
    tenant: str | None = None
    whose: str | None = None
    """With whose calls it waits for its turn; None where it waits for none."""
    entered: bool = False
    away: bool = False
    """The call acts in another store than the caller's own."""
    code: str = ""
    limits: list[Header] = field(default_factory=list)

    def named(self) -> dict[str, str | None]:
        """See kernel.subject.Subject."""
        user = None if self.caller is None else self.caller.user_id
        return {"request_id": self.request_id, "route": self.route, "tenant": self.tenant, "user": user}

    @property
    def route(self) -> str:
        """The endpoint's name."""
        return _UNROUTED if self.endpoint is None else self.endpoint.route


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
        stores: Stores,
        limits: Limiter,
        cors: Cors,
        access_log: AccessLog,
        metrics: RequestMetrics,
        clock: Clock,
        hash_secret: bytes,
        deadline_s: float,
        max_body: int = DEFAULT_MAX_BODY,
        admission: Admission | None = None,
        traces: Tracing = UNTRACED,
    ) -> None:
        """`hash_secret` keys the hashes of idempotent bodies.

        `deadline_s` and `max_body` bound every request whose endpoint does not say otherwise.
        """
        self._router = router
        self._authenticator = authenticator
        self._stores = stores
        self._limits = limits
        self._max_body = max_body
        self._cors = cors
        self._access_log = access_log
        self._metrics = metrics
        self._clock = clock
        self._hash_secret = hash_secret
        self._admission = admission or Admission(0)
        self._traces = traces
        self._is_internal = False
        self.under_way = UnderWay(deadline_s)

    def beside(
        self, router: Router, *, authenticator: Authenticator, limits: Limiter, quiet: frozenset[str]
    ) -> "Shell":
        """Return a shell over other endpoints, for other services, that shares all else with this one.

        The log does not tell of requests of the `quiet` routes, unless they are refused.
        """
        other = copy.copy(self)
        other._router = router  # noqa: SLF001  it is a shell, too
        other._authenticator = authenticator  # noqa: SLF001
        other._limits = limits  # noqa: SLF001
        other._access_log = self._access_log.without(quiet)  # noqa: SLF001
        # What other services ask is part of what they have let in.
        other._admission = Admission(0)  # noqa: SLF001
        other._is_internal = True  # noqa: SLF001
        return other

    async def handle(self, request: Request) -> Response:
        """Answer one request."""
        started = time.perf_counter()
        given = request.headers.get("x-request-id")
        request_id = given if given is not None and usable_request_id(given) else uuid7()
        seen = Seen(request_id, self._clock())
        # Only the cluster's secret lets somebody else decide what is recorded.
        trusted, worth = request.counted or self._is_internal, not request.path.startswith(_UNLIMITED)
        span = tracing.begin(self._traces, request, trusted=trusted, worth=worth)
        task, before, about = self.under_way.begin(), acting_for(), subject.set(seen)
        try:
            response = await self._answer(request, seen, task)
        except MercatoError as error:
            seen.code = error.code
            if isinstance(error, OverLimit):
                seen.limits = error.headers
            elif isinstance(error, Overloaded):
                self._metrics.shed(error.reason)
            response = self._refuse(request, error, seen)
        except asyncio.CancelledError:
            if not self.under_way.was_cut(task):
                span.fail("cancelled")
                span.end()
                raise
            late = Unavailable("The request took too long.")
            seen.code = late.code
            response = self._refuse(request, late, seen)
        except Exception:
            log.exception("request failed", extra={"route": seen.route})
            seen.code = InternalError.code
            response = self._refuse(request, InternalError("Something went wrong on our side."), seen)
        finally:
            if seen.entered:
                self._admission.leave()
            self.under_way.end(task)
            act_for(before)
        self._dress(request, response, seen)
        self._tell(request, response, seen, time.perf_counter() - started)
        subject.reset(about)
        if isinstance(span, Recorded):
            self._trace(span, request, response, seen)
        else:
            span.end()
        return response

    def _refuse(self, request: Request, error: MercatoError, seen: Seen) -> Response:
        """Write a refusal in the dialect of what was called, as far as it is known."""
        endpoint = seen.endpoint
        dialect = self._router.dialect_at(request.path) if endpoint is None else endpoint.dialect
        return error_response(error, dialect.refusal(error, seen.request_id))

    def _dress(self, request: Request, response: Response, seen: Seen) -> None:
        """Give an answer what every answer has."""
        headers = response.headers
        headers.append(("x-request-id", seen.request_id))
        headers.extend(seen.limits)
        headers.extend(_SECURITY)
        headers.append(_VARY)
        if _CACHE_CONTROL not in dict(headers):
            headers.append(_FOR_ALL if seen.caller is None else _FOR_ONE)
        if not response.has_csp:
            headers.append(_CSP)
        if request.secure:
            headers.append(_HSTS)
        if "origin" in request.headers:
            headers.extend(self._cors.headers(request))
        if response.stream is not None:
            response.stream = self._under_way(response.stream, response.close)

    async def _under_way(self, stream: Chunks, close: Callable[[], None]) -> Chunks:
        """Send an answer's body; the process does not stop meanwhile, for as long as it may wait."""
        task = self.under_way.begin()
        self.under_way.allow(task, STREAM_DEADLINE_S)
        try:
            async for piece in stream:
                yield piece
        finally:
            self.under_way.end(task)
            close()

    def flush(self) -> None:
        """Write the log lines that wait: before the process ends."""
        self._access_log.flush()

    async def _admit(self, request: Request, seen: Seen) -> None:
        """Refuse what is malformed, whatever it asks for, and count it against its address."""
        if request.header_bytes > MAX_HEADER_BYTES:
            raise HeadersTooLarge(f"The headers must not exceed {MAX_HEADER_BYTES} bytes.")
        check_framing(request.headers)
        if not (request.counted or request.path.startswith(_UNLIMITED)):
            told = self._limits.of_address(request.client, seen.at)
            seen.limits = told if isinstance(told, list) else await told

    async def _answer(self, request: Request, seen: Seen, task: "asyncio.Task[Any]") -> Response:
        await self._admit(request, seen)
        return await self._serve(request, seen, task)

    async def _serve(self, request: Request, seen: Seen, task: "asyncio.Task[Any]") -> Response:
        """Answer a request that was admitted."""
        if request.method == "OPTIONS":
            return self._options(request)
        endpoint, params = self._router.find(request.method, request.path)
        seen.endpoint = endpoint
        if endpoint.deadline_s is not None or request.deadline_s is not None:
            longest = endpoint.deadline_s or self.under_way.deadline_s
            # Whoever waits for less gets less, and nobody gets more.
            self.under_way.allow(task, min(longest, request.deadline_s or longest))
        seen.caller = await caller_of(request, self._authenticator)
        if seen.caller is None and endpoint.allow is not None:
            raise Unauthenticated("Sign in first.")
        call = await self._call(request, endpoint, seen)
        check_role(endpoint, seen.caller)
        work = _Work(endpoint, call, params, query=self._query(endpoint, request))
        if endpoint.method == "GET":
            await self._enter(seen)
            return _conditional(request, await _carry_out(work))
        if endpoint.versioned:
            call.expected = etag.expected(request.headers)
        limit = endpoint.max_body or self._max_body
        if endpoint.accepts:
            raw = request.query.encode()
            work.body = Upload(
                _content_type(request, endpoint.accepts), request.stream_body(limit), request.headers
            )
        else:
            raw = await request.read_body(limit)
            # Not before that: the client may take its time to send it. So do uploads, which are not held up.
            await self._enter(seen)
            work.body = self._body(endpoint, request, raw)
        call.note = note_of(endpoint, call, params, raw)
        key = request.headers.get("idempotency-key")
        if key is None or endpoint.claims is None:
            return await _carry_out(work)
        digest = idempotency.body_hash(self._hash_secret, request.path, raw)
        return await self._carry_out_once(endpoint.claims, work, idempotency.check_key(key), digest)

    async def _call(self, request: Request, endpoint: Endpoint, seen: Seen) -> Call:
        """Return the call, in its store and within that store's limits."""
        if endpoint.storeless or not endpoint.in_contract:
            # Health, metrics and the like belong to no store, and must not depend on one.
            return Call(
                seen.request_id, DEFAULT_TENANT, seen.at, request.client, seen.caller, headers=request.headers
            )
        acting = await self._stores.acting_in(request, seen.caller)
        seen.tenant, seen.caller, seen.away = acting.tenant, acting.caller, acting.home is not None
        tier = None
        if acting.caller is not None and not acting.caller.names_store and acting.store is not None:
            tier = acting.store.tier
            told = self._limits.of_store(acting.tenant, tier, seen.at)
            seen.limits = (told if isinstance(told, list) else await told) or seen.limits
        if not request.admitted:
            # Who calls without a token may name any store, and must not be able to crowd it out.
            seen.whose = site(request.client) if acting.caller is None else acting.tenant
            self._admission.check(seen.whose)
        act_for(acting.tenant)
        return Call(
            seen.request_id,
            acting.tenant,
            seen.at,
            request.client,
            acting.caller,
            headers=request.headers,
            limits=self._limits,
            tier=tier,
        )

    async def _enter(self, seen: Seen) -> None:
        """Wait for a call's turn. Raises Overloaded."""
        if seen.whose is not None:
            await self._admission.enter(seen.whose)
            seen.entered = True

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
        if not raw and endpoint.body_optional:
            return endpoint.decoder.decode(b"{}")
        _content_type(request, _JSON)
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
            granted = await idempotency.grant(claims, wanted, digest, now=self._clock())
        except asyncio.CancelledError:
            # The claim's step is carried out all the same, and nobody would hold it.
            await self._free(claims, wanted)
            raise
        call.claim = granted.claim
        call.dialect = endpoint.dialect
        if granted.answer is not None:
            # It was told of when it was done.
            call.replayed, call.note = True, None
            if endpoint.reissues:
                response = await _carry_out(work)
            else:
                response = Response(endpoint.status, granted.answer)
            response.headers.append(_REPLAYED)
            return response
        with claims.kept(granted.claim):
            try:
                return await _carry_out(work)
            finally:
                if call.effect is None or call.effect.stored is None:
                    await self._free(claims, granted.claim, begun=call.begun)

    async def _free(self, claims: idempotency.Claims, claim: Claim, *, begun: bool = False) -> None:
        """Give the key back: it caused nothing; or leave what has begun to a repeated call.

        If that fails, its lease ends by itself.
        """
        try:
            await (claims.suspend(claim) if begun else claims.free(claim))
        except Unavailable as error:
            log.warning("claim could not be freed", extra={"route": claim.route, "cause": repr(error)})

    def _trace(self, span: Recorded, request: Request, response: Response, seen: Seen) -> None:
        """Tell the trace what the log is told."""
        if self._is_internal and seen.caller is None:
            # Whoever has no token of the cluster's has nothing recorded by its flag.
            span.forget()
            return
        span.set("mercato.request_id", seen.request_id)
        if seen.tenant is not None:
            span.set("mercato.tenant", seen.tenant)
        tracing.end(span, request, seen.endpoint, response.status, seen.code)

    def _tell(self, request: Request, response: Response, seen: Seen, seconds: float) -> None:
        """Write the log line and the metrics."""
        status, route = response.status, seen.route
        path = request.path[:MAX_LOGGED_PATH]
        self._metrics.observe(route, status, seen.code, seconds)
        self._access_log.add(
            AccessLine(
                ts=seen.at,
                level=_level(status),
                event="request",
                request_id=seen.request_id,
                method=request.method[:16],
                # What was found is there by its id; what was not may be anything.
                path=path if status < 400 else without_secrets(path),
                route=route,
                status=status,
                ms=round(seconds * 1000, 3),
                client=request.client,
                tenant=seen.tenant,
                user=None if seen.caller is None else seen.caller.user_id,
                away=seen.away,
                code=seen.code,
                trace_id=trace_id(),
            )
        )


def _level(status: int) -> str:
    """Return how bad an answer is.

    503 says "not now", as a process does that is starting; if it lacks something, that has a line of its
    own. Any other 5xx is a defect.
    """
    if status < 500:
        return "info"
    return "warning" if status == 503 else "error"


def check_framing(headers: Mapping[str, str]) -> None:
    """Refuse what servers and proxies may read differently (RFC 9112, sections 3.2 and 6.1)."""
    if headers.get("transfer-encoding", "chunked").lower() != "chunked":
        raise Misframed("The only Transfer-Encoding is chunked, once.")
    if not _host(headers.get("host", "")):
        raise Misframed("The Host header must be one name or address.")


def _content_type(request: Request, accepted: tuple[str, ...]) -> str:
    """Return what the body is said to be. Raises UnsupportedMediaType for what is not `accepted`."""
    if request.headers.get("content-encoding", "identity") != "identity":
        raise UnsupportedMediaType("Send the body without a Content-Encoding.")
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in accepted or (accepted is _JSON and kind.endswith("+json")):
        return kind
    raise UnsupportedMediaType(f"Send the body as {' or '.join(accepted)}.")


async def _carry_out(work: _Work) -> Response:
    """Run the handler and encode what it returns."""
    result = await work.endpoint.invoke(work.call, work.params, work.body, work.query)
    if isinstance(result, Download):
        return await spooled(work.endpoint.status, result)
    return answer(work.endpoint, work.call, result)


def _conditional(request: Request, response: Response) -> Response:
    """Answer 304 if the client has what it would get (RFC 9110, section 15.4.5)."""
    if response.status == 200 and "if-none-match" in request.headers:
        found = next((value for name, value in response.headers if name == "etag"), None)
        if found is not None and etag.is_known(request.headers, found):
            return Response(304, headers=response.headers)
    return response
