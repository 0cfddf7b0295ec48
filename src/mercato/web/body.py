"""Reading bodies: never more than the endpoint takes, and never longer than a deadline."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterable, Mapping

from mercato.kernel.errors import BadRequest
from mercato.web.errors import PayloadTooLarge

BODY_DEADLINE_S = 20.0
"""For a whole body; of one that is read while it arrives, for each piece."""
LEAST_RATE = 500
"""Bytes a second that such a one has to come with once that is over, as Apache's mod_reqtimeout has it."""


async def collect(headers: Mapping[str, str], chunks: AsyncIterable[bytes], limit: int) -> bytes:
    """Return the whole body. Raises PayloadTooLarge, and BadRequest for one that comes too slowly."""
    check_declared(headers, limit)
    found: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_DEADLINE_S):
            async for chunk in chunks:
                size += len(chunk)
                if size > limit:
                    raise _too_large(limit)
                found.append(chunk)
    except TimeoutError:
        raise BadRequest("The body did not arrive in time.") from None
    return found[0] if len(found) == 1 else b"".join(found)


async def pieces(
    headers: Mapping[str, str], chunks: AsyncIterable[bytes], limit: int
) -> AsyncGenerator[bytes, None]:
    """Yield the body as it arrives.

    Raises PayloadTooLarge, and BadRequest for one that stands still, or trickles. What counts is the time
    that was waited for the sender.
    """
    check_declared(headers, limit)
    size, waited = 0, 0.0
    arriving = aiter(chunks)
    while True:
        began = time.monotonic()
        try:
            async with asyncio.timeout(min(BODY_DEADLINE_S, BODY_DEADLINE_S + size / LEAST_RATE - waited)):
                chunk = await anext(arriving)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise BadRequest("The body did not arrive in time.") from None
        size += len(chunk)
        waited += time.monotonic() - began
        if size > limit:
            raise _too_large(limit)
        yield chunk


def check_declared(headers: Mapping[str, str], limit: int) -> None:
    """Raise PayloadTooLarge for a body that is said to be too long."""
    declared = headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        raise _too_large(limit)


def _too_large(limit: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"The body must not exceed {limit} bytes.")
