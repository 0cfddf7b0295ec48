"""The first schema of products."""

import sqlalchemy as sa
from alembic import op

from mercato.adapters.sql.migrations import messaging_v1

revision = "products_0001"
down_revision = None


def upgrade() -> None:
    """Create the catalogue, its stock, what orders hold, and the tables of events and claims."""
    _catalogue()
    _stock()
    messaging_v1.create()


def _catalogue() -> None:
    op.create_table(
        "products",
        sa.Column("tenant_id", sa.String(63), primary_key=True),
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("sku", sa.String(64), nullable=False),
        # The SKU while the product is in the catalogue: NULL gives it free for another.
        sa.Column("live_sku", sa.String(64)),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("description", sa.Text),
        sa.Column("price", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("category", sa.String(100)),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.CheckConstraint("price >= 0", name="products_price"),
    )
    op.create_index("products_sku", "products", ["tenant_id", "live_sku"], unique=True)
    op.create_index("products_category", "products", ["tenant_id", "category", "id"])


def _stock() -> None:
    op.create_table(
        "inventory",
        sa.Column("tenant_id", sa.String(63), primary_key=True),
        sa.Column("product_id", sa.String(36), primary_key=True),
        sa.Column("on_hand", sa.BigInteger, nullable=False),
        sa.Column("reserved", sa.BigInteger, nullable=False),
        sa.Column("warehouse_location", sa.String(200)),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.CheckConstraint("reserved >= 0", name="inventory_reserved"),
        sa.CheckConstraint("on_hand >= reserved", name="inventory_available"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "stock_movements",
        sa.Column("tenant_id", sa.String(63), primary_key=True),
        sa.Column("product_id", sa.String(36), primary_key=True),
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("on_hand_delta", sa.BigInteger, nullable=False),
        sa.Column("reserved_delta", sa.BigInteger, nullable=False),
        sa.Column("order_id", sa.String(36)),
        sa.Column("actor", sa.String(64), nullable=False),
        sa.Column("reason", sa.String(500)),
        sa.Column("at", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "reservations",
        sa.Column("tenant_id", sa.String(63), primary_key=True),
        sa.Column("order_id", sa.String(36), primary_key=True),
        sa.Column("state", sa.String(8), nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("lines", sa.Text, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.Column("next_check_at", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.CheckConstraint("state IN ('held', 'taken', 'released')", name="reservations_state"),
    )
    held = sa.text("state = 'held'")
    op.create_index(
        "reservations_due", "reservations", ["next_check_at"], sqlite_where=held, postgresql_where=held
    )


def downgrade() -> None:
    """Drop everything."""
    messaging_v1.drop()
    for table in ("reservations", "stock_movements", "inventory", "products"):
        op.drop_table(table)
