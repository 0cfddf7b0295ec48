"""One service behind the gateway: requests are passed on and answers back, in pieces where they are long."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from pyreqwest.client import Client
from pyreqwest.exceptions import RequestError
from pyreqwest.request import RequestBuilder, StreamRequest
from pyreqwest.response import Response as Answered

from mercato.adapters.http.client import DEADLINE_HEADER
from mercato.adapters.http.dependency import Dependency, Outcome
from mercato.adapters.http.spans import answered_with, calling, trace_headers
from mercato.adapters.identity.service_tokens import FORWARDED_HEADER, ClusterSecret
from mercato.gateway.headers import to_client, to_service
from mercato.gateway.origin import Origin
from mercato.kernel.errors import MercatoError, Unavailable
from mercato.web.body import check_declared
from mercato.web.http import Chunks, Request, Response

_AT_ONCE = 64 * 1024
"""What is no longer than this is passed on whole, which costs less."""
_PIECE_DEADLINE_S = 60.0
_HOP_S = 0.1
"""How much earlier than the gateway a service gives up."""
_READING = {"GET", "HEAD", "OPTIONS"}
_SAFE = "/:@!$&'()*+,;=~"
"""What a path may hold as it is (RFC 3986, section 3.3)."""


@dataclass(slots=True)
class Passed(Response):
    """A service's answer, which has all that an answer has."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A request on its way to a service."""

    request: Request
    request_id: str
    origin: Origin
    limit: int
    """The most bytes that its body may have."""
    deadline_s: float
    is_download: bool = False
    """The answer may be of any length; all others are bounded by their services."""


class Upstream:
    """Passes requests on to one service."""

    def __init__(
        self, url: str, client: Client, secret: ClusterSecret | None, dependency: Dependency
    ) -> None:
        """Without a secret the service is told nothing of the client that it could believe."""
        self.name = dependency.name
        self.url = url.rstrip("/")
        self._client = client
        self._secret = secret
        self._dependency = dependency

    async def is_ready(self, within_s: float) -> bool:
        """Say whether the service says that it is ready."""
        try:
            async with asyncio.timeout(within_s):
                answered = await self._client.get(f"{self.url}/health/ready").build().send()
        except (RequestError, TimeoutError):
            return False
        return answered.status == 200

    async def send(self, passage: Passage) -> Passed:
        """Pass a request on. Raises Unavailable, and what is wrong with the request's body."""
        body, deadline = _Body(passage), asyncio.timeout(passage.deadline_s)
        self._dependency.budget.called()
        try:
            async with deadline:
                await body.read()
                # An upload takes as long as its sender does, and would keep a place from others.
                permit = await self._dependency.enter(placeless=body.is_long)
                outcome = Outcome.ABANDONED
                try:
                    answered = await self._carry(passage, body)
                    outcome = Outcome.REFUSED if answered.status >= 400 else Outcome.OK
                except (RequestError, asyncio.CancelledError) as error:
                    if body.refusal is None and isinstance(error, RequestError):
                        outcome = Outcome.FAILED
                    elif body.refusal is None and deadline.expired():
                        outcome = Outcome.TIMEOUT
                    raise
                finally:
                    self._dependency.leave(permit, outcome)
        except (RequestError, TimeoutError) as error:
            if body.refusal is not None:
                raise body.refusal from None
            late = isinstance(error, TimeoutError)
            what = "did not answer in time" if late else "is away"
            raise Unavailable(f"The {self.name} service {what}.", retry_after=5) from None
        finally:
            await body.stop()
        return answered

    async def _carry(self, passage: Passage, body: "_Body") -> Passed:
        """Send a request, and what only reads once more if its connection broke: others may be there."""
        try:
            return await self._send(passage, body)
        except RequestError:
            if passage.request.method not in _READING or body.is_there or not self._dependency.budget.take():
                raise
        return await self._send(passage, body)

    async def _send(self, passage: Passage, body: "_Body") -> Passed:
        with calling(self.name, passage.request.method) as call:
            passed = await self._exchange(passage, body)
            answered_with(call, passed.status)
            return passed

    async def _exchange(self, passage: Passage, body: "_Body") -> Passed:
        builder = body.given_to(self._builder(passage, with_length=body.is_long))
        if not passage.is_download:
            # Less than half the work of an answer that is read while it arrives.
            answered = await builder.build().send()
            return _whole(passage, answered, bytes(await answered.bytes()))
        sending = builder.build_streamed()
        answered = await sending.__aenter__()
        try:
            length = answered.get_header("content-length")
            short = passage.request.method == "HEAD" or answered.status in {204, 304}
            if short or (length is not None and int(length) <= _AT_ONCE):
                content = b"" if short else bytes(await answered.bytes())
                await sending.__aexit__(None, None, None)
                return _whole(passage, answered, content)
        except BaseException:
            await sending.__aexit__(None, None, None)
            raise
        passed = _passed(answered, stream=_pieces(sending, answered))
        if length is not None:
            passed.headers.append(("content-length", length))
        return passed

    def _builder(self, passage: Passage, *, with_length: bool) -> RequestBuilder:
        request, origin = passage.request, passage.origin
        query = f"?{request.query}" if request.query else ""
        url = f"{self.url}{quote(request.path, safe=_SAFE)}{query}"
        headers = to_service(request.headers, origin, with_length=with_length)
        headers.append(("x-request-id", passage.request_id))
        headers.append((DEADLINE_HEADER, str(max(1, int((passage.deadline_s - _HOP_S) * 1000)))))
        headers += trace_headers()
        if self._secret is not None:
            told = self._secret.forwarding(audience=self.name, client=origin.client, secure=origin.secure)
            headers.append((FORWARDED_HEADER, told))
        return self._client.request(request.method, url).headers(headers)


def _whole(passage: Passage, answered: Answered, content: bytes) -> Passed:
    passed = _passed(answered, body=content)
    length = answered.get_header("content-length")
    if passage.request.method == "HEAD" and length is not None:
        passed.headers.append(("content-length", length))
    return passed


def _passed(answered: Answered, *, body: bytes = b"", stream: Chunks | None = None) -> Passed:
    headers = to_client((name.lower(), value) for name, value in answered.headers.items())
    kind = answered.get_header("content-type") or "application/octet-stream"
    return Passed(answered.status, body, content_type=kind, headers=headers, stream=stream, has_csp=True)


class _Body:
    """The body of a request that is passed on."""

    def __init__(self, passage: Passage) -> None:
        self._request = passage.request
        self._limit = passage.limit
        self.refusal: MercatoError | None = None
        """What is wrong with it, which the client would tell as a failure to send."""
        declared = self._request.headers.get("content-length", "")
        self.is_there = "transfer-encoding" in self._request.headers or declared not in {"", "0"}
        self._reading: asyncio.Task[Any] | None = None
        self._stopped = False
        self._whole = b""
        self.is_long = self.is_there and not (declared.isdigit() and int(declared) <= _AT_ONCE)

    async def read(self) -> None:
        """Read a body that is passed on whole. Raises PayloadTooLarge, BadRequest."""
        if self.is_there and not self.is_long:
            self._whole = await self._request.read_body(self._limit)

    def given_to(self, builder: RequestBuilder) -> RequestBuilder:
        """Give the body to a request. Raises PayloadTooLarge."""
        if not self.is_there:
            return builder
        if not self.is_long:
            return builder.body_bytes(self._whole)
        # What is declared to be too long is refused before any of it is sent. Of all else the service decides
        # whether it wants it: some clients wait for that before they send more than the head.
        check_declared(self._request.headers, self._limit)
        return builder.body_stream(self._pieces())

    async def stop(self) -> None:
        """Read no more of it: it has been answered, and the client's connection is open while it is read."""
        self._stopped = True
        if self._reading is not None and not self._reading.done():
            self._reading.cancel()
            await asyncio.wait([self._reading])

    async def _pieces(self) -> AsyncIterator[bytes]:
        pieces = self._request.stream_body(self._limit)
        try:
            while not self._stopped:
                # Each piece is asked for in a task of its own.
                self._reading = asyncio.current_task()
                yield await anext(pieces)
        except StopAsyncIteration:
            return
        except MercatoError as error:
            self.refusal = error
            raise


async def _pieces(sending: StreamRequest, answered: Answered) -> Chunks:
    try:
        while True:
            async with asyncio.timeout(_PIECE_DEADLINE_S):
                piece = await answered.body_reader.read_chunk()
            if piece is None:
                return
            yield bytes(piece)
    finally:
        await sending.__aexit__(None, None, None)
