"""Media types that schemathesis does not know."""

from typing import Any

import schemathesis


@schemathesis.serializer("application/x-ndjson")
def lines(_context: Any, value: Any) -> bytes:
    """Send a file as it is."""
    return value if isinstance(value, bytes) else str(value).encode(errors="replace")
