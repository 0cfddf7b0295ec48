"""Clients that take nothing of what they asked for, on the server that a process has."""

import asyncio
import contextlib

import psutil
import pytest

from mercato.runtime import http_server
from mercato.runtime.http_server import HttpServer
from mercato.web.http import Request, Response
from tests.running import free_port
from tests.waiting import until

ANSWER = b"a" * (32 << 20)
"""More than the system keeps for one connection."""
ASK = b"GET /%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


class Answers:
    async def handle(self, request: Request) -> Response:
        return Response(200, ANSWER if request.path == "/long" else b"short")


async def test_a_client_that_never_reads_its_answer_is_cut_off_and_others_are_served(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http_server, "WRITE_DEADLINE_MS", 5_000)
    port = free_port()
    server = HttpServer(Answers(), "127.0.0.1", port)
    serving = asyncio.create_task(server.serve())
    await until(lambda: _listens(port))
    stuck = []
    for _ in range(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # of a transport that reads
        writer.write(ASK % b"long")
        stuck.append((reader, writer))
    await until(lambda: served_on(port) >= len(stuck))

    async def came(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
        """Return how much of the answer a client gets that begins to read too late."""
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        size = 0
        with contextlib.suppress(ConnectionError):
            while piece := await reader.read(1 << 20):
                size += len(piece)
        writer.close()
        return size

    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(ASK % b"short")
    assert (await reader.read()).endswith(b"short")
    writer.close()
    await until(lambda: served_on(port) == 0, within_s=60)
    assert max([await came(*each) for each in stuck]) < len(ANSWER)
    server.stop()  # type: ignore[no-untyped-call]  # it ships without annotations
    await serving


def served_on(port: int) -> int:
    """Return how many connections the server has."""
    here = psutil.Process().net_connections("tcp")
    return sum(1 for each in here if each.laddr.port == port and each.status == psutil.CONN_ESTABLISHED)


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True
