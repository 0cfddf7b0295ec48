"""Export to a collector: OTLP over HTTP, as Protocol Buffers."""

from collections.abc import Mapping, Sequence

from pyreqwest.client import Client
from pyreqwest.exceptions import RequestError

from mercato.adapters.http.client import close, http_client
from mercato.adapters.tracing import otlp
from mercato.adapters.tracing.batches import NotExported
from mercato.kernel.tracing import Recorded, Value

_LATER = frozenset({429, 502, 503, 504})
"""With these a collector asks to be sent the same again (OTLP, Failures)."""


class Collector:
    """See batches.Exporter."""

    def __init__(
        self, url: str, headers: Mapping[str, str], resource: Mapping[str, Value], version: str
    ) -> None:
        """Send to `url` with `headers`. Nothing is connected before the first batch."""
        self._url = url
        self._headers = {**headers, "content-type": "application/x-protobuf"}
        self._resource = resource
        self._version = version
        self._client: Client | None = None

    async def export(self, spans: Sequence[Recorded]) -> None:
        """Send a batch."""
        if self._client is None:
            self._client = http_client(1)
        body = otlp.to_protobuf(otlp.document(self._resource, self._version, spans))
        try:
            request = self._client.post(self._url).headers(self._headers).body_bytes(body)
            answered = await request.build().send()
        except RequestError as error:
            # Its words may hold the address, and that a password.
            raise NotExported(f"the collector is away: {type(error).__name__}", again=True) from None
        if answered.status >= 300:
            raise NotExported(f"the collector answers {answered.status}", again=answered.status in _LATER)

    async def close(self) -> None:
        """Close the connection."""
        if self._client is not None:
            await close(self._client)
