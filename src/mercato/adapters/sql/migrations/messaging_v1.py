"""The tables of outbox, inbox and claims, first version. Migrations are history: never edit."""

import sqlalchemy as sa
from alembic import op


def create() -> None:
    """Create the tables."""
    _outbox()
    _inbox()
    _claims()


def _outbox() -> None:
    op.create_table(
        "outbox",
        sa.Column("position", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("event_id", sa.String(36), nullable=False),
        sa.Column("key", sa.String(160), nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("type", sa.String(64), nullable=False),
        sa.Column("tenant_id", sa.String(63), nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("sent_at", sa.BigInteger),
        # A position is never used twice, even after the newest rows were purged.
        sqlite_autoincrement=True,
    )
    unsent = sa.text("sent_at IS NULL")
    op.create_index("outbox_unsent", "outbox", ["position"], sqlite_where=unsent, postgresql_where=unsent)
    op.create_index("outbox_key", "outbox", ["key", "sequence"], unique=True)
    op.create_table(
        "outbox_sequences",
        sa.Column("key", sa.String(160), primary_key=True),
        sa.Column("last", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )


def _inbox() -> None:
    op.create_table(
        "inbox_positions",
        sa.Column("key", sa.String(160), primary_key=True),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "inbox_parked",
        sa.Column("event_id", sa.String(36), primary_key=True),
        sa.Column("tenant_id", sa.String(63), nullable=False),
        sa.Column("type", sa.String(64), nullable=False),
        sa.Column("key", sa.String(160), nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("state", sa.String(8), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("reason", sa.String(500), nullable=False),
        sa.Column("next_try_at", sa.BigInteger, nullable=False),
        sa.Column("first_seen_at", sa.BigInteger, nullable=False),
        sa.CheckConstraint("state IN ('failed', 'waiting', 'dead', 'replay')", name="inbox_parked_state"),
    )
    op.create_index("inbox_parked_key", "inbox_parked", ["key", "sequence"])
    op.create_index("inbox_parked_due", "inbox_parked", ["state", "next_try_at"])


def _claims() -> None:
    op.create_table(
        "claims",
        sa.Column("tenant_id", sa.String(63), primary_key=True),
        sa.Column("principal", sa.String(64), primary_key=True),
        sa.Column("route", sa.String(128), primary_key=True),
        sa.Column("key", sa.String(255), primary_key=True),
        sa.Column("body_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("object_id", sa.String(36), nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("state", sa.String(8), nullable=False),
        sa.Column("answer", sa.LargeBinary),
        sa.Column("lease_until", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.CheckConstraint("state IN ('open', 'done')", name="claims_state"),
    )
    op.create_index("claims_created_at", "claims", ["created_at"])


def drop() -> None:
    """Drop the tables and what they hold."""
    for table in ("claims", "inbox_parked", "inbox_positions", "outbox_sequences", "outbox"):
        op.drop_table(table)
