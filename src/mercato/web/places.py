"""How many long conversations a process has at once: in all, and with one client address."""

from mercato.web.limits import RateLimited, site

_RETRY_S = 5


class TooMany(RateLimited):
    """There is no place for another conversation."""


class Place:
    """One conversation's place."""

    __slots__ = ("_key", "_places")

    def __init__(self, places: "Places", key: str) -> None:
        self._places: Places | None = places
        self._key = key

    def give_back(self) -> None:
        """Let another have it. Idempotent."""
        if self._places is not None:
            self._places.give_back(self._key)
            self._places = None


class Places:
    """The places of this process."""

    def __init__(self, most: int, most_of_address: int) -> None:
        """`most` conversations at once, `most_of_address` with one IPv4 address or IPv6 network."""
        self._most = most
        self._most_of_address = most_of_address
        self._taken: dict[str, int] = {}
        self._all = 0

    def __len__(self) -> int:
        """Return how many are taken."""
        return self._all

    def take(self, client: str) -> Place:
        """Take a place. Raises TooMany."""
        key = site(client)
        if self._all >= self._most:
            raise TooMany("There are too many open connections; try again soon.", retry_after=_RETRY_S)
        if self._taken.get(key, 0) >= self._most_of_address:
            raise TooMany("There are too many open connections from this address.", retry_after=_RETRY_S)
        self._taken[key] = self._taken.get(key, 0) + 1
        self._all += 1
        return Place(self, key)

    def give_back(self, key: str) -> None:
        """Take note that a place is free. For Place alone."""
        self._all -= 1
        self._taken[key] -= 1
        if not self._taken[key]:
            del self._taken[key]
