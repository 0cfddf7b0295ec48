"""A way between two processes, over TCP, that can be cut: what is sent then arrives once it is whole."""

import asyncio
import contextlib
import threading
from typing import Self
from urllib.parse import urlsplit


class Link:
    """Carries connections to a port of this machine, in a thread of its own."""

    def __init__(self, port: int, *, at: int = 0) -> None:
        """Lead to `port`, from the port `at`, a free one unless told."""
        self.opened = 0
        """How many connections have been made over it."""
        self.port = 0
        self._at = at
        self._to = port
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(10)

    def cut(self) -> None:
        """Let nothing pass from now on, while nothing breaks and nobody is told."""
        self._loop.call_soon_threadsafe(self._whole.clear)

    def heal(self) -> None:
        """Let pass what was held up, and all that comes."""
        self._loop.call_soon_threadsafe(self._whole.set)

    def over(self, url: str) -> str:
        """Return a URL of the port's with the link's in its place."""
        assert urlsplit(url).port == self._to
        return url.replace(f":{self._to}", f":{self.port}")

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._whole, self._ended = asyncio.Event(), asyncio.Event()
        self._whole.set()
        server = await asyncio.start_server(self._carry, "127.0.0.1", self._at)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._ended.wait()
        server.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opened += 1
        await self._whole.wait()
        with contextlib.suppress(OSError):
            there, back = await asyncio.open_connection("127.0.0.1", self._to)
            await asyncio.gather(self._pass(reader, back), self._pass(there, writer))
        writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while piece := await reader.read(65536):
                await self._whole.wait()
                writer.write(piece)
                await writer.drain()
        await self._whole.wait()
        writer.close()
