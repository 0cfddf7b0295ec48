"""Showing how far long work has come: bars on a terminal, nothing anywhere else."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Told = Callable[[str, int, int], None]
"""Is told what is worked on, how much of it is done, and of how much."""


@contextmanager
def progress() -> Iterator[Told]:
    """Show bars on standard error while the block runs, if that is a terminal. They leave nothing behind."""
    if not sys.stderr.isatty():
        yield _silent
        return
    from rich.console import Console  # noqa: PLC0415  slow to import
    from rich.progress import Progress, TaskID  # noqa: PLC0415

    with Progress(console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def told(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what)
            bars.update(tasks[what], completed=done, total=total)

        yield told


def _silent(_what: str, _done: int, _total: int) -> None:
    """Nobody watches."""
