"""The first schema of notifications."""

import sqlalchemy as sa
from alembic import op

from mercato.adapters.sql.migrations import messaging_v1

revision = "notifications_0001"
down_revision = None

_LISTED = {
    "notifications_created": ["tenant_id", "created_at", "id"],
    "notifications_in_status": ["tenant_id", "status", "created_at", "id"],
    "notifications_of_template": ["tenant_id", "template", "created_at", "id"],
    "notifications_of_order": ["tenant_id", "order_id", "created_at", "id"],
    "notifications_to": ["tenant_id", "recipient_key", "created_at", "id"],
}


def upgrade() -> None:
    """Create notifications, the mailbox, who is an operator, and the tables of events and claims."""
    op.create_table(
        "notifications",
        sa.Column("tenant_id", sa.String(63), primary_key=True),
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("event_id", sa.String(36), nullable=False),
        sa.Column("template", sa.String(32), nullable=False),
        sa.Column("user_id", sa.String(36), nullable=False),
        sa.Column("order_id", sa.String(36)),
        sa.Column("facts", sa.Text, nullable=False),
        sa.Column("status", sa.String(8), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("sending", sa.Integer, nullable=False),
        sa.Column("reason", sa.String(500)),
        sa.Column("recipient", sa.String(254)),
        sa.Column("recipient_key", sa.String(254)),
        sa.Column("subject", sa.String(500)),
        # When it is to be tried, or taken from who tries it; NULL where it is not on its way.
        sa.Column("due_at", sa.BigInteger),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("sent_at", sa.BigInteger),
        sa.CheckConstraint(
            "status IN ('queued', 'sending', 'sent', 'skipped', 'failed')", name="notifications_status"
        ),
        sa.CheckConstraint(
            "(due_at IS NULL) = (status IN ('sent', 'skipped', 'failed'))", name="notifications_due_at"
        ),
    )
    op.create_index(
        "notifications_event", "notifications", ["tenant_id", "event_id", "template"], unique=True
    )
    for name, columns in _LISTED.items():
        op.create_index(name, "notifications", columns)
    is_due = sa.text("due_at IS NOT NULL")
    op.create_index(
        "notifications_due", "notifications", ["due_at"], sqlite_where=is_due, postgresql_where=is_due
    )
    failed = sa.text("status = 'failed'")
    op.create_index(
        "notifications_failed", "notifications", ["status"], sqlite_where=failed, postgresql_where=failed
    )
    _mailbox()
    # Whose mails the admins of the store do not see.
    op.create_table(
        "operators",
        sa.Column("tenant_id", sa.String(63), primary_key=True),
        sa.Column("user_id", sa.String(36), primary_key=True),
        sqlite_with_rowid=False,
    )
    messaging_v1.create()


def _mailbox() -> None:
    op.create_table(
        "mailbox",
        sa.Column("tenant_id", sa.String(63), primary_key=True),
        sa.Column("id", sa.String(36), primary_key=True),
        # The how-manieth mail of the store it is: so the oldest are found that are too many.
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("notification_id", sa.String(36), nullable=False),
        sa.Column("sending", sa.Integer, nullable=False),
        sa.Column("user_id", sa.String(36), nullable=False),
        sa.Column("mail", sa.Text, nullable=False),
    )
    op.create_index("mailbox_mail", "mailbox", ["tenant_id", "notification_id", "sending"], unique=True)
    op.create_index("mailbox_number", "mailbox", ["tenant_id", "number"], unique=True)


def downgrade() -> None:
    """Drop everything."""
    messaging_v1.drop()
    for table in ("operators", "mailbox", "notifications"):
        op.drop_table(table)
