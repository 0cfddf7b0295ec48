"""Requests that arrive at a rate, whatever becomes of those before: as those of very many clients do.

One thread, one epoll, as in `bench.client`. A request needs a connection that is free; while none is, those
that would have been sent are counted, and not sent.
"""

import select
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from bench.client import DEADLINE_S, Wire

_TICK_S = 0.001


@dataclass
class Stream:
    """One kind of requests: how many come in a second, and what came of them."""

    make: Callable[[], bytes]
    """Makes the next request."""
    per_s: float
    connections: int = 768
    unsent: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    durations: dict[int, list[float]] = field(default_factory=dict)
    """By status: from the moment that a request was sent until its answer was there."""
    seconds: float = 0.0

    @property
    def goodput(self) -> float:
        """Requests per second that were carried out."""
        return sum(count for status, count in self.statuses.items() if status < 300) / self.seconds

    def percentile_ms(self, percent: float, *, refused: bool = False) -> float:
        """Return how long so many per cent of the answers took at most, of the good ones or the others."""
        ordered = sorted(
            each for status, times in self.durations.items() if (status >= 300) is refused for each in times
        )
        if not ordered:
            return 0.0
        return 1000 * ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


class _Flow:
    """A stream under way."""

    def __init__(self, port: int, stream: Stream, poll: select.epoll, now: float) -> None:
        self.stream = stream
        self.free = deque(Wire(port) for _ in range(stream.connections))
        self.wires = {wire.socket.fileno(): wire for wire in self.free}
        for number in self.wires:
            poll.register(number, select.EPOLLIN)
        self._next = now

    def send(self, now: float) -> None:
        """Send what is due."""
        while self._next <= now:
            self._next += 1 / self.stream.per_s
            if not self.free:
                self.stream.unsent += 1
                continue
            wire = self.free.popleft()
            wire.began = time.perf_counter()
            wire.socket.sendall(self.stream.make())

    def receive(self, number: int) -> None:
        """Take in what has come on a connection."""
        wire = self.wires[number]
        answer = wire.receive()
        if answer is not None:
            self.stream.statuses[answer.status] += 1
            taken = self.stream.durations.setdefault(answer.status, [])
            taken.append(time.perf_counter() - wire.began)
            self.free.append(wire)


def arrive(
    port: int,
    streams: Sequence[Stream],
    seconds: float,
    watch: Callable[[], None] = lambda: None,
    watch_every_s: float = 5.0,
) -> None:
    """Have the requests of all streams arrive for so long, and wait for the answers to the last of them.

    `watch` is called now and then meanwhile.
    """
    poll = select.epoll()
    began = watched = time.perf_counter()
    flows = [_Flow(port, stream, poll, began) for stream in streams]
    of = {number: flow for flow in flows for number in flow.wires}
    while True:
        now = time.perf_counter()
        if now < began + seconds:
            for flow in flows:
                flow.send(now)
        elif all(len(flow.free) == len(flow.wires) for flow in flows):
            break
        elif now > began + seconds + DEADLINE_S:
            raise RuntimeError(f"no answer within {DEADLINE_S:.0f} s")
        if now >= watched + watch_every_s:
            watched = now
            watch()
        for number, _ in poll.poll(_TICK_S):
            of[number].receive(number)
    for flow in flows:
        flow.stream.seconds = time.perf_counter() - began
        for wire in flow.wires.values():
            wire.socket.close()
    poll.close()
