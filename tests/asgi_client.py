"""A client that speaks ASGI to an application in the same process, without a server."""

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import msgspec

from mercato.web.asgi import AsgiApp

Message = MutableMapping[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the application answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    @property
    def code(self) -> str:
        return str(self.json["error"]["code"])


class Client:
    """Sends requests as a server would: header names lower case, the path decoded."""

    def __init__(self, app: AsgiApp) -> None:
        self.app = app
        self.address = "192.0.2.7"

    async def __call__(
        self,
        method: str,
        target: str,
        body: object = None,
        *,
        headers: Mapping[str, str] | None = None,
        chunks: Sequence[Message] | None = None,
        secure: bool = False,
    ) -> Answer:
        """Send one request. A `body` that is not bytes is sent as JSON; `chunks` are raw messages."""
        sent = {name.lower(): value for name, value in (headers or {}).items()}
        raw = body if isinstance(body, bytes) else b"" if body is None else msgspec.json.encode(body)
        if raw:
            sent.setdefault("content-type", "application/json")
        incoming = list(chunks or [{"type": "http.request", "body": raw, "more_body": False}])
        outgoing: list[Message] = []
        path, _, query = target.partition("?")

        async def receive() -> Message:
            return incoming.pop(0)

        async def send(message: Message) -> None:
            outgoing.append(message)

        await self.app(
            {
                "type": "http",
                "method": method,
                "path": unquote(path),
                "query_string": query.encode("latin-1"),
                "scheme": "https" if secure else "http",
                "client": (self.address, 1234),
                "headers": [(name.encode(), value.encode("latin-1")) for name, value in sent.items()],
            },
            receive,
            send,
        )
        start, *pieces = outgoing
        assert [piece["more_body"] for piece in pieces] == [True] * (len(pieces) - 1) + [False]
        received: dict[str, str] = {}
        for raw_name, raw_value in start["headers"]:
            name, value = raw_name.decode(), raw_value.decode("latin-1")
            received[name] = f"{received[name]}, {value}" if name in received else value
        return Answer(start["status"], received, b"".join(piece["body"] for piece in pieces))
