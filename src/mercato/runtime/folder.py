"""The data folder of the embedded databases: where things are, and who works on them."""

import fcntl
import os
from collections.abc import Iterable
from pathlib import Path

from mercato.adapters.sql.schema import Schema, prepare
from mercato.adapters.sql.sqlite import SqliteDatabase

SCHEMAS = {
    service: Schema(service, f"mercato.{service}.migrations")
    for service in ("users", "products", "orders", "payments", "notifications")
}


class FolderInUse(Exception):
    """Another process runs on this data folder; the message says so in a sentence."""


class FolderLock:
    """One process at a time serves from a database; the locks go with the process."""

    def __init__(self, folder: Path, services: Iterable[str]) -> None:
        """Lock these services' databases, making the folder if need be. Raises FolderInUse."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._files: list[int] = []
        for service in services:
            file = os.open(folder / f"{service}.lock", os.O_RDWR | os.O_CREAT, 0o600)
            self._files.append(file)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self.release()
                raise FolderInUse(
                    f"Another Mercato is serving {service} from the data folder {folder}."
                ) from None

    def release(self) -> None:
        """Give the databases free."""
        while self._files:
            os.close(self._files.pop())


def database_path(folder: Path, service: str) -> Path:
    """Return where a service's database is."""
    return folder / f"{service}.db"


def open_database(folder: Path, service: str) -> SqliteDatabase:
    """Open a service's database, made and migrated if need be. Raises SchemaTooNew."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = database_path(folder, service)
    prepare(path, SCHEMAS[service])
    return SqliteDatabase(path)
