"""The sandbox's book on each engine: a file of its own, or a schema that every replica shares."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from mercato.adapters.sql.database import Database
from mercato.adapters.sql.postgres import PostgresDatabase
from mercato.adapters.sql.postgres_pool import PoolSettings
from mercato.payments.providers.sandbox import Book, book_at
from mercato.runtime.folder import SCHEMAS
from tests import postgres_server
from tests.engines import need
from tests.postgres_server import ROLES

SECRET = "what webhooks are signed with"


def shared_book(payments: Database) -> Book:
    """Open the book in a payments database on the test run's server, as each replica does."""
    assert isinstance(payments, PostgresDatabase)
    return _book_in(payments.name)


def _book_in(database: str) -> Book:
    server = postgres_server.shared()
    serving, system = server.url(database, ROLES.serving), server.url(database, ROLES.system)
    db = PostgresDatabase(serving, system, PoolSettings(8, "sandbox"), name=f"{database}.sandbox")
    return Book(db, SECRET)


@asynccontextmanager
async def new_book(engine: str, folder: Path) -> AsyncIterator[Book]:
    """Begin a book; closing it is the sandbox's."""
    if engine == "sqlite":
        yield book_at(folder / "sandbox.db")
        return
    need("postgres")
    server = postgres_server.shared()
    name = await server.new_database(SCHEMAS["payments"])
    yield _book_in(name)
    await server.drop(name)
