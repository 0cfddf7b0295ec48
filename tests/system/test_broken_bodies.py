"""Bodies that break off: what came of them is not the whole, and must not be taken for it."""

import asyncio
import socket
import struct

import pytest

from mercato.kernel.ids import uuid7
from tests.running import Answer, Platform, Shopper, Store, open_store

LINES = 250
NDJSON = "application/x-ndjson"
IMPORT = "/api/v1/products/import"
RESET = struct.pack("ii", 1, 0)


def head(store: Store, framing: str, *, key: str, path: str = IMPORT, kind: str = NDJSON) -> bytes:
    lines = (
        f"POST {path} HTTP/1.1",
        "Host: x",
        f"Authorization: Bearer {store.admin}",
        f"Content-Type: {kind}",
        f"Idempotency-Key: {key}",
        framing,
    )
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


async def send_in_part(platform: Platform, sent: bytes, *, end: str) -> bytes:
    """Send this and end the connection; return what was answered, if that can be heard."""
    reader, writer = await asyncio.open_connection("127.0.0.1", platform.port)
    writer.write(sent)
    await writer.drain()
    if end == "half-closed":
        writer.write_eof()
        async with asyncio.timeout(10):
            came = await reader.read(-1)
        writer.close()
        return came
    if end == "reset":
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    writer.close()
    return b""


async def products_of(shop: Shopper) -> int:
    return int((await shop.get("/api/v1/products?limit=1")).json["meta"]["total_count"])


async def finish(shop: Shopper, body: bytes, key: str) -> Answer:
    """Send the whole file, as often as the server is still busy with the broken one."""
    while True:
        answer = await shop.send("POST", IMPORT, NDJSON, body, headers={"Idempotency-Key": key})
        if answer.status != 409:
            return answer
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("end", ["half-closed", "closed", "reset"])
@pytest.mark.parametrize("framing", ["length", "chunks"])
async def test_an_import_whose_connection_breaks_is_not_done_and_its_repetition_goes_on(
    platform: Platform, framing: str, end: str
) -> None:
    store = await open_store(platform, f"cut-{framing}-{end}")
    key = uuid7()
    body = b"".join(b'{"sku":"S%d","name":"Thing %d","price":1}\n' % (at, at) for at in range(LINES))
    # Broken off in the middle of a line, which would be read as a bad one.
    part = body[: len(body) // 2 + 7]
    if framing == "length":
        sent = head(store, f"Content-Length: {len(body)}", key=key) + part
    else:
        sent = head(store, "Transfer-Encoding: chunked", key=key) + b"%x\r\n%b\r\n" % (len(part), part)

    came = await send_in_part(platform, sent, end=end)

    assert b"200 OK" not in came
    async with platform.client(store.admin) as shop:
        done = await finish(shop, body, key)
        assert (done.data["lines"], done.data["created"], done.data["failed"]) == (LINES, LINES, 0)
        assert await products_of(shop) == LINES
        again = await finish(shop, body, key)
        assert again.data == done.data


@pytest.mark.parametrize("framing", ["Content-Length: 200", "Transfer-Encoding: chunked"])
async def test_what_is_all_or_nothing_is_nothing_when_its_connection_breaks(
    platform: Platform, framing: str
) -> None:
    store = await open_store(platform, f"nothing-{framing[:7].lower()}")
    line = b'{"sku":"WHOLE","name":"A whole line","price":1}\n'
    chunk = line if "Length" in framing else b"%x\r\n%b\r\n" % (len(line), line)
    sent = head(store, framing, key=uuid7(), path=f"{IMPORT}?on_error=abort") + chunk

    came = await send_in_part(platform, sent, end="half-closed")

    assert b"400 Bad Request" in came
    async with platform.client(store.admin) as shop:
        assert await products_of(shop) == 0


async def test_half_of_a_json_body_that_looks_whole_does_nothing(platform: Platform) -> None:
    store = await open_store(platform, "half-json")
    body = b'{"sku":"HALF","name":"Half","price":1}'
    sent = head(store, "Content-Length: 400", key=uuid7(), path="/api/v1/products", kind="application/json")

    came = await send_in_part(platform, sent + body, end="half-closed")

    assert b"400 Bad Request" in came
    async with platform.client(store.admin) as shop:
        assert await products_of(shop) == 0
