"""In which trace each notification was queued, so that its sending is part of that."""

import sqlalchemy as sa
from alembic import op

revision = "notifications_0003"
down_revision = "notifications_0002"


def upgrade() -> None:
    """Add the place in the trace, as W3C's traceparent writes it; NULL where there was none."""
    op.add_column("notifications", sa.Column("traceparent", sa.String(55)))


def downgrade() -> None:
    """Drop it."""
    op.drop_column("notifications", "traceparent")
