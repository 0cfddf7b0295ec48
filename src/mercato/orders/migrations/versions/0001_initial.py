"""The first schema of orders."""

import sqlalchemy as sa
from alembic import op

from mercato.adapters.sql.migrations import messaging_v1

revision = "orders_0001"
down_revision = None


def upgrade() -> None:
    """Create orders, the local catalogue, and the tables of events and claims."""
    op.create_table(
        "orders",
        sa.Column("tenant_id", sa.String(63), primary_key=True),
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("user_id", sa.String(36), nullable=False),
        sa.Column("name", sa.String(200)),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("payment_status", sa.String(24), nullable=False),
        sa.Column("stock", sa.String(16), nullable=False),
        sa.Column("hold_until", sa.BigInteger, nullable=False),
        sa.Column("lines", sa.Text, nullable=False),
        sa.Column("total_amount", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("shipping_address", sa.String(1000)),
        sa.Column("notes", sa.String(2000)),
        sa.Column("cancel_reason", sa.String(500)),
        sa.Column("timeline", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("deleted_at", sa.BigInteger),
        sa.CheckConstraint("total_amount >= 0", name="orders_total_amount"),
    )
    op.create_index("orders_user", "orders", ["tenant_id", "user_id", "id"])
    op.create_index("orders_status", "orders", ["tenant_id", "status", "id"])
    pending = sa.text("status = 'pending'")
    op.create_index("orders_expiry", "orders", ["hold_until"], sqlite_where=pending, postgresql_where=pending)
    op.create_table(
        "catalogue",
        sa.Column("tenant_id", sa.String(63), primary_key=True),
        sa.Column("product_id", sa.String(36), primary_key=True),
        sa.Column("sku", sa.String(64), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("price", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("catalogue_sku", "catalogue", ["tenant_id", "sku"])
    messaging_v1.create()


def downgrade() -> None:
    """Drop everything."""
    messaging_v1.drop()
    op.drop_table("catalogue")
    op.drop_table("orders")
