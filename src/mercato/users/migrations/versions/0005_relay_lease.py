"""One replica of several relays the service's events."""

from mercato.adapters.sql.migrations import messaging_v2

revision = "users_0005"
down_revision = "users_0004"


def upgrade() -> None:
    """Create the lease."""
    messaging_v2.upgrade()


def downgrade() -> None:
    """Drop it."""
    messaging_v2.downgrade()
