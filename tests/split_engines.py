"""What a platform in a process per service works on in tests: private servers, and databases of its own."""

import secrets

from tests import postgres_server, rabbitmq_server, redis_server


def engines() -> dict[str, str]:
    """Return the settings of new, migrated databases on the test run's servers."""
    return {
        **postgres_server.shared().environ_of_platform(),
        "MERCATO_DATABASE_POOL": "4",
        "MERCATO_CLUSTER_SECRET": secrets.token_hex(32),
        "MERCATO_BROKER_URL": rabbitmq_server.shared().new_url(),
        "MERCATO_REDIS_URL": redis_server.shared().url,
        "MERCATO_REDIS_PREFIX": redis_server.new_prefix(),
    }
