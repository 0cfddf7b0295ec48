"""Lists of orders by creation, whatever they are filtered by."""

import sqlalchemy as sa
from alembic import op

revision = "orders_0002"
down_revision = "orders_0001"

# Deleted orders are in none of them. That column ends each all the same: without it, counting would
# look each row up to see that it is not deleted.
_LISTED = {
    "orders_created": ["tenant_id", "created_at", "id", "deleted_at"],
    "orders_of_user": ["tenant_id", "user_id", "created_at", "id", "deleted_at"],
    "orders_in_status": ["tenant_id", "status", "created_at", "id", "deleted_at"],
    "orders_of_user_in_status": ["tenant_id", "user_id", "status", "created_at", "id", "deleted_at"],
}


def upgrade() -> None:
    """Index what is listed by creation instead of by id."""
    op.drop_index("orders_user", "orders")
    op.drop_index("orders_status", "orders")
    there = sa.text("deleted_at IS NULL")
    for name, columns in _LISTED.items():
        op.create_index(name, "orders", columns, sqlite_where=there, postgresql_where=there)


def downgrade() -> None:
    """Index by id again."""
    for name in _LISTED:
        op.drop_index(name, "orders")
    op.create_index("orders_user", "orders", ["tenant_id", "user_id", "id"])
    op.create_index("orders_status", "orders", ["tenant_id", "status", "id"])
