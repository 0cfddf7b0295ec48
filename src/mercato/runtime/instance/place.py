"""A folder that appears whole or not at all: made beside its place, and put there as the last act."""

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mercato.runtime.folder import FolderLock


class Occupied(Exception):
    """The folder cannot be made there; the message says in a sentence why."""


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Let a folder be filled out of sight, and put it at `target` when the block ends well.

    What a kill leaves behind is out of sight too, and taken over by the next. Raises Occupied,
    FolderInUse, OSError.
    """
    target = target.resolve()
    check_free(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.import")
    lock = _claim(draft)
    try:
        try:
            yield draft
            _sync(draft)
            _put(draft, target)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
    finally:
        os.close(lock)


def check_free(target: Path) -> None:
    """Refuse a folder that holds something, or that somebody works on. Raises Occupied, FolderInUse."""
    if not target.exists():
        return
    if not target.is_dir():
        raise Occupied(f"{target} is a file; name a folder that is empty or not there.")
    found = sorted(each.name for each in target.iterdir())
    if not found:
        return
    FolderLock(target, [name.removesuffix(".lock") for name in found if name.endswith(".lock")]).release()
    raise Occupied(
        f"{target} already holds data ({', '.join(found[:3])}); name a folder that is empty or not there."
    )


def _claim(draft: Path) -> int:
    """Make the draft, empty, and lock it; what an import that was killed left of it is deleted."""
    while True:
        draft.mkdir(mode=0o700, exist_ok=True)
        lock = os.open(draft, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise Occupied(f"Another import is filling {draft}.") from None
        if _is_at(lock, draft):
            break
        # Another import has put it in place since it was opened.
        os.close(lock)
    for left in draft.iterdir():
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    return lock


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _put(draft: Path, target: Path) -> None:
    try:
        draft.rename(target)
    except OSError as error:
        if error.errno in {errno.ENOTEMPTY, errno.EEXIST}:
            raise Occupied(f"{target} has been filled by somebody else meanwhile.") from None
        if error.errno in {errno.EBUSY, errno.EXDEV}:
            raise Occupied(
                f"{target} is where a disk is mounted and cannot be put in place; name a folder in it."
            ) from None
        raise
    _sync_one(target.parent)


def _sync(folder: Path) -> None:
    """See to it that everything in a folder is on disk."""
    for path in folder.rglob("*"):
        _sync_one(path)
    _sync_one(folder)


def _sync_one(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
