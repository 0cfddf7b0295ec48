"""Bodies that are read while they arrive, and answers that are made in pieces."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from mercato.kernel.errors import BadRequest, Unavailable
from mercato.web import body
from mercato.web.call import Call
from mercato.web.endpoint import PUBLIC, Routes
from mercato.web.envelope import Download, Upload
from tests.asgi_client import Client
from tests.shop import open_shop
from tests.unused_claims import UnusedClaims


def routes(pieces: list[bytes] | None = None) -> Routes:
    declared = Routes("files", prefix="/files", claims=UnusedClaims())

    @declared.post("", allow=PUBLIC, accepts=("text/csv", "application/x-ndjson"), max_body=100)
    async def upload(call: Call, body: Upload) -> dict[str, object]:
        """Take a file in."""
        return {"kind": body.content_type, "sizes": [len(chunk) async for chunk in body.chunks]}

    async def made() -> AsyncGenerator[bytes, None]:
        for piece in pieces or [b"a\n"] * 3:
            if piece == b"!":
                raise Unavailable("The shelf is away.")
            yield piece

    @declared.get("", allow=PUBLIC)
    async def download(call: Call) -> Download:
        """Give a file out."""
        return Download("text/csv", made(), (("content-disposition", "attachment"),))

    return declared


def chunks(*parts: bytes) -> list[dict[str, object]]:
    last = len(parts) - 1
    return [
        {"type": "http.request", "body": part, "more_body": index < last} for index, part in enumerate(parts)
    ]


async def test_an_upload_is_read_piece_by_piece() -> None:
    client = Client(open_shop(routes()).app)
    answer = await client("POST", "/files", headers={"content-type": "text/csv"}, chunks=chunks(b"ab", b"c"))
    assert answer.json["data"] == {"kind": "text/csv", "sizes": [2, 1]}


@pytest.mark.parametrize(
    "sent",
    [{}, {"content-type": "application/json"}, {"content-type": "text/csv", "content-encoding": "gzip"}],
)
async def test_an_upload_of_another_kind_is_415(sent: dict[str, str]) -> None:
    client = Client(open_shop(routes()).app)
    answer = await client("POST", "/files", headers=sent, chunks=chunks(b"ab"))
    assert (answer.status, answer.code) == (415, "UNSUPPORTED_MEDIA_TYPE")


@pytest.mark.parametrize("declared", [{}, {"content-length": "101"}])
async def test_an_upload_over_the_limit_is_413_whether_it_says_so_or_not(declared: dict[str, str]) -> None:
    client = Client(open_shop(routes()).app)
    headers = {"content-type": "text/csv", **declared}
    answer = await client("POST", "/files", headers=headers, chunks=chunks(b"a" * 60, b"b" * 41))
    assert (answer.status, answer.code) == (413, "PAYLOAD_TOO_LARGE")


async def _arriving(size: int, pieces: int, every_s: float) -> AsyncGenerator[bytes, None]:
    for _ in range(pieces):
        await asyncio.sleep(every_s)
        yield b"a" * size


async def test_an_upload_that_trickles_in_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "BODY_DEADLINE_S", 0.3)
    monkeypatch.setattr(body, "LEAST_RATE", 100)
    with pytest.raises(BadRequest, match="did not arrive in time"):
        _ = [piece async for piece in body.pieces({}, _arriving(1, 1_000, 0.02), 10_000)]


async def test_an_upload_that_flows_may_take_longer_than_any_piece_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(body, "BODY_DEADLINE_S", 1.0)
    monkeypatch.setattr(body, "LEAST_RATE", 100)
    pieces = [piece async for piece in body.pieces({}, _arriving(1_000, 20, 0.07), 100_000)]
    assert len(pieces) == 20


async def test_an_upload_that_stands_still_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "BODY_DEADLINE_S", 0.01)

    async def standing() -> AsyncGenerator[bytes, None]:
        yield b"a"
        await asyncio.Event().wait()

    arriving = body.pieces({}, standing(), 100)
    assert await anext(arriving) == b"a"
    with pytest.raises(BadRequest):
        await anext(arriving)


async def test_a_download_says_how_long_it_is() -> None:
    answer = await Client(open_shop(routes([b"12", b"345"])).app)("GET", "/files")
    assert (answer.status, answer.body) == (200, b"12345")
    assert answer.headers["content-length"] == "5"
    assert answer.headers["content-type"] == "text/csv"
    assert answer.headers["content-disposition"] == "attachment"


async def test_a_large_download_comes_whole() -> None:
    answer = await Client(open_shop(routes([b"x" * 100_000] * 30)).app)("GET", "/files")
    assert len(answer.body) == 3_000_000


async def test_a_download_that_fails_is_a_refusal_and_not_a_short_file() -> None:
    answer = await Client(open_shop(routes([b"12", b"!"])).app)("GET", "/files")
    assert (answer.status, answer.code) == (503, "SERVICE_UNAVAILABLE")


async def test_the_head_of_a_download_has_its_length_and_no_body() -> None:
    answer = await Client(open_shop(routes([b"12", b"345"])).app)("HEAD", "/files")
    assert (answer.status, answer.body, answer.headers["content-length"]) == (200, b"", "5")


async def test_a_process_does_not_stop_while_it_sends() -> None:
    shop = open_shop(routes([b"x" * 200_000]))
    sending, go_on = asyncio.Event(), asyncio.Event()

    async def send(message: object) -> None:
        if b"x" in bytes(dict(message).get("body", b"")):  # type: ignore[call-overload]
            sending.set()
            await go_on.wait()

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {"type": "http", "method": "GET", "path": "/files", "query_string": b"", "headers": []}
    serving = asyncio.create_task(shop.app(scope, receive, send))
    await sending.wait()
    assert len(shop.shell.under_way) == 1
    go_on.set()
    await serving
    assert len(shop.shell.under_way) == 0


def test_an_endpoint_takes_an_upload_exactly_where_it_says_of_which_kinds() -> None:
    declared = Routes("files")
    with pytest.raises(TypeError, match="never one"):

        @declared.post("/files", allow=PUBLIC)
        async def upload(call: Call, body: Upload) -> None:
            """Take a file in."""

    with pytest.raises(TypeError, match="never one"):

        @declared.post("/none", allow=PUBLIC, accepts=("text/csv",))
        async def nothing(call: Call) -> None:
            """Take nothing in."""
