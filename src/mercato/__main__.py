"""`mercato`, and `python -m mercato`."""

from mercato.cli.app import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
