"""`mercato openapi` and `mercato graphql-schema`."""

import asyncio
import os
import sys
import tempfile
from pathlib import Path

from mercato.gateway.commerce.bound import sdl
from mercato.kernel.clock import utc_now
from mercato.runtime.app import contract_of, openapi_document
from mercato.runtime.embedded import Embedded
from mercato.runtime.settings import load


def write(output: str | None) -> None:
    """Write the document of the whole API to a file, or print it. No data folder is touched."""
    _write(asyncio.run(describe()) + b"\n", output)


def write_schema(output: str | None) -> None:
    """Write the GraphQL schema to a file, or print it."""
    _write(sdl().encode(), output)


def _write(described: bytes, output: str | None) -> None:
    if output is None:
        sys.stdout.buffer.write(described)
        sys.stdout.flush()
    else:
        Path(output).write_bytes(described)


async def describe() -> bytes:
    """Return the document of a platform as `mercato up` wires it, in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="mercato-") as folder:
        platform = Embedded(load(os.environ, data=folder))
        try:
            return openapi_document(contract_of(platform.process, utc_now))
        finally:
            await platform.process.close()
