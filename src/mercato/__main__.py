"""`mercato`, and `python -m mercato`."""

import sys

__all__ = ["main"]

_INTERRUPTED = 130
"""128 and the number of SIGINT, as shells say it."""


def main() -> None:
    """Run the command that the program was given. Ctrl-C ends it without a word, whenever it comes."""
    try:
        from mercato.cli.starting import run  # noqa: PLC0415  it may be interrupted already

        run(sys.argv[1:])
    except BaseException as error:
        # Until Python 3.12 an interrupt of a class that is being made comes wrapped in another error.
        if not isinstance(error, KeyboardInterrupt) and not isinstance(error.__cause__, KeyboardInterrupt):
            raise
        sys.exit(_INTERRUPTED)


if __name__ == "__main__":
    main()
