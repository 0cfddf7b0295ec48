"""One replica of several relays the service's events."""

from mercato.adapters.sql.migrations import messaging_v2

revision = "notifications_0002"
down_revision = "notifications_0001"


def upgrade() -> None:
    """Create the lease."""
    messaging_v2.upgrade()


def downgrade() -> None:
    """Drop it."""
    messaging_v2.downgrade()
