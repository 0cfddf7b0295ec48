"""Machines' logins, the day's quotas, and lists of stores by status and tier."""

import sqlalchemy as sa
from alembic import op

revision = "users_0003"
down_revision = "users_0002"


def upgrade() -> None:
    """Create machines and quotas, and the indexes of lists of stores."""
    op.create_table(
        "api_clients",
        sa.Column("tenant_id", sa.String(63), primary_key=True),
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("name", sa.String(100), nullable=False),
        # Separated by spaces, sorted.
        sa.Column("scopes", sa.String(500), nullable=False),
        sa.Column("secret_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("created_by", sa.String(64), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger),
        sa.Column("version", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "quotas",
        # A day of UTC, as 2026-01-31.
        sa.Column("day", sa.String(10), primary_key=True),
        sa.Column("tenant_id", sa.String(63), primary_key=True),
        sa.Column("used", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("tenants_status", "tenants", ["status", "tenant_id"])
    op.create_index("tenants_tier", "tenants", ["tier", "tenant_id"])


def downgrade() -> None:
    """Drop them."""
    op.drop_index("tenants_tier", "tenants")
    op.drop_index("tenants_status", "tenants")
    op.drop_table("quotas")
    op.drop_table("api_clients")
