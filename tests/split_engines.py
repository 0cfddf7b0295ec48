"""What a platform in a process per service works on in tests: private servers, and databases of its own."""

import itertools
import os
import secrets
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from tests import postgres_server, rabbitmq_server, redis_server
from tests.postgres_server import ROLES

_numbers = itertools.count(1)


def engines() -> dict[str, str]:
    """Return the settings of new, migrated databases on the test run's server."""
    # A test may start a platform in its event loop, and the server is started with one of its own.
    with ThreadPoolExecutor(1) as apart:
        server = apart.submit(postgres_server.shared).result()
    name = f"{{service}}_split_{os.getpid()}_{next(_numbers)}"
    settings = {
        "MERCATO_DATABASE_URL": server.url(name, ROLES.serving),
        "MERCATO_DATABASE_SYSTEM_URL": server.url(name, ROLES.system),
        "MERCATO_DATABASE_POOL": "4",
        "MERCATO_CLUSTER_SECRET": secrets.token_hex(32),
        "MERCATO_BROKER_URL": rabbitmq_server.shared().new_url(),
        "MERCATO_REDIS_URL": redis_server.shared().url,
        "MERCATO_REDIS_PREFIX": redis_server.new_prefix(),
    }
    subprocess.run(
        [sys.executable, "-m", "mercato", "migrate", "up"],
        env={**os.environ, **settings, "MERCATO_DATABASE_OWNER_URL": server.url(name)},
        check=True,
        capture_output=True,
        timeout=120,
    )
    return settings
