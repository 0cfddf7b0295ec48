"""Lists and searches that cost the same however many products there are; versions of stock; imports."""

import hashlib
import unicodedata

import sqlalchemy as sa
from alembic import op

revision = "products_0002"
down_revision = "products_0001"

_BATCH = 1_000
_NAME_KEY = 100
_WORD = 64

# What a step of the program writes for a row, as it was when this revision was made.
_COLUMNS = "tenant_id, id, sku, live_sku, price, currency, created_at, updated_at, version, name, description"


def _is_postgres() -> bool:
    return op.get_bind().dialect.name == "postgresql"


def upgrade() -> None:
    """Give products a position, index them for every list, and keep what imports have done."""
    op.rename_table("products", "products_before")
    op.drop_index("products_category", "products_before")
    op.drop_index("products_sku", "products_before")
    _products()
    _words()
    _copy()
    op.drop_table("products_before")
    _indexes()
    op.create_table(
        "product_counts",
        sa.Column("tenant_id", sa.String(63), primary_key=True),
        # The empty category stands for all of the store.
        sa.Column("category", sa.String(100), primary_key=True),
        sa.Column("shelf", sa.SmallInteger, primary_key=True),
        sa.Column("products", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.execute(
        "INSERT INTO product_counts (tenant_id, category, shelf, products)"
        " SELECT tenant_id, '', shelf, count(*) FROM products WHERE shelf > 0 GROUP BY tenant_id, shelf"
        " UNION ALL SELECT tenant_id, category, shelf, count(*) FROM products"
        " WHERE shelf > 0 AND category IS NOT NULL GROUP BY tenant_id, category, shelf"
    )
    op.add_column("inventory", sa.Column("version", sa.BigInteger, nullable=False, server_default="1"))
    _imports()


def _products() -> None:
    op.create_table(
        "products",
        # The order in which products came into the catalogue, of all stores.
        sa.Column("position", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("tenant_id", sa.String(63), nullable=False),
        sa.Column("id", sa.String(36), nullable=False),
        # 0 is out of the catalogue, 1 sold out, 2 in stock.
        sa.Column("shelf", sa.SmallInteger, nullable=False),
        sa.Column("sku", sa.String(64), nullable=False),
        # The SKU while the product is in the catalogue: NULL gives it free for another.
        sa.Column("live_sku", sa.String(64)),
        sa.Column("price", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("category", sa.String(100)),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        # The import that has last been at it.
        sa.Column("import_id", sa.String(36)),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("name_key", sa.String(_NAME_KEY), nullable=False),
        sa.Column("description", sa.Text),
        # What a search finds it by.
        sa.Column("words", sa.Text, nullable=False),
        sa.CheckConstraint("price >= 0", name="products_price"),
        sa.CheckConstraint("shelf IN (0, 1, 2)", name="products_shelf"),
    )


def _words() -> None:
    """Make the full-text index: of positions alone, since the words are beside the product."""
    if _is_postgres():
        op.create_table(
            "product_terms",
            sa.Column("tenant_id", sa.String(63), primary_key=True),
            sa.Column("term", sa.String(_WORD), primary_key=True),
            sa.Column("position", sa.BigInteger, primary_key=True),
        )
        return
    op.execute(
        "CREATE VIRTUAL TABLE product_words USING fts5"
        "(words, content='', columnsize=0, detail=none, tokenize='ascii')"
    )


def _copy() -> None:
    """Move the products over in the order they were made."""
    bind = op.get_bind()
    if _is_postgres():
        # Mercato came to PostgreSQL with this revision: there is nothing from before.
        return
    last = (-1, "")
    while True:
        rows = bind.exec_driver_sql(
            f"SELECT {_COLUMNS}, category, EXISTS (SELECT 1 FROM inventory i WHERE i.tenant_id = b.tenant_id"
            " AND i.product_id = b.id AND i.on_hand > i.reserved) FROM products_before b"
            " WHERE (created_at, id) > (?, ?) ORDER BY created_at, id LIMIT ?",
            (*last, _BATCH),
        ).fetchall()
        for row in rows:
            *kept, category, in_stock = row
            tenant, _, sku, live_sku, *_, name, description = kept
            words = _words_of(sku, name, description or "")
            shelf = 0 if live_sku is None else 2 if in_stock else 1
            bind.exec_driver_sql(
                f"INSERT INTO products ({_COLUMNS}, category, shelf, name_key, words)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (*kept, category, shelf, _plain(name)[:_NAME_KEY], f" {' '.join(words)} "),
            )
            if shelf:
                bind.exec_driver_sql(
                    "INSERT INTO product_words (rowid, words) VALUES (last_insert_rowid(), ?)",
                    (_indexed(tenant, words, category),),
                )
        if len(rows) < _BATCH:
            return
        last = (rows[-1][6], rows[-1][1])


def _plain(text: str) -> str:
    folded = unicodedata.normalize("NFKD", text).casefold()
    return "".join(each for each in folded if not unicodedata.combining(each))


def _words_of(*texts: str) -> list[str]:
    spaced = "".join(each if each.isalnum() else " " for each in _plain(" ".join(texts)))
    return list(dict.fromkeys(word[:_WORD] for word in spaced.split()))


def _indexed(tenant: str, words: list[str], category: str | None) -> str:
    prefix = tenant.replace("-", "\N{MIDDLE DOT}") + "\N{MIDDLE DOT}"
    tokens = [prefix + word for word in words]
    if category is not None:
        digest = hashlib.blake2b(category.encode(), digest_size=8).hexdigest()
        tokens.append(f"{prefix}\N{MIDDLE DOT}{digest}")
    return " ".join(tokens)


def _indexes() -> None:
    """Make an index for each order of a list, within a store or one of its categories."""
    op.create_index("products_id", "products", ["tenant_id", "id"], unique=True)
    op.create_index("products_sku", "products", ["tenant_id", "live_sku"], unique=True)
    # The price at the end of an index is for tests of it on the way.
    for name, columns in (
        ("newest", ["position", "price"]),
        ("price", ["price", "position"]),
        ("name", ["name_key", "position", "price"]),
    ):
        op.create_index(f"products_{name}", "products", ["tenant_id", "shelf", *columns])
        op.create_index(f"products_category_{name}", "products", ["tenant_id", "shelf", "category", *columns])


def _imports() -> None:
    op.create_table(
        "imports",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("tenant_id", sa.String(63), nullable=False),
        # What of the file is done, and a digest of it.
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("report", sa.Text, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
    )
    op.create_index("imports_updated_at", "imports", ["updated_at"])


def downgrade() -> None:
    """Put the catalogue back as it was; deleted products stay deleted."""
    op.drop_table("imports")
    op.drop_column("inventory", "version")
    op.drop_table("product_counts")
    op.drop_table("product_terms" if _is_postgres() else "product_words")
    for name in ("newest", "price", "name"):
        op.drop_index(f"products_{name}", "products")
        op.drop_index(f"products_category_{name}", "products")
    op.drop_index("products_id", "products")
    op.drop_index("products_sku", "products")
    op.rename_table("products", "products_after")
    op.create_table(
        "products",
        sa.Column("tenant_id", sa.String(63), primary_key=True),
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("sku", sa.String(64), nullable=False),
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
    op.execute(
        f"INSERT INTO products ({_COLUMNS}, category) SELECT {_COLUMNS}, category FROM products_after"
        " WHERE shelf > 0"
    )
    op.drop_table("products_after")
    op.create_index("products_sku", "products", ["tenant_id", "live_sku"], unique=True)
    op.create_index("products_category", "products", ["tenant_id", "category", "id"])
