"""`mercato`, and `python -m mercato`."""

import sys

from mercato.cli.starting import run

__all__ = ["main"]


def main() -> None:
    """Run the command that the program was given."""
    run(sys.argv[1:])


if __name__ == "__main__":
    main()
