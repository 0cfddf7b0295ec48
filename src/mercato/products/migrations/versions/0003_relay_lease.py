"""One replica of several relays the service's events."""

from mercato.adapters.sql.migrations import messaging_v2

revision = "products_0003"
down_revision = "products_0002"


def upgrade() -> None:
    """Create the lease."""
    messaging_v2.upgrade()


def downgrade() -> None:
    """Drop it."""
    messaging_v2.downgrade()
