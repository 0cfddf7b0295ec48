"""Calls of the REST contract, made by the gateway in a client's name.

They go the way that the client's own would: embedded to the shell of all services, and elsewhere through
the gateway's shell to the service whose path it is. So rights, limits, audit and the access log are REST's.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable

import msgspec

from mercato.gateway.commerce.asking import Asking, Refusal, RestCall
from mercato.kernel.errors import FieldError, MercatoError, Unavailable
from mercato.web.errors import PayloadTooLarge
from mercato.web.http import Request, Response

Handle = Callable[[Request], Awaitable[Response]]

_SHORT_OF_TIME = {502, 503, 504}


class _Success(msgspec.Struct, frozen=True):
    data: msgspec.Raw = msgspec.Raw()


class _Error(msgspec.Struct, frozen=True):
    code: str
    message: str
    details: tuple[FieldError, ...] = ()


class _Failure(msgspec.Struct, frozen=True):
    error: _Error


_read_success = msgspec.json.Decoder(_Success).decode
_read_failure = msgspec.json.Decoder(_Failure).decode


class ShellRest:
    """See asking.Rest."""

    def __init__(self) -> None:
        self._handle: Handle | None = None

    def bind(self, handle: Handle) -> None:
        """Call this shell. It has the endpoint of GraphQL, so it is made after what that needs."""
        self._handle = handle

    async def call(self, asking: Asking, wanted: RestCall) -> bytes:
        """Return the `data` of the answer. Raises Refusal, Unavailable."""
        # A task of its own: the shell counts requests, and their time, by their tasks.
        response = await asyncio.create_task(self._carry_out(_request(asking, wanted)))
        if response.status < 300:
            return bytes(_read_success(response.body).data) if response.body else b""
        raise _refusal(response)

    async def _carry_out(self, request: Request) -> Response:
        assert self._handle is not None  # noqa: S101  no request comes before there is a shell
        response = await self._handle(request)
        if response.stream is not None:
            # What the contract's changes answer with is bounded by the services.
            response.body = b"".join([piece async for piece in response.stream])
        return response


def _request(asking: Asking, wanted: RestCall) -> Request:
    body = b"" if wanted.body is None else msgspec.json.encode(wanted.body)
    headers = {**asking.headers, "x-request-id": asking.request_id, "content-length": str(len(body))}
    if wanted.body is not None:
        headers["content-type"] = "application/json"
    if wanted.key is not None:
        headers["idempotency-key"] = wanted.key
    if wanted.version is not None:
        headers["if-match"] = f'"{wanted.version}"'

    async def read(limit: int) -> bytes:
        if len(body) > limit:
            raise PayloadTooLarge(f"The input must not exceed {limit} bytes.")
        return body

    async def stream(limit: int) -> AsyncGenerator[bytes, None]:
        yield await read(limit)

    return Request(
        method=wanted.method,
        path=wanted.path,
        query="",
        headers=headers,
        client=asking.client,
        secure=False,
        read_body=read,
        stream_body=stream,
        admitted=True,
    )


def _refusal(response: Response) -> MercatoError:
    error = _read_failure(response.body).error
    if response.status in _SHORT_OF_TIME:
        after = dict(response.headers).get("retry-after", "")
        return Unavailable(error.message, retry_after=int(after) if after.isdigit() else 1)
    return Refusal(error.code, error.message, error.details)
