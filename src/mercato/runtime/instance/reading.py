"""Reading an instance's file line by line: nothing in it is believed before its end has been seen.

Memory is bounded whatever the file holds: it is read in pieces, and a line has a longest length.
"""

import gzip
import hashlib
import zlib
from collections.abc import Callable, Iterator
from io import BufferedReader
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from mercato.runtime.instance.form import FORMAT, MAX_LINE, UNREADABLE, BadExport, End, Header, Key, Table

Row = bytes
"""A row as it stands in the file: an array in JSON."""
_Lines = Key | Table | End
_TOLD_EVERY = 1_000
_MOST_SKIPPED = 64
"""How many pieces, as long as the longest line: small files can unpack to very much."""
_MAGIC = b"\x1f\x8b"
"""What every gzip file begins with (RFC 1952, section 2.3.1)."""


class _Format(msgspec.Struct, frozen=True):
    kind: str
    format: int


class Reading:
    """One file, read from its beginning to its end."""

    def __init__(self, path: Path, told: Callable[[int, int], None]) -> None:
        """`told` is told how many bytes have been read, and how many there are. Raises OSError."""
        self._path = path
        self._raw: BufferedReader = path.open("rb")
        self._size = path.stat().st_size
        self._told = told
        self._is_gzip = self._raw.peek(len(_MAGIC)).startswith(_MAGIC)
        self._file = gzip.GzipFile(fileobj=self._raw)
        self._digest = hashlib.sha256()
        self._decoder = msgspec.json.Decoder(_Lines)
        self._last = b""
        self.end = End({}, 0, "")
        """The last line, once it has been read."""
        self.line = 0
        """The number of the line that was read last."""

    def __enter__(self) -> Self:
        """Read within a block."""
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self._raw.close()

    def header(self) -> Header:
        """Return the first line. Raises BadExport for what is no export, or a newer one."""
        line = self._next()
        try:
            found = msgspec.json.decode(line, type=_Format)
        except UNREADABLE:
            found = None
        if found is None or found.kind != "instance":
            raise BadExport(f"{self._path} is not an export of an instance.")
        if found.format > FORMAT:
            raise BadExport(
                f"{self._path} was written by a newer Mercato, in format {found.format}; this one reads"
                f" up to {FORMAT}."
            )
        try:
            return msgspec.json.decode(line, type=Header)
        except UNREADABLE as error:
            raise self.bad(str(error)) from None

    def parts(self) -> Iterator[Key | Table | Row]:
        """Return what follows the header up to the end, which is checked. Raises BadExport."""
        while True:
            line = self._next()
            if line.startswith(b"["):
                yield line
                continue
            try:
                found = self._decoder.decode(line)
            except UNREADABLE as error:
                raise self.bad(str(error)) from None
            if isinstance(found, End):
                self._check_end(found)
                self.end = found
                return
            yield found

    def bad(self, reason: str) -> BadExport:
        """Return the error of the line that was read last; or of the file, where its checksum is wrong."""
        try:
            self._skip()
        except BadExport as damaged:
            return damaged
        return BadExport(f"{self._path} cannot be imported: line {self.line}: {reason.rstrip('.')}.")

    def _check_end(self, end: End) -> None:
        if end.sha256 != self._digest.hexdigest():
            raise BadExport(f"{self._path} is damaged: its digest is another than the one it ends with.")
        if self._read(1):
            raise self.bad("there is something after the end")

    def _next(self) -> bytes:
        line = self._read(MAX_LINE + 1)
        self.line += 1
        if len(line) > MAX_LINE:
            raise self.bad(f"it is longer than {MAX_LINE} bytes")
        if not line.endswith(b"\n"):
            raise BadExport(f"{self._path} is cut short: it ends without its last line.")
        # The digest is of what came before the line in hand, which may be the end.
        self._digest.update(self._last)
        self._last = line
        # Nobody knows how much is left of a pipe.
        if self.line % _TOLD_EVERY == 0 and self._raw.seekable():
            self._told(self._raw.tell(), self._size)
        return line

    def _skip(self) -> None:
        """Read on, for damage to be found. Raises BadExport."""
        for _ in range(_MOST_SKIPPED):
            if not self._taken(self._file.read, MAX_LINE):
                break

    def _read(self, most: int) -> bytes:
        return self._taken(self._file.readline, most)

    def _taken(self, read: Callable[[int], bytes], most: int) -> bytes:
        try:
            return read(most)
        except EOFError:
            raise BadExport(f"{self._path} is cut short: it ends without its last line.") from None
        except (gzip.BadGzipFile, zlib.error):
            if not self._is_gzip:
                raise BadExport(f"{self._path} is not an export of an instance.") from None
            raise BadExport(f"{self._path} is damaged: it cannot be decompressed.") from None
