"""The sandbox's own book, where every replica finds it: on PostgreSQL in a schema of its own.

On SQLite it is a file of its own beside the database.
"""

import sqlalchemy as sa
from alembic import op

revision = "payments_0003"
down_revision = "payments_0002"

_BOOK = "sandbox"


def _is_postgres() -> bool:
    return op.get_bind().dialect.name == "postgresql"


def upgrade() -> None:
    """Create the book."""
    if not _is_postgres():
        return
    op.execute(f"CREATE SCHEMA {_BOOK}")
    op.create_table(
        "charges",
        sa.Column("key", sa.String(64), primary_key=True),
        sa.Column("outcome", sa.String(8), nullable=False),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("transaction_id", sa.String(64), unique=True),
        sa.Column("reason", sa.String(500)),
        sa.CheckConstraint("outcome IN ('charged', 'declined', 'void')", name="charges_outcome"),
        schema=_BOOK,
    )
    op.create_table(
        "refunds",
        sa.Column("key", sa.String(128), primary_key=True),
        sa.Column("transaction_id", sa.String(64), nullable=False),
        sa.Column("amount", sa.BigInteger, nullable=False),
        schema=_BOOK,
    )
    op.create_index("refunds_transaction", "refunds", ["transaction_id"], schema=_BOOK)


def downgrade() -> None:
    """Forget the book."""
    if _is_postgres():
        op.execute(f"DROP SCHEMA {_BOOK} CASCADE")
