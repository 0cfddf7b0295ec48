"""Messaging, second version: which replica relays a service's events. Migrations are history: never edit."""

import sqlalchemy as sa
from alembic import op


def upgrade() -> None:
    """Create the lease of the relay: one row, of whoever relays now."""
    op.create_table(
        "relay_lease",
        sa.Column("name", sa.String(36), primary_key=True),
        sa.Column("holder", sa.String(36), nullable=False),
        # By the database's clock.
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    """Drop it."""
    op.drop_table("relay_lease")
