"""Sessions that rotate, verified emails, lists and searches of users, and cuts of tokens."""

import re
import unicodedata

import sqlalchemy as sa
from alembic import op

revision = "users_0002"
down_revision = "users_0001"

_LIVE = sa.text("email_key IS NOT NULL")
_BATCH = 1_000

_word = re.compile(r"[^\W_]+")


def upgrade() -> None:
    """Add what accounts and sessions need, and index the users there are."""
    op.add_column(
        "users", sa.Column("email_verified", sa.SmallInteger, nullable=False, server_default=sa.text("0"))
    )
    op.add_column("refresh_tokens", sa.Column("used_at", sa.BigInteger))
    op.create_index("refresh_tokens_family", "refresh_tokens", ["tenant_id", "family_id"])
    op.create_index("refresh_tokens_user", "refresh_tokens", ["tenant_id", "user_id"])
    op.create_index("refresh_tokens_expires_at", "refresh_tokens", ["expires_at"])
    for name, columns in _LISTS.items():
        op.create_index(name, "users", columns, sqlite_where=_LIVE, postgresql_where=_LIVE)
    op.create_table(
        "user_counts",
        sa.Column("tenant_id", sa.String(63), primary_key=True),
        sa.Column("role", sa.String(16), primary_key=True),
        sa.Column("is_active", sa.SmallInteger, primary_key=True),
        sa.Column("users", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "token_cuts",
        sa.Column("tenant_id", sa.String(63), primary_key=True),
        # A user or a machine.
        sa.Column("subject", sa.String(36), primary_key=True),
        sa.Column("cut", sa.String(36), nullable=False),
        sa.Column("until", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("token_cuts_until", "token_cuts", ["until"])
    op.execute(
        "INSERT INTO user_counts (tenant_id, role, is_active, users)"
        " SELECT tenant_id, role, is_active, count(*) FROM users WHERE email_key IS NOT NULL"
        " GROUP BY tenant_id, role, is_active"
    )
    op.create_table(
        "user_documents",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("tenant_id", sa.String(63), nullable=False),
        sa.Column("user_id", sa.String(36), nullable=False),
    )
    op.create_index("user_documents_user", "user_documents", ["tenant_id", "user_id"], unique=True)
    if op.get_bind().dialect.name == "postgresql":
        # Mercato came to PostgreSQL with this revision: there is nobody from before.
        op.create_table(
            "user_terms",
            sa.Column("tenant_id", sa.String(63), primary_key=True),
            sa.Column("term", sa.String(64), primary_key=True),
            sa.Column("number", sa.Integer, primary_key=True),
        )
        op.create_index("user_terms_number", "user_terms", ["tenant_id", "number"])
        return
    op.execute("CREATE VIRTUAL TABLE user_words USING fts5(words, tokenize = \"unicode61 tokenchars '-_'\")")
    _index_all()


_LISTS = {
    "users_live": ["tenant_id", "id"],
    "users_role": ["tenant_id", "role", "id"],
    "users_active": ["tenant_id", "is_active", "id"],
    "users_role_active": ["tenant_id", "role", "is_active", "id"],
}


def _index_all() -> None:
    database = op.get_bind()
    found = sa.text(
        "SELECT tenant_id, id, email, first_name, last_name, role, is_active FROM users"
        " WHERE email_key IS NOT NULL AND (tenant_id, id) > (:tenant, :after)"
        " ORDER BY tenant_id, id LIMIT :batch"
    )
    at, after = "", ""
    while rows := database.execute(found, {"tenant": at, "after": after, "batch": _BATCH}).all():
        for tenant, user_id, email, first_name, last_name, role, is_active in rows:
            words = {f"_{role}", "_active" if is_active else "_disabled"}
            words.update(_words(f"{email} {first_name} {last_name}"))
            number = database.execute(
                sa.text(
                    "INSERT INTO user_documents (tenant_id, user_id) VALUES (:tenant, :user) RETURNING number"
                ),
                {"tenant": tenant, "user": user_id},
            ).scalar_one()
            database.execute(
                sa.text("INSERT INTO user_words (rowid, words) VALUES (:number, :words)"),
                {"number": number, "words": " ".join(f"{tenant}_{word}" for word in sorted(words))},
            )
        at, after = rows[-1].tenant_id, rows[-1].id


def _words(text: str) -> list[str]:
    folded = unicodedata.normalize("NFKD", text.casefold())
    return _word.findall("".join(char for char in folded if not unicodedata.combining(char)).casefold())


def downgrade() -> None:
    """Drop it."""
    op.drop_table("user_terms" if op.get_bind().dialect.name == "postgresql" else "user_words")
    op.drop_table("user_documents")
    op.drop_table("token_cuts")
    op.drop_table("user_counts")
    for name in _LISTS:
        op.drop_index(name, "users")
    for name in ("refresh_tokens_family", "refresh_tokens_user", "refresh_tokens_expires_at"):
        op.drop_index(name, "refresh_tokens")
    op.drop_column("refresh_tokens", "used_at")
    op.drop_column("users", "email_verified")
