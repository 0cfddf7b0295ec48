"""The traces of a process: what is recorded of them, and where that goes."""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from prometheus_client import CollectorRegistry

from mercato import __version__
from mercato.kernel.ids import uuid7
from mercato.kernel.tracing import UNTRACED, Tracing, Value
from mercato.runtime.metrics import Measures
from mercato.runtime.settings import Settings, WrongSetting, variable

if TYPE_CHECKING:
    from mercato.adapters.tracing.batches import Batches, Exporter

FLUSH_S = 2.0
"""How long, at the end of the process, its last spans may take to be exported."""
_PATH = "/v1/traces"


class Traces:
    """What a process records, and how that leaves it. Where nothing is recorded nothing is imported."""

    def __init__(self, settings: Settings, name: str, registry: CollectorRegistry) -> None:
        """`name` is of the process's service, empty for all of them. Raises WrongSetting."""
        self.tracing: Tracing = UNTRACED
        self._batches: Batches | None = None
        self._running: asyncio.Task[None] | None = None
        if settings.traces == "off":
            return
        from mercato.adapters.tracing import batches  # noqa: PLC0415  for those who record

        self._batches = batches.Batches(_exporter(settings, name))
        Measures(registry).add([self._batches.spans])
        self.tracing = Tracing(self._batches, settings.traces_sample)

    def start(self) -> None:
        """Begin to export what is recorded."""
        if self._batches is not None:
            self._running = asyncio.create_task(self._batches.run(), name="traces")

    async def close(self) -> None:
        """Export what has been recorded, within a deadline."""
        if self._batches is not None and self._running is not None:
            await self._batches.close(self._running, FLUSH_S)


def _exporter(settings: Settings, name: str) -> "Exporter":
    service = settings.traces_service or (f"mercato-{name}" if name else "mercato")
    resource: dict[str, Value] = {
        **_pairs(settings.traces_resource, "traces_resource"),
        "service.name": service,
        "service.version": __version__,
        "service.instance.id": uuid7(),
        "telemetry.sdk.language": "python",
        "telemetry.sdk.name": "mercato",
        "telemetry.sdk.version": __version__,
    }
    if settings.traces == "otlp":
        from mercato.adapters.tracing.collector import Collector  # noqa: PLC0415

        headers = _pairs(settings.traces_headers, "traces_headers")
        return Collector(_endpoint(settings), headers, resource, __version__)
    from mercato.adapters.tracing.local import Console, File  # noqa: PLC0415

    if settings.traces == "console":
        return Console()
    return File(settings.folder / "traces" / f"{name or 'mercato'}.jsonl", resource, __version__)


def _endpoint(settings: Settings) -> str:
    url = settings.traces_endpoint.rstrip("/")
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if not usable or parts.query or parts.fragment:
        raise WrongSetting(
            f"{variable('traces_endpoint')} must be a URL such as http://HOST:4318, where a collector"
            " takes OTLP over HTTP."
        )
    return url if url.endswith(_PATH) else url + _PATH


def _pairs(text: str, setting: str) -> Mapping[str, str]:
    """Read `name=value,name=value`, percent-encoded, as OpenTelemetry's settings are. Raises WrongSetting."""
    pairs = {}
    for each in text.split(","):
        name, equals, value = (part.strip() for part in each.partition("="))
        if not each.strip():
            continue
        if not equals or not name:
            raise WrongSetting(f"{variable(setting)} must be written name=value,name=value.")
        pairs[unquote(name)] = unquote(value)
    return pairs
