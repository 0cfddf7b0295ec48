"""The port to signals."""

from collections.abc import Callable, Sequence
from typing import Protocol

Heard = Callable[[Sequence[str]], None]
"""Called with the words that another replica told."""

Gap = Callable[[bool], None]
"""Called when signals may have been missed: with False while none are heard, with True once they are again.

Whoever remembers something forgets all of it at either.
"""


class Signals(Protocol):
    """Tells other replicas, and hears of them. One's own signals are not heard.

    A signal may come twice. One that does not come at all is made known as a gap.
    """

    def tell(self, topic: str, *words: str) -> None:
        """Tell every other replica. Neither waits nor fails, whatever has become of the others."""
        ...

    def listen(self, topic: str, heard: Heard, gap: Gap) -> None:
        """Hear what is told of a topic, from the start of the process on."""
        ...


class NoSignals:
    """See Signals. Of a process that has no replicas: nobody hears, and nothing is ever missed."""

    def tell(self, topic: str, *words: str) -> None:
        """Tell nobody."""

    def listen(self, topic: str, heard: Heard, gap: Gap) -> None:
        """Hear nothing."""


NO_SIGNALS = NoSignals()
