"""Killing the process in the middle of imports: the repeated call ends with the whole, once."""

import asyncio
from contextlib import suppress
from pathlib import Path

import psutil

from tests.running import Down, Platform, open_store

LINES = 8_000
KILLED_AT = (300, 1_500, 3_000)
NDJSON = "application/x-ndjson"


async def test_an_import_that_is_killed_again_and_again_imports_every_line_once(
    own_platform: Platform,
) -> None:
    platform = own_platform
    platform.start()
    store = await open_store(platform, "importing")
    body = b"".join(
        b'{"sku":"S%d","name":"Thing %d","price":%d.5,"stock":2}\n' % (number, number, number)
        for number in range(LINES)
    )
    path, headers = "/api/v1/products/import", {"Idempotency-Key": "import"}
    for there in KILLED_AT:
        async with platform.client(store.admin) as admin, platform.client(store.admin) as looking:
            importing = asyncio.create_task(admin.send("POST", path, NDJSON, body, headers=headers))
            while (await looking.get("/api/v1/products?limit=1")).json["meta"]["total_count"] < there:
                assert not importing.done(), importing.result()
            await asyncio.to_thread(platform.kill)
            with suppress(Down):
                assert (await importing).status >= 500
        await asyncio.to_thread(platform.start)
    async with platform.client(store.admin) as admin:
        for _ in range(2):
            done = await admin.send("POST", path, NDJSON, body, headers=headers)
            report = {
                name: done.data[name] for name in ("lines", "created", "updated", "unchanged", "failed")
            }
            assert report == {"lines": LINES, "created": LINES, "updated": 0, "unchanged": 0, "failed": 0}
        other = await admin.send("POST", path, NDJSON, body[:-10], headers=headers)
        assert (other.status, other.code) == (422, "IDEMPOTENCY_KEY_REUSED")
        listed = await admin.get("/api/v1/products?limit=1&search=thing&in_stock=true")
        assert listed.json["meta"]["total_count"] == LINES
    platform.assert_balanced()


async def test_a_large_import_and_its_export_take_no_more_memory_than_a_small_one(
    own_platform: Platform, tmp_path: Path
) -> None:
    platform = own_platform
    platform.start()
    store = await open_store(platform, "large")
    assert platform.process is not None
    process = psutil.Process(platform.process.pid)
    padding = b"x" * 9_000
    line = b'{"sku":"S%d","name":"Thing","price":1,"description":"' + padding + b'"}\n'
    async with platform.client(store.admin) as admin:
        sizes = []
        for count in (200, 5_000):
            # Mostly the same few products, so that the file grows and the catalogue does not.
            body = b"".join(line % (number % 100) for number in range(count))
            answer = await admin.send("POST", "/api/v1/products/import", NDJSON, body)
            assert answer.data["lines"] == count
            assert (await admin.get("/api/v1/products/export")).status == 200
            sizes.append(process.memory_info().rss)
    assert sizes[1] - sizes[0] < 20_000_000, sizes
