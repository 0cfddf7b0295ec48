"""Carrying calls to a platform: tokens, keys, retries."""

import asyncio
import uuid
from collections.abc import AsyncGenerator, AsyncIterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Self, TypeVar
from urllib.parse import quote

import msgspec
from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import RequestError
from pyreqwest.request import RequestBuilder

from mercato_client.errors import ApiError, MercatoError, Unauthorized, UnexpectedAnswer, Unreachable, refusal
from mercato_client.retries import Retries

T = TypeVar("T")

_REFRESH = "/api/v1/users/token/refresh"
_REPEATABLE = frozenset({"GET", "PUT", "DELETE"})
_NO_CONNECTION = "client error (Connect)"
_encode = msgspec.json.Encoder(decimal_format="number").encode


@dataclass(frozen=True, slots=True)
class Request:
    """One call, whatever the number of attempts."""

    method: str
    path: str
    query: Mapping[str, object] = field(default_factory=dict)
    """Parameters that are None are left out."""
    content: bytes | AsyncIterable[bytes] | None = None
    content_type: str = "application/json"
    key: str | None = None
    version: int | None = None
    """The version that a write is meant for."""

    @property
    def repeatable(self) -> bool:
        """Whether carrying it out twice is no different from once."""
        once = self.content is None or isinstance(self.content, bytes)
        return once and (self.method in _REPEATABLE or self.key is not None)


class Tokens(msgspec.Struct, frozen=True):
    """What renewing a token answers, as far as it matters here."""

    token: str
    refresh_token: str


class _Renewed(msgspec.Struct, frozen=True):
    data: Tokens


class Transport:
    """A connection to one platform, as one caller."""

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        refresh_token: str | None = None,
        tenant: str | None = None,
        timeout_s: float = 40.0,
        retries: Retries | None = None,
    ) -> None:
        """`tenant` names the store for calls without a token, and for callers of the platform."""
        self.token = token
        self.refresh_token = refresh_token
        self._url = url.rstrip("/")
        self._tenant = tenant
        self._timeout = timedelta(seconds=timeout_s)
        self._retries = retries or Retries()
        self._client: Client | None = None
        self._renewing = asyncio.Lock()

    async def __aenter__(self) -> Self:
        """Open it."""
        self._client = ClientBuilder().timeout(self._timeout).follow_redirects(enable=False).build()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close every connection."""
        if self._client is not None:
            await self._client.close()
            self._client = None

    def use_tokens(self, token: str | None, refresh_token: str | None = None) -> None:
        """Call as somebody else from now on; as nobody, without a token."""
        self.token, self.refresh_token = token, refresh_token

    async def send(self, request: Request) -> bytes:
        """Return the body of a success. Raises ApiError, Unreachable."""
        attempt, renewed = 1, False
        while True:
            token = self.token
            try:
                return await self._once(request, token)
            except MercatoError as error:
                if isinstance(error, Unauthorized) and token and self.refresh_token and not renewed:
                    renewed = True
                    await self._renew(token)
                    continue
                pause = self._retries.pause(attempt, error, repeatable=request.repeatable)
                if pause is None:
                    raise
            attempt += 1
            await asyncio.sleep(pause)

    async def stream(self, request: Request) -> AsyncGenerator[bytes, None]:
        """Yield the body of a success as it comes. Raises ApiError, Unreachable; it is not tried again."""
        try:
            async with self._build(request, self.token).build_streamed() as response:
                if response.status >= 300:
                    found = bytes(await response.bytes())
                    raise refusal(response.status, found, response.get_header("retry-after"))
                while (chunk := await response.body_reader.read_chunk()) is not None:
                    yield bytes(chunk)
        except RequestError as error:
            raise _unreachable(error) from error

    async def _once(self, request: Request, token: str | None) -> bytes:
        try:
            response = await self._build(request, token).build().send()
            body = bytes(await response.bytes())
        except RequestError as error:
            raise _unreachable(error) from error
        if response.status >= 300:
            raise refusal(response.status, body, response.get_header("retry-after"))
        return body

    def _build(self, request: Request, token: str | None) -> RequestBuilder:
        if self._client is None:
            raise RuntimeError("use it as `async with Mercato(...) as shop`")
        builder = self._client.request(request.method, self._url + request.path)
        query = [(name, _text(value)) for name, value in request.query.items() if value is not None]
        if query:
            builder = builder.query(query)
        if token:
            builder = builder.bearer_auth(token)
        for name, value in (
            ("X-Tenant-Id", self._tenant),
            ("Idempotency-Key", request.key),
            ("If-Match", None if request.version is None else f'"{request.version}"'),
        ):
            if value is not None:
                builder = builder.header(name, value)
        if request.content is None:
            return builder
        builder = builder.header("Content-Type", request.content_type)
        if isinstance(request.content, bytes):
            return builder.body_bytes(request.content)
        return builder.body_stream(request.content)

    async def _renew(self, used: str) -> None:
        """Get a new token for one that was refused. Calls that were refused together do it once."""
        async with self._renewing:
            if self.token != used or self.refresh_token is None:
                return
            body = _encode({"refresh_token": self.refresh_token})
            try:
                answer = await self._once(Request("POST", _REFRESH, content=body), None)
            except ApiError:
                # A refresh token serves once; asking again with this one would end the session's others.
                self.refresh_token = None
                raise
            tokens = decode(answer, _Renewed).data
            self.use_tokens(tokens.token, tokens.refresh_token)


def decode(body: bytes, kind: type[T]) -> T:
    """Decode an answer. Raises UnexpectedAnswer."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UnexpectedAnswer(f"The answer cannot be read: {error}") from error


def encode(body: object) -> bytes:
    """Encode a body; decimals become numbers with exactly their digits."""
    return _encode(body)


def new_key() -> str:
    """Return a new Idempotency-Key."""
    return str(uuid.uuid4())


def path_of(template: str, **values: str) -> str:
    """Fill a path's placeholders."""
    return template.format(**{name: quote(value, safe="") for name, value in values.items()})


def _text(value: object) -> str:
    """Write a query parameter as JSON would, without quotes."""
    return value if isinstance(value, str) else _encode(value).decode().strip('"')


def _unreachable(error: RequestError) -> Unreachable:
    # A connection that broke after the request was sent has the same type, and other causes.
    causes = error.details["causes"] or []
    never_sent = any(cause["message"] == _NO_CONNECTION for cause in causes)
    return Unreachable(f"No answer: {error.message}", sent=not never_sent)
