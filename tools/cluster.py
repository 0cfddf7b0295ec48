"""Run every service in a process of its own on private servers, with the demo: `make cluster`.

PostgreSQL, RabbitMQ and Redis are those that the tests start: on free ports, in new folders, gone at the
end with all that they kept. `make setup-engines` installs them.
"""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack

import asyncpg

from tests import engines
from tests.postgres_server import OWNER, ROLES, PostgresServer
from tests.rabbitmq_server import RabbitmqServer
from tests.redis_server import RedisServer

_NAME = "mercato_{service}"


def main() -> int:
    """Start the servers and the platform, and stop all of them at Ctrl-C."""
    missing = [name for name in ("postgres", "rabbitmq", "redis") if not engines.available(name)]
    if missing:
        print(f"There is no {' and no '.join(missing)} here; `make setup-engines` installs them.")
        return 2
    with ExitStack() as servers:
        settings = {**os.environ, **_start(servers.callback)}
        mercato = [sys.executable, "-m", "mercato"]
        subprocess.run([*mercato, "migrate", "up"], env=settings, check=True)
        # A Ctrl-C goes to the platform too, which ends by itself.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        words = ["up", "--split", "--demo", *sys.argv[1:]]
        return subprocess.run([*mercato, *words], env=settings, check=False, preexec_fn=_listen).returncode


def _start(at_the_end: Callable[[Callable[[], None]], object]) -> dict[str, str]:
    """Start the servers, and return the settings that name them."""
    print("Starting PostgreSQL, RabbitMQ and Redis ...", flush=True)
    database, broker, cache = PostgresServer(durable=True), RabbitmqServer(), RedisServer()
    for server in (database, broker, cache):
        server.start()
        at_the_end(server.stop)
    asyncio.run(_let_owner_make_databases(database))
    return {
        "MERCATO_DATABASE_URL": database.url(_NAME, ROLES.serving),
        "MERCATO_DATABASE_SYSTEM_URL": database.url(_NAME, ROLES.system),
        "MERCATO_DATABASE_OWNER_URL": database.url(_NAME, OWNER),
        "MERCATO_BROKER_URL": broker.url,
        "MERCATO_REDIS_URL": cache.url,
    }


async def _let_owner_make_databases(server: PostgresServer) -> None:
    connection = await asyncpg.connect(server.url("postgres"))
    await connection.execute(f"ALTER ROLE {OWNER} CREATEDB")
    await connection.close()


def _listen() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


if __name__ == "__main__":
    sys.exit(main())
