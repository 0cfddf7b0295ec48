"""Reading a file of products while it arrives: NDJSON, or CSV as RFC 4180 says.

However large the file, no more than a line of it is held. What is wrong with a line is told of
that line; what is wrong with the whole file is raised.
"""

import csv
import hashlib
import re
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from io import StringIO

import msgspec
from msgspec import UNSET, UnsetType

from mercato.kernel.errors import BadRequest, FieldError, ValidationFailed
from mercato.kernel.money import Amount
from mercato.products.domain.importing import ImportRow, Line
from mercato.products.routes.fields import Category, Description, Name, Quantity, Sku
from mercato.web.decode import Body, BodyDecoder
from mercato.web.envelope import encode
from mercato.web.http import Chunks

NDJSON, CSV = "application/x-ndjson", "text/csv"
COLUMNS = ("sku", "name", "price", "description", "category", "stock")
_NEEDED = ("sku", "name", "price")
MAX_LINE = 128 * 1024
"""Bytes of a line, or of a CSV record of several lines."""
_BOM = b"\xef\xbb\xbf"
_TOO_LONG = FieldError("line", f"must not be longer than {MAX_LINE} bytes")
_NOT_UTF8 = FieldError("line", "must be UTF-8")
_number = re.compile(r"[0-9]{1,30}(\.[0-9]{1,30})?").fullmatch
_whole = re.compile(r"[0-9]{1,18}").fullmatch


class ImportProduct(Body, frozen=True):
    """A product to import. What is left out stays as it is; `stock` is a count of what is on hand."""

    sku: Sku
    name: Name
    price: Amount
    description: Description | UnsetType | None = UNSET
    category: Category | UnsetType | None = UNSET
    stock: Quantity | UnsetType | None = UNSET


_decoder = BodyDecoder(ImportProduct)


class FileOfProducts:
    """See products.service.imports.Source."""

    def __init__(self, content_type: str, chunks: Chunks) -> None:
        self.read = 0
        self._csv = content_type == CSV
        self._chunks = chunks
        self._hash = hashlib.blake2b(content_type.encode() + b"\0", digest_size=32)
        self._number = 0

    def digest(self) -> bytes:
        """Return a digest of what has been read."""
        return self._hash.digest()

    def __aiter__(self) -> AsyncIterator[Line]:
        """Yield the lines that are not blank."""
        return self._records() if self._csv else self._objects()

    async def _objects(self) -> AsyncIterator[Line]:
        async for line in self._lines():
            if line is None:
                yield Line(self._number, None, (_TOO_LONG,))
            elif line.strip():
                yield _read(self._number, line)

    async def _records(self) -> AsyncIterator[Line]:
        columns: list[str] | None = None
        record = _Record()
        begun = 0
        async for line in self._lines():
            begun = self._number if record.is_empty else begun
            if not record.take(line):
                continue
            text, error = record.give()
            if columns is None:
                if error is not None:
                    raise BadRequest(f"The line that names the columns {error.message}.")
                columns = _header(text)
            elif error is not None:
                yield Line(begun, None, (error,))
            elif text.strip():
                yield _row(begun, columns, text)
        if not record.is_empty:
            yield Line(begun, None, (FieldError("line", "must end the quotes that it begins"),))
        if columns is None:
            raise BadRequest("The file is empty; a first line must name its columns.")

    async def _lines(self) -> AsyncIterator[bytes | None]:
        """Yield the file line by line, without its end; None for one that is too long."""
        pieces: list[bytes] = []
        size = 0
        async for chunk in self._chunks:
            *ended, rest = chunk.split(b"\n")
            for part in ended:
                pieces.append(part)
                size += len(part)
                yield self._line(pieces, size, b"\n")
                pieces, size = [], 0
            if rest:
                pieces.append(rest)
                size += len(rest)
                if size > MAX_LINE:
                    # Of a line that is too long nothing is kept but its length and digest.
                    self._note(b"".join(pieces))
                    pieces = []
        if size:
            yield self._line(pieces, size, b"")

    def _line(self, pieces: list[bytes], size: int, end: bytes) -> bytes | None:
        line = b"".join(pieces)
        self._note(line + end)
        self._number += 1
        if size > MAX_LINE:
            return None
        return line.removeprefix(_BOM) if self._number == 1 else line

    def _note(self, data: bytes) -> None:
        self._hash.update(data)
        self.read += len(data)


class _Record:
    """A CSV record that is put together from lines: more than one where a quoted field has line breaks."""

    def __init__(self) -> None:
        self._lines: list[bytes] = []
        self._size = 0
        self._open = False
        """A quoted field has begun and not ended."""
        self._too_long = False

    @property
    def is_empty(self) -> bool:
        """Whether nothing has been taken since the last record was given."""
        return not self._size and not self._too_long

    def take(self, line: bytes | None) -> bool:
        """Take a line and say whether the record is whole."""
        if line is None:
            self._too_long = True
            self._lines, self._open = [], False
            return True
        self._size += len(line) + 1
        self._open = _ends_open(line, within=self._open)
        if self._size > MAX_LINE:
            self._too_long = True
            self._lines = []
        else:
            self._lines.append(line)
        return not self._open

    def give(self) -> tuple[str, FieldError | None]:
        """Return the record's text, or what is wrong with it, and begin another."""
        lines, too_long = self._lines, self._too_long
        self._lines, self._size, self._open, self._too_long = [], 0, False, False
        if too_long:
            return "", _TOO_LONG
        try:
            return b"\n".join(lines).decode().removesuffix("\r"), None
        except UnicodeDecodeError:
            return "", _NOT_UTF8


def _ends_open(line: bytes, *, within: bool) -> bool:
    """Say whether a line ends within a quoted field. A quote opens one where a field begins."""
    at = 0
    while True:
        if not within:
            if line[at : at + 1] != b'"':
                at = line.find(b",", at) + 1
                if not at:
                    return False
                continue
            at += 1
        at = line.find(b'"', at) + 1
        if not at:
            return True
        # Two quotes within a field are one that belongs to it.
        within = line[at : at + 1] == b'"'
        at += within


def _header(text: str) -> list[str]:
    """Return the columns. Raises ValidationFailed naming each that is missing, unknown or there twice."""
    try:
        columns = [name.strip() for name in next(_cells(text), [])]
    except csv.Error:
        raise BadRequest("The line that names the columns must quote them as RFC 4180 says.") from None
    problems = [FieldError(name, "must be a column of the file") for name in _NEEDED if name not in columns]
    for name in dict.fromkeys(columns):
        if name not in COLUMNS:
            problems.append(FieldError(name[:64] or "column", f"must be one of {', '.join(COLUMNS)}"))
        elif columns.count(name) > 1:
            problems.append(FieldError(name, "must not be there more than once"))
    if problems:
        raise ValidationFailed.of(*problems[:50])
    return columns


def _row(number: int, columns: list[str], text: str) -> Line:
    """Read a CSV record as the JSON object that it stands for. An empty cell is null."""
    try:
        cells = next(_cells(text), [])
    except csv.Error:
        return Line(number, None, (FieldError("line", "must quote its fields as RFC 4180 says"),))
    if len(cells) != len(columns):
        wanted = FieldError("line", f"must have {len(columns)} fields, and has {len(cells)}")
        return Line(number, None, (wanted,))
    values: dict[str, object] = {}
    for name, cell in zip(columns, cells, strict=True):
        if name == "price" and _number(cell.strip()):
            values[name] = Decimal(cell.strip())
        elif name == "stock" and _whole(cell.strip()):
            values[name] = int(cell)
        else:
            values[name] = cell or None
    return _read(number, encode(values))


def _cells(text: str) -> Iterator[list[str]]:
    return csv.reader(StringIO(text, newline=""), strict=True)


def _read(number: int, line: bytes) -> Line:
    try:
        line.decode()
    except UnicodeDecodeError:
        return Line(number, None, (_NOT_UTF8,))
    try:
        body: ImportProduct = _decoder.decode(line)
    except ValidationFailed as refused:
        return Line(number, None, refused.details)
    except BadRequest as refused:
        told = refused.message.removeprefix("The body ").removesuffix(".")
        return Line(number, None, (FieldError("line", told),))
    return Line(number, ImportRow(**msgspec.structs.asdict(body)))
