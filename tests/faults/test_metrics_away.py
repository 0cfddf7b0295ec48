"""While what a process works on is away and nobody is told, its metrics are told all the same."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests import postgres_server, rabbitmq_server, redis_server
from tests.commands import Server, serving, wait_until
from tests.engines import need
from tests.link import Link
from tests.scrapes import figures, scraped, total
from tests.split_engines import engines

READ = ("mercato_outbox_unsent", "mercato_inbox_parked", "mercato_queue_depth")
"""What is in databases and queues."""
WITHIN_S = 6.0
"""One second by itself, more on a busy machine, and far less than a statement's deadline."""


@pytest.fixture
def links(tmp_path: Path) -> Iterator[tuple[Server, list[Link]]]:
    """Run orders by itself, over links to all that it works on."""
    need("postgres", "rabbitmq", "redis")
    made_for = engines()
    servers = {
        "MERCATO_DATABASE_URL": postgres_server.shared().port,
        "MERCATO_DATABASE_SYSTEM_URL": postgres_server.shared().port,
        "MERCATO_BROKER_URL": rabbitmq_server.shared().port,
        "MERCATO_REDIS_URL": redis_server.shared().port,
    }
    with ExitStack() as ending:
        made = {port: ending.enter_context(Link(port)) for port in set(servers.values())}
        over = {name: made[port].over(made_for[name]) for name, port in servers.items()}
        assert all(urlsplit(url).port != servers[name] for name, url in over.items())
        server = ending.enter_context(
            serving("serve", "orders", folder=tmp_path, port=None, **(made_for | over))
        )
        try:
            yield server, list(made.values())
        finally:
            # It can stop in order then.
            for link in made.values():
                link.heal()


def test_while_nothing_answers_what_was_read_last_stands(links: tuple[Server, list[Link]]) -> None:
    server, made = links
    wait_until(lambda: all(figures(scraped(server.port), name) for name in READ))
    before = scraped(server.port)
    for link in made:
        link.cut()
    for _ in range(4):
        began = time.monotonic()
        text = scraped(server.port)
        took = time.monotonic() - began
        assert took < WITHIN_S
        for name in READ:
            assert figures(text, name) == figures(before, name)
    late = {"event": "figures for the metrics are late"}
    assert total(text, "mercato_failures_total", **late) >= 1
    wait_until(lambda: total(scraped(server.port), "mercato_redis_up") == 0)
    for link in made:
        link.heal()

    def late_no_more() -> bool:
        told = [total(scraped(server.port), "mercato_failures_total", **late) for _ in range(3)]
        return told[0] == told[-1] and total(scraped(server.port), "mercato_bus_connected") == 1

    wait_until(late_no_more)
