"""Lines of requests: one each, but for probes that find all well."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from mercato.web.access_log import PROBES_EVERY_S, AccessLine, AccessLog

READY = "GET /health/ready"


def line(route: str = READY, status: int = 200) -> AccessLine:
    path = route.split()[1]
    return AccessLine(datetime.now(UTC), "info", "request", "r", "GET", path, route, status, 1.0, "::1")


async def test_of_probes_the_first_is_told_and_then_one_now_and_then_with_their_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written: list[bytes] = []
    log = AccessLog(written.append)
    for _ in range(50):
        log.add(line())
        log.add(line("GET /api/v1/products"))
    log.add(line("GET /metrics"))
    log.add(line(status=503))
    loop = asyncio.get_running_loop()
    later = loop.time() + PROBES_EVERY_S
    monkeypatch.setattr(loop, "time", lambda: later)
    log.add(line())
    log.add(line())
    log.flush()

    told: list[Any] = [msgspec.json.decode(each) for each in b"".join(written).splitlines()]

    probes = [each for each in told if each["route"] == READY]
    assert [(each["status"], each.get("left_out", 0)) for each in probes] == [
        (200, 0),
        (503, 0),
        (200, 49),
    ]
    assert [each["route"] for each in told].count("GET /api/v1/products") == 50
    assert [each["route"] for each in told].count("GET /metrics") == 1
