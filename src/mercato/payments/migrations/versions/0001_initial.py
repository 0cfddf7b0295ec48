"""The first schema of payments."""

import sqlalchemy as sa
from alembic import op

from mercato.adapters.sql.migrations import messaging_v1

revision = "payments_0001"
down_revision = None


def upgrade() -> None:
    """Create payments, the fates of orders, and the tables of events and claims."""
    op.create_table(
        "payments",
        sa.Column("tenant_id", sa.String(63), primary_key=True),
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("order_id", sa.String(36), nullable=False),
        # The order while this payment is open or paid: unique, so that it has one such payment.
        sa.Column("active_order_id", sa.String(36)),
        sa.Column("user_id", sa.String(36), nullable=False),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.Column("refunded_amount", sa.BigInteger, nullable=False),
        sa.Column("pending_refunds", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("method", sa.String(16), nullable=False),
        sa.Column("status", sa.String(24), nullable=False),
        sa.Column("provider", sa.String(16)),
        sa.Column("token", sa.String(255)),
        sa.Column("description", sa.String(500)),
        sa.Column("transaction_id", sa.String(255)),
        sa.Column("failure_reason", sa.String(500)),
        sa.Column("paid_at", sa.BigInteger),
        sa.Column("refunds", sa.Text, nullable=False),
        sa.Column("order_cancelled", sa.Integer, nullable=False),
        sa.Column("checks", sa.Integer, nullable=False),
        sa.Column("check_at", sa.BigInteger),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.CheckConstraint("amount >= 0", name="payments_amount"),
        sa.CheckConstraint(
            "refunded_amount >= 0 AND pending_refunds >= 0 AND refunded_amount + pending_refunds <= amount",
            name="payments_refunds",
        ),
    )
    op.create_index("payments_active", "payments", ["tenant_id", "active_order_id"], unique=True)
    op.create_index("payments_order", "payments", ["tenant_id", "order_id", "id"])
    op.create_index("payments_user", "payments", ["tenant_id", "user_id", "id"])
    op.create_index("payments_status", "payments", ["tenant_id", "status", "id"])
    is_open = sa.text("check_at IS NOT NULL")
    op.create_index("payments_due", "payments", ["check_at"], sqlite_where=is_open, postgresql_where=is_open)
    op.create_table(
        "order_fates",
        sa.Column("tenant_id", sa.String(63), primary_key=True),
        sa.Column("order_id", sa.String(36), primary_key=True),
        sa.Column("cancelled_at", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    messaging_v1.create()


def downgrade() -> None:
    """Drop everything."""
    messaging_v1.drop()
    op.drop_table("order_fates")
    op.drop_table("payments")
