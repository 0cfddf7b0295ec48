"""`mercato`, and `python -m mercato`."""

import os
import sys
from contextlib import suppress
from io import TextIOWrapper

__all__ = ["main"]

_INTERRUPTED = 130
"""128 and the number of SIGINT, as shells say it."""


def main() -> None:
    """Run the command that the program was given. Ctrl-C ends it without a word, whenever it comes."""
    try:
        _open_standard_files()
        from mercato.cli.starting import run  # noqa: PLC0415  it may be interrupted already

        run(sys.argv[1:])
    except BaseException as error:
        # Until Python 3.12 an interrupt of a class that is being made comes wrapped in another error.
        if not isinstance(error, KeyboardInterrupt) and not isinstance(error.__cause__, KeyboardInterrupt):
            raise
        _end_interrupted()


def _end_interrupted() -> None:
    """End with an exit code.

    By itself Python would kill itself with SIGINT where the interrupt met code that is made from a text, as
    that of dataclasses is, although it has been caught since (CPython's pythonrun.c, run_eval_code_obj).
    """
    for stream in (sys.stdout, sys.stderr):
        # Whoever read it may be gone.
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(_INTERRUPTED)


def _open_standard_files() -> None:
    """Open what whoever started this has closed: a database must never be opened in place of it."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            # The lowest number that is free is given.
            os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, os.fdopen(number, "r" if number == 0 else "w", encoding="utf-8"))
    for stream in (sys.stdout, sys.stderr):
        # A name of a file may be no text, and a terminal may know few letters.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    main()
