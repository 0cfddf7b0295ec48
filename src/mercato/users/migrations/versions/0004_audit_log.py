"""The audit log of each store."""

import sqlalchemy as sa
from alembic import op

revision = "users_0004"
down_revision = "users_0003"

_LISTS = {
    "audit_log_latest": [],
    "audit_log_actor": ["actor"],
    "audit_log_action": ["action"],
    "audit_log_actor_action": ["actor", "action"],
    "audit_log_kind": ["object_kind"],
    "audit_log_actor_kind": ["actor", "object_kind"],
    "audit_log_object": ["object_id"],
}
"""What a list may be filtered by. An action is about one kind, and one object has few entries."""


def upgrade() -> None:
    """Create the log and the indexes of its lists."""
    op.create_table(
        "audit_log",
        sa.Column("tenant_id", sa.String(63), primary_key=True),
        # That of the event that told of it.
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("actor", sa.String(64), nullable=False),
        sa.Column("actor_role", sa.String(16), nullable=False),
        sa.Column("action", sa.String(64), nullable=False),
        sa.Column("object_kind", sa.String(32), nullable=False),
        sa.Column("object_id", sa.String(64), nullable=False),
        # Names, separated by spaces.
        sa.Column("fields", sa.Text, nullable=False),
        sa.Column("address", sa.String(64), nullable=False),
        sa.Column("request_id", sa.String(128), nullable=False),
        sqlite_with_rowid=False,
    )
    for name, columns in _LISTS.items():
        op.create_index(name, "audit_log", ["tenant_id", *columns, "created_at", "id"])
    op.create_index("audit_log_created_at", "audit_log", ["created_at"])


def downgrade() -> None:
    """Drop them."""
    op.drop_table("audit_log")
