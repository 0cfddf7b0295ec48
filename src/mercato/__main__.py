"""`mercato`, and `python -m mercato`."""

import sys

from mercato.cli.starting import usual

__all__ = ["main"]


def main() -> None:
    """Run the command that the program was given."""
    start = usual(sys.argv[1:])
    if start is not None:
        start()
        return
    from mercato.cli.app import main as run  # noqa: PLC0415  see cli.starting

    run()


if __name__ == "__main__":
    main()
