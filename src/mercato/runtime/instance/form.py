"""The form of an instance's file: gzip'ed lines of JSON that any program, and any database, can read.

The first line is a header, the last an end with counts and a digest of all before it. Between them are
the keys, and each table: a line that names it and its columns, then an array a row. Moments are integer
microseconds, bytes base64. What is derived from other rows, such as full-text indexes, is left out.
"""

import re
from datetime import datetime

import msgspec

FORMAT = 1
MAX_LINE = 16 * 1024 * 1024
"""Bytes. What a request may store is far below it; a longer line is no line of ours."""
MAX_KEY = 64 * 1024
"""Bytes of a key's file."""

UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What decoding a line raises that is none."""

_LEFT_OUT = {"alembic_version"}
_kinds: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"INT"), "integer"),
    (re.compile(r"CHAR|TEXT|CLOB"), "text"),
    (re.compile(r"BLOB"), "bytes"),
)


class BadExport(Exception):
    """The file cannot be imported; the message says in a sentence why."""


class Line(msgspec.Struct, frozen=True, tag_field="kind", forbid_unknown_fields=True):
    """A line that is an object, and so no row."""


class Header(Line, frozen=True, tag="instance"):
    """What wrote the file, when, and each database's revision; None for one without revisions."""

    format: int
    version: str
    made_at: datetime
    databases: dict[str, str | None]


class Key(Line, frozen=True, tag="key"):
    """One file of the installation's keys."""

    name: str
    modified_at: datetime
    content: bytes


class Table(Line, frozen=True, tag="table"):
    """The rows that follow are this table's. Columns are in the rows' order, each with its kind.

    `counter` is the highest number that the table has ever given a row, where it never gives one twice.
    """

    database: str
    name: str
    columns: dict[str, str]
    counter: int | None = None

    @property
    def full_name(self) -> str:
        """The table's name among all databases'."""
        return f"{self.database}.{self.name}"


class End(Line, frozen=True, tag="end"):
    """How much there was, by table, and the SHA-256 of every byte before this line."""

    rows: dict[str, int]
    keys: int
    sha256: str


def kind_of(declared: str) -> str:
    """Return a column's kind by its declared type, as SQLite reads types (datatype3, section 3.1)."""
    return next((kind for pattern, kind in _kinds if pattern.search(declared.upper())), "number")


def is_kept(table: str) -> bool:
    """Say whether a table holds rows that an instance is made of."""
    return table not in _LEFT_OUT and not table.startswith("sqlite_")
