"""Which part of a list is wanted."""

import msgspec


class Window(msgspec.Struct, frozen=True):
    """Which part of a list is wanted. One row more is fetched, to see whether there are more."""

    limit: int
    offset: int
    after: str | None
    """The sort key of the last item seen, or None to go by offset."""
    counted: bool

    @property
    def fetch(self) -> int:
        """How many rows to ask the store for."""
        return self.limit + 1
