"""A client of the public API, as patient as the platform asks it to be."""

import asyncio
import hashlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any, NamedTuple
from urllib.parse import SplitResult, urlsplit

import msgspec

from mercato.cli.common import Refused

_DEADLINE_S = 30.0
_PATIENCE_S = 120.0
"""How long a call is repeated that the platform puts off."""
_AGAIN_S = 0.05
_CONNECTIONS = 8
_PAGE = 100
_lines = msgspec.json.Decoder()
JSON, NDJSON = "application/json", "application/x-ndjson"


class Answer(NamedTuple):
    """What came back: the decoded body, and whether it is the answer of an earlier call."""

    status: int
    body: Any
    replayed: bool
    retry_after: str | None

    @property
    def data(self) -> Any:  # noqa: ANN401  as the endpoint answers
        """The data of a success."""
        return self.body["data"]

    @property
    def code(self) -> str:
        """The code of a refusal."""
        return str(self.body["error"]["code"])

    @property
    def message(self) -> str:
        """The words of a refusal."""
        return str(self.body["error"]["message"])


def address(url: str) -> SplitResult:
    """Return a platform's URL in its parts. Raises Refused for what is none."""
    wrong = Refused(f"{url} is no address of a platform; name it as http://HOST:PORT.")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise wrong from None
    if parts.scheme not in {"http", "https"} or not host:
        raise wrong
    return parts


class Api:
    """Calls a platform, over a few connections that are kept open. To be closed in the end."""

    def __init__(self, url: str) -> None:
        """Connect when first called. Raises Refused for a URL that is none."""
        self.url = url.rstrip("/")
        self._parts = address(self.url)
        self._pool = ThreadPoolExecutor(_CONNECTIONS, thread_name_prefix="demo")
        self._own = threading.local()
        self._opened: list[HTTPConnection] = []

    def close(self) -> None:
        """Close the connections."""
        self._pool.shutdown(cancel_futures=True)
        for connection in self._opened:
            connection.close()

    async def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        store: str,
        token: str | None = None,
        once: str | None = None,
    ) -> Answer:
        """Call the API, again as long as it asks for that. Bytes are sent as NDJSON, all else as JSON.

        `once` says what the call is for: it has its effect once, whoever repeats it with the same body.
        Raises Refused if no platform answers, or not in time.
        """
        content = body if isinstance(body, bytes) else b"" if body is None else msgspec.json.encode(body)
        headers = {"X-Tenant-Id": store}
        if body is not None:
            headers["Content-Type"] = NDJSON if isinstance(body, bytes) else JSON
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        if once is not None:
            digest = hashlib.blake2b(f"{once}\n{path}\n".encode() + content, digest_size=16)
            headers["Idempotency-Key"] = f"demo-{digest.hexdigest()}"
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            answer = await self._in_thread(method, path, headers, content)
            delay = _delay(answer)
            if delay is None:
                return answer
            if time.monotonic() + delay > deadline:
                raise Refused(
                    f"{self.url} puts {method} {path} off for {delay:.0f} s: {answer.message} The demo can be"
                    f" run again then; `mercato tenants set-tier {store} unlimited` lifts a store's limits."
                )
            await asyncio.sleep(delay)

    async def need(self, method: str, path: str, body: object = None, **options: Any) -> Any:  # noqa: ANN401
        """Call the API and return the data of its success. Raises Refused with the API's words."""
        answer = await self.call(method, path, body, **options)
        if answer.status >= 300:
            raise Refused(f"{method} {path} was answered {answer.status}: {answer.message}")
        return answer.data

    async def every(self, path: str, **options: Any) -> list[Any]:  # noqa: ANN401
        """Return all of a list."""
        found: list[Any] = []
        after = ""
        while True:
            answer = await self.call("GET", f"{path}?limit={_PAGE}&count=false{after}", **options)
            if answer.status >= 300:
                raise Refused(f"GET {path} was answered {answer.status}: {answer.message}")
            found += answer.data
            if not answer.body["meta"]["has_more"]:
                return found
            after = f"&after={answer.body['meta']['next_cursor']}"

    async def lines(self, path: str, **options: Any) -> list[Any]:  # noqa: ANN401
        """Return the objects of a download of NDJSON."""
        answer = await self.call("GET", path, **options)
        if answer.status >= 300:
            raise Refused(f"GET {path} was answered {answer.status}: {answer.message}")
        return list(answer.body)

    async def offers(self, path: str) -> bool:
        """Say whether there is something at a path, for whomever it may be."""
        return (await self.call("GET", path, store="default")).status != 404

    async def _in_thread(self, *request: Any) -> Answer:  # noqa: ANN401  as `_send` takes it
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._send, *request)

    def _send(self, method: str, path: str, headers: dict[str, str], content: bytes) -> Answer:
        connection = self._connection()
        kept = connection.sock is not None
        try:
            response = self._ask(connection, method, path, headers, content)
        except (ConnectionError, HTTPException) as error:
            connection.close()
            # One that was kept may have been closed meanwhile; every call of the demo may be repeated.
            if not kept:
                raise self._away(error) from None
            return self._send(method, path, headers, content)
        except OSError as error:
            connection.close()
            raise self._away(error) from None
        status, replayed, retry_after, kind, raw = response
        try:
            body = _decoded(raw, kind)
        except msgspec.DecodeError:
            raise self._away("the answer is not Mercato's") from None
        if status >= 300 and not (isinstance(body, dict) and isinstance(body.get("error"), dict)):
            raise self._away(f"it answered {status}")
        return Answer(status, body, replayed, retry_after)

    @staticmethod
    def _ask(
        connection: HTTPConnection, method: str, path: str, headers: dict[str, str], content: bytes
    ) -> tuple[int, bool, str | None, str, bytes]:
        connection.request(method, path, content or None, headers)
        response: HTTPResponse = connection.getresponse()
        raw = response.read()
        replayed = response.headers.get("Idempotent-Replayed") == "true"
        kind = response.headers.get("Content-Type", "")
        return response.status, replayed, response.headers.get("Retry-After"), kind, raw

    def _connection(self) -> HTTPConnection:
        """Return the thread's own connection."""
        found: HTTPConnection | None = getattr(self._own, "connection", None)
        if found is None:
            kind = HTTPSConnection if self._parts.scheme == "https" else HTTPConnection
            found = kind(self._parts.hostname or "", self._parts.port, timeout=_DEADLINE_S)
            self._own.connection = found
            self._opened.append(found)
        return found

    def _away(self, cause: object) -> Refused:
        return Refused(
            f"There is no Mercato at {self.url} ({cause}); start one with `mercato up`,"
            " or name it with --url."
        )


def _decoded(body: bytes, kind: str) -> Any:  # noqa: ANN401  as the endpoint answers
    if kind.startswith(NDJSON):
        return _lines.decode_lines(body)
    # Pages are for people: of them it only counts that they are there.
    return msgspec.json.decode(body) if body and not kind.startswith("text/html") else None


def _delay(answer: Answer) -> float | None:
    """Return how long to wait before the call is repeated; None for an answer that stays."""
    if answer.status in {429, 503}:
        given = answer.retry_after or ""
        return float(given) if given.isascii() and given.isdigit() else 1.0
    if answer.status == 409 and answer.code == "IDEMPOTENCY_KEY_IN_USE":
        return _AGAIN_S
    return None
