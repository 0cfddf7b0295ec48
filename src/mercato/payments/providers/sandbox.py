"""The sandbox: a provider for development, with a durable book of its own.

Test tokens say what happens. No token, or `tok_visa`, pays; `tok_declined` and
`tok_insufficient_funds` are declined; `tok_slow` pays late; `tok_timeout` never answers and
was not charged; `tok_lost` was charged, and the answer is lost.
"""

import asyncio
import secrets
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import assert_never

from mercato.adapters.sql.database import Database, Tx, UniqueViolation
from mercato.adapters.sql.sqlite import SqliteDatabase
from mercato.contracts.payment_books import ChargeBook, ChargeOutcome
from mercato.kernel.ids import uuid7
from mercato.payments.ports import (
    Charged,
    ChargeRequest,
    Declined,
    NeverCharged,
    OutcomeUnknown,
    Refunded,
    RefundRefused,
    RefundRequest,
)

_DECLINING = {
    "tok_declined": "card declined",
    "tok_insufficient_funds": "insufficient funds",
}
_PAYING = frozenset({None, "tok_visa", "tok_slow", "tok_lost"})

SCHEMA = """
CREATE TABLE IF NOT EXISTS charges (
  key TEXT PRIMARY KEY,
  outcome TEXT NOT NULL CHECK (outcome IN ('charged', 'declined', 'void')),
  amount INTEGER NOT NULL,
  currency TEXT NOT NULL,
  transaction_id TEXT UNIQUE,
  reason TEXT
);
CREATE TABLE IF NOT EXISTS refunds (
  key TEXT PRIMARY KEY,
  transaction_id TEXT NOT NULL,
  amount INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS refunds_transaction ON refunds (transaction_id);
CREATE TABLE IF NOT EXISTS secrets (
  name TEXT PRIMARY KEY,
  value TEXT NOT NULL
);
"""

Tell = Callable[[str, Mapping[str, str]], None]
"""Told what sort of thing came to an end, and the metadata that names whose and which."""

TENANT, KEY = "tenant", "key"


@dataclass(frozen=True, slots=True)
class Book:
    """Where the sandbox keeps what it did, and what it signs its webhooks with."""

    db: Database
    webhook_secret: str = field(repr=False)


def book_at(path: Path) -> Book:
    """Open the book in a file of its own, or begin one."""
    with _opened(path) as connection:
        secret = _secret(connection)
    return Book(SqliteDatabase(path), secret)


class Sandbox:
    """See payments.ports.Provider."""

    name = "sandbox"

    def __init__(self, book: Book, *, slow_s: float) -> None:
        """`slow_s` is how late a slow token pays."""
        self.webhook_secret = book.webhook_secret
        self._db = book.db
        self._slow_s = slow_s
        self._tell: Tell = _nobody

    def on_news(self, tell: Tell) -> None:
        """Call `tell` whenever a charge or a refund has come to its end."""
        self._tell = tell

    def check(self) -> None:
        """Do nothing: it is always there."""

    async def charge(self, request: ChargeRequest) -> Charged | Declined:
        """Take the money as the token says, once per key."""
        if request.token == "tok_timeout":  # noqa: S105  a test token is no secret
            await asyncio.get_running_loop().create_future()
        if request.token == "tok_slow":  # noqa: S105
            await asyncio.sleep(self._slow_s)

        async def step(tx: Tx) -> Charged | Declined:
            metadata = {TENANT: request.tenant, KEY: request.key}
            tx.after_commit(lambda: self._tell("charge.settled", metadata))
            return await _book_charge(tx, request)

        outcome: Charged | Declined | NeverCharged | None
        try:
            outcome = await self._db.transact(step)
        except UniqueViolation:
            # The key is known, and nothing takes it out of the book in the time of a call.
            outcome = await _outcome(self._db, request.key)
        if request.token == "tok_lost":  # noqa: S105
            raise OutcomeUnknown("the answer was lost")
        return outcome if isinstance(outcome, Charged | Declined) else Declined("the key is closed")

    async def resolve(self, request: ChargeRequest) -> Charged | Declined | NeverCharged:
        """Say what became of a key; one without a charge is void from now on."""
        key = request.key

        voided = await self._db.write(
            "INSERT INTO charges (key, outcome, amount, currency) VALUES (?, ?, 0, '')"
            " ON CONFLICT (key) DO NOTHING",
            (key, ChargeOutcome.VOID),
        )
        return (None if voided else await _outcome(self._db, key)) or NeverCharged()

    async def refund(self, request: RefundRequest) -> Refunded | RefundRefused:
        """Give money back, once per key and never more than was charged."""

        async def step(tx: Tx) -> Refunded | RefundRefused:
            await tx.lock_name(request.transaction_id)
            if await tx.fetch_one("SELECT key FROM refunds WHERE key = ?", (request.key,)) is not None:
                return Refunded()
            row = await tx.fetch_one(
                "SELECT amount - (SELECT coalesce(sum(refunds.amount), 0) FROM refunds"
                " WHERE refunds.transaction_id = charges.transaction_id)"
                " FROM charges WHERE transaction_id = ?",
                (request.transaction_id,),
            )
            if row is None:
                return RefundRefused("unknown transaction")
            if request.amount > row[0]:
                return RefundRefused("more than is left of the charge")
            await tx.execute(
                "INSERT INTO refunds (key, transaction_id, amount) VALUES (?, ?, ?)",
                (request.key, request.transaction_id, request.amount),
            )
            metadata = {TENANT: request.tenant, KEY: request.charge_key}
            tx.after_commit(lambda: self._tell("refund.settled", metadata))
            return Refunded()

        return await self._db.transact(step)

    async def book(self) -> list[ChargeBook]:
        """Return every charge with what was given back of it, to reconcile against."""
        rows = await self._db.search(
            "SELECT charges.key, charges.amount, currency, outcome, coalesce(sum(refunds.amount), 0)"
            " FROM charges LEFT JOIN refunds ON refunds.transaction_id = charges.transaction_id"
            " GROUP BY charges.key"
        )
        return [
            ChargeBook(
                key=key, amount=amount, currency=currency, outcome=ChargeOutcome(outcome), refunded=refunded
            )
            for key, amount, currency, outcome, refunded in rows
        ]

    async def forget(self, keys: Sequence[str]) -> None:
        """Delete charges with what was given back of them: their store is purged. Idempotent."""

        async def step(tx: Tx) -> None:
            for key in keys:
                await tx.execute(
                    "DELETE FROM refunds WHERE transaction_id IN"
                    " (SELECT transaction_id FROM charges WHERE key = ?)",
                    (key,),
                )
                await tx.execute("DELETE FROM charges WHERE key = ?", (key,))

        await self._db.transact(step)

    async def close(self) -> None:
        """Finish what is being written, and close the book."""
        await self._db.close()


def make_book(path: Path) -> None:
    """Make the tables of the book at `path`, without anything in them. Idempotent."""
    with _opened(path):
        return


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    """Open the file, with the book's tables in it."""
    path.touch(mode=0o600)
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(SCHEMA)
        yield connection


def _secret(connection: sqlite3.Connection) -> str:
    """Return what webhooks are signed with, made with the book: its owner alone can read it."""
    connection.execute(
        "INSERT INTO secrets (name, value) VALUES ('webhooks', ?) ON CONFLICT DO NOTHING",
        (secrets.token_hex(32),),
    )
    connection.commit()
    value: str = connection.execute("SELECT value FROM secrets WHERE name = 'webhooks'").fetchone()[0]
    return value


def _nobody(_kind: str, _metadata: Mapping[str, str]) -> None:
    """Nobody wants to be told."""


async def _outcome(reader: Database, key: str) -> Charged | Declined | NeverCharged | None:
    """Return what the book says of a key, None if it does not know it."""
    row = await reader.fetch_one("SELECT outcome, transaction_id, reason FROM charges WHERE key = ?", (key,))
    if row is None:
        return None
    outcome = ChargeOutcome(row[0])
    match outcome:
        case ChargeOutcome.CHARGED:
            return Charged(row[1])
        case ChargeOutcome.DECLINED:
            return Declined(row[2])
        case ChargeOutcome.VOID:
            return NeverCharged()
        case _:
            assert_never(outcome)


async def _book_charge(tx: Tx, request: ChargeRequest) -> Charged | Declined:
    """Enter a new charge as its token says."""
    transaction_id = reason = None
    if request.token in _PAYING:
        transaction_id, outcome = f"sbx_{uuid7()}", ChargeOutcome.CHARGED
    else:
        reason, outcome = _DECLINING.get(request.token or "", "unknown token"), ChargeOutcome.DECLINED
    await tx.put(
        "INSERT INTO charges (key, outcome, amount, currency, transaction_id, reason)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (request.key, outcome, request.amount, request.currency, transaction_id, reason),
    )
    return Charged(transaction_id) if transaction_id is not None else Declined(reason or "")
