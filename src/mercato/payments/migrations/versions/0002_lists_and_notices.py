"""Lists of payments by creation, providers' notices, and the purge of what is past."""

import sqlalchemy as sa
from alembic import op

revision = "payments_0002"
down_revision = "payments_0001"

_BY_ID = {
    "payments_order": ["tenant_id", "order_id", "id"],
    "payments_user": ["tenant_id", "user_id", "id"],
    "payments_status": ["tenant_id", "status", "id"],
}
_LISTED = {
    "payments_created": ["tenant_id", "created_at", "id"],
    "payments_of_order": ["tenant_id", "order_id", "created_at", "id"],
    "payments_of_user": ["tenant_id", "user_id", "created_at", "id"],
    "payments_in_status": ["tenant_id", "status", "created_at", "id"],
    "payments_of_user_in_status": ["tenant_id", "user_id", "status", "created_at", "id"],
}


def upgrade() -> None:
    """Index what is listed by creation instead of by id, and make room for notices."""
    for name in _BY_ID:
        op.drop_index(name, "payments")
    for name, columns in _LISTED.items():
        op.create_index(name, "payments", columns)
    # What providers have told by webhook, so that each event has its effect once.
    op.create_table(
        "notices",
        sa.Column("provider", sa.String(16), primary_key=True),
        sa.Column("event_id", sa.String(255), primary_key=True),
        sa.Column("heard_at", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("notices_heard", "notices", ["heard_at"])
    op.create_index("order_fates_cancelled", "order_fates", ["cancelled_at"])


def downgrade() -> None:
    """Index by id again, and forget the notices."""
    op.drop_index("order_fates_cancelled", "order_fates")
    op.drop_table("notices")
    for name in _LISTED:
        op.drop_index(name, "payments")
    for name, columns in _BY_ID.items():
        op.create_index(name, "payments", columns)
