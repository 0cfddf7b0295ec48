"""What this process shares with its replicas and with other services through Redis."""

from collections.abc import Awaitable, Callable, Iterator

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from mercato.adapters.identity.attempts import LinkLimit, MemoryAttempts
from mercato.adapters.identity.cut_list import HeardCuts, NoUnheardTokens
from mercato.adapters.identity.revocations import Revocations
from mercato.adapters.redis.attempts import SharedAttempts, SharedLinkLimit
from mercato.adapters.redis.connection import PATIENT_S, RedisLink
from mercato.adapters.redis.cuts import RedisCutList
from mercato.adapters.redis.limits import SharedLimits
from mercato.adapters.redis.signals import RedisSignals
from mercato.adapters.service import Worker
from mercato.kernel.clock import Clock
from mercato.runtime.settings import Settings
from mercato.users.wiring import UsersShared
from mercato.web.auth import Authenticator
from mercato.web.limits import QuotaStore


class Shared:
    """One connection to Redis and all that goes over it.

    Redis may be away, at the start too: then each process does what it can by itself.
    """

    def __init__(self, settings: Settings) -> None:
        """Nothing is connected yet."""
        self._settings = settings
        self.link = RedisLink(settings.redis_url, prefix=settings.redis_prefix)
        self.signals = RedisSignals(self.link)
        self._cuts = RedisCutList(self.link, self.signals)
        self._limits: SharedLimits | None = None

    def limits(self, quotas: QuotaStore | None) -> SharedLimits:
        """Return the limits; `quotas` keeps the day's counts, where there is users' database."""
        own = self._settings.limits(quotas)
        self._limits = SharedLimits(self.link, own, quotas=quotas)
        return self._limits

    def of_users(self) -> UsersShared:
        """Return what the replicas of users share."""
        return UsersShared(
            signals=self.signals,
            attempts=SharedAttempts(self.link, MemoryAttempts()),
            link_limit=SharedLinkLimit(self.link, LinkLimit()),
            cuts=self._cuts,
        )

    def heeding(
        self, authenticator: Authenticator, revocations: Revocations, clock: Clock
    ) -> tuple[Authenticator, Worker]:
        """Return the authenticator of a service other than users, and the worker that hears of cuts."""
        heard = HeardCuts(revocations, self._cuts, self.signals, clock=clock)
        if self._settings.unheard_tokens == "refuse":
            return NoUnheardTokens(authenticator, heard), heard.run
        return authenticator, heard.run

    @property
    def workers(self) -> tuple[tuple[str, Worker], ...]:
        """What keeps the connection."""
        return ("redis", self.link.watch), ("signals", self.signals.run)

    @property
    def before_start(self) -> tuple[Callable[[], Awaitable[object]], ...]:
        """What connects, if it can."""
        return (self.link.probe,)

    async def check(self) -> bool:
        """Say whether Redis works, and others are heard."""
        return self.link.up and self.signals.hearing

    async def time(self) -> float:
        """Return the time that it is there, in seconds since the epoch. Raises Unavailable."""
        seconds, micros = await self.link.call(lambda client: client.time(), deadline_s=PATIENT_S)
        return float(seconds) + float(micros) / 1_000_000

    async def close(self) -> None:
        """Close every connection."""
        await self.link.close()

    def measure(self, registry: CollectorRegistry) -> None:
        """Have metrics tell of it."""
        registry.register(_SharedMetrics(self))

    @property
    def judged_alone(self) -> int:
        """How many requests were judged by this process's own counts."""
        return 0 if self._limits is None else self._limits.local


class _SharedMetrics(Collector):
    def __init__(self, shared: Shared) -> None:
        self._shared = shared

    def collect(self) -> Iterator[Metric]:
        """Return what is known, as Prometheus has it."""
        link, signals = self._shared.link, self._shared.signals
        yield GaugeMetricFamily("mercato_redis_up", "Whether Redis works.", link.up)
        yield CounterMetricFamily(
            "mercato_redis_failures", "Calls that Redis did not answer in time.", link.failures
        )
        yield GaugeMetricFamily(
            "mercato_redis_signals_heard", "Whether other replicas are heard.", signals.hearing
        )
        yield CounterMetricFamily(
            "mercato_redis_signal_gaps", "How often signals may have been missed.", signals.gaps
        )
        yield CounterMetricFamily(
            "mercato_limits_judged_alone",
            "Requests that a limit applied to while Redis was away.",
            self._shared.judged_alone,
        )
