"""Reading bodies: never more than the endpoint takes, and never longer than a deadline."""

import asyncio
from collections.abc import AsyncIterable, Mapping

from mercato.kernel.errors import BadRequest
from mercato.web.errors import PayloadTooLarge

BODY_DEADLINE_S = 20.0


async def collect(headers: Mapping[str, str], chunks: AsyncIterable[bytes], limit: int) -> bytes:
    """Return the whole body. Raises PayloadTooLarge, and BadRequest for one that comes too slowly."""
    too_large = PayloadTooLarge(f"The body must not exceed {limit} bytes.")
    declared = headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        raise too_large
    found: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_DEADLINE_S):
            async for chunk in chunks:
                size += len(chunk)
                if size > limit:
                    raise too_large
                found.append(chunk)
    except TimeoutError:
        raise BadRequest("The body did not arrive in time.") from None
    return found[0] if len(found) == 1 else b"".join(found)
