"""Whether the events of a store have arrived at every service that is to hear of them."""

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping

from mercato.adapters.service import ServiceParts
from mercato.adapters.sql.database import Database
from mercato.kernel.tenancy import TenantId

_PAGE = 500


async def under_way(services: Mapping[str, ServiceParts], tenant: TenantId) -> Counter[str]:
    """Return how many ordering keys have an event that a service has yet to hear of, by service.

    What waits in an outbox counts as long as a relay is at work on it. Events that are kept no more are
    taken for heard. It is for databases on PostgreSQL.
    """
    missing: Counter[str] = Counter()
    for sender in services.values():
        async for last in _last_events(sender.steps.db, tenant):
            for name, consumer in services.items():
                own = {key: number for key, number in last.items() if _family(key) in consumer.families}
                if own:
                    taken = await _taken_in(consumer.steps.db, own)
                    missing[name] += sum(taken[key] < number for key, number in own.items())
    return +missing


async def _last_events(db: Database, tenant: TenantId) -> AsyncIterator[dict[str, int]]:
    """Yield the number of the last event by ordering key, some keys at a time."""
    from mercato.adapters.sql.postgres_replicas import is_relayed  # noqa: PLC0415  an extra's driver

    sent = "" if await is_relayed(db) else " AND sent_at IS NOT NULL"
    after = f"{tenant}/"
    while True:
        rows = await db.search(
            f"SELECT key, max(sequence) FROM outbox WHERE key > ? AND key < ?{sent}"
            " GROUP BY key ORDER BY key LIMIT ?",
            # An ordering key is `store/family/subject`, and 0 is the character after the slash.
            (after, f"{tenant}0", _PAGE),
        )
        if not rows:
            return
        yield dict(rows)
        after = rows[-1][0]


async def _taken_in(db: Database, keys: Iterable[str]) -> Counter[str]:
    """Return by ordering key up to which number a service has its events, handled or parked."""
    wanted = list(keys)
    marks = ", ".join("?" * len(wanted))
    positions = await db.search(f"SELECT key, sequence FROM inbox_positions WHERE key IN ({marks})", wanted)
    found: Counter[str] = Counter(dict(positions))
    parked = await db.search(
        # Those that wait for one that has not come have a greater number than they are many.
        f"SELECT key, count(*) FROM inbox_parked WHERE key IN ({marks}) AND state IN ('failed', 'waiting')"
        " GROUP BY key",
        wanted,
    )
    found.update(dict(parked))
    return found


def _family(key: str) -> str:
    return key.split("/", 2)[1]
