"""A load generator that costs little CPU: one thread, one epoll, requests made by hand.

An operation is a generator: it yields the bytes of a request and is sent the answer to it.
"""

import select
import socket
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

DEADLINE_S = 40.0


class Answer(NamedTuple):
    """An answer, as it came."""

    status: int
    raw: bytes
    body: bytes

    @property
    def data(self) -> Any:  # noqa: ANN401  whatever the path answers
        """The data of a success. Anything else ends the measurement: a fast refusal is no result."""
        if self.status >= 300:
            raise RuntimeError(f"answered {self.status}: {self.body[:500]!r}")
        return msgspec.json.decode(self.body)["data"]


Operation = Generator[bytes, Answer, None]


@dataclass
class Outcome:
    """What a load came to."""

    seconds: float = 0.0
    durations: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Operations per second."""
        return len(self.durations) / self.seconds

    def percentile_ms(self, percent: float) -> float:
        """Return how long an operation took at most, of so many per cent of them."""
        ordered = sorted(self.durations)
        return 1000 * ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def request(method: str, path: str, headers: dict[str, str], body: object = None) -> bytes:
    """Return the bytes of a request."""
    content = b"" if body is None else msgspec.json.encode(body)
    lines = [f"{method} {path} HTTP/1.1", "host: 127.0.0.1"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if content:
        lines += ["content-type: application/json"]
    lines += [f"content-length: {len(content)}", "", ""]
    return "\r\n".join(lines).encode() + content


class Wire:
    """One connection that is kept alive, and the operation it carries now."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.operation: Operation | None = None
        self.began = 0.0
        self._received = b""

    def begin(self, operation: Operation) -> None:
        self.operation = operation
        self.began = time.perf_counter()
        self.socket.sendall(next(operation))

    def receive(self) -> Answer | None:
        """Take what has arrived; return the answer once all of it has."""
        chunk = self.socket.recv(65536)
        if not chunk:
            raise RuntimeError("the server closed the connection")
        self._received += chunk
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return None
        start = self._received.find(b"content-length: ") + 16
        length = int(self._received[start : self._received.index(b"\r", start)])
        if len(self._received) < end + 4 + length:
            return None
        answer = Answer(int(self._received[9:12]), self._received, self._received[end + 4 :])
        self._received = b""
        return answer


def ask(port: int, raw_request: bytes) -> Answer:
    """Send one request and wait for the answer."""
    wire = Wire(port)
    with wire.socket:
        wire.socket.sendall(raw_request)
        while (answer := wire.receive()) is None:
            pass
        return answer


def drive(port: int, begin: Sequence[Callable[[], Operation]], seconds: float) -> Outcome:
    """Carry out operations for so long, on as many connections as `begin` has makers of them.

    Those under way at the end are finished and counted, and so is the time they take.
    """
    outcome = Outcome()
    wires = {}
    poll = select.epoll()
    started = time.perf_counter()
    for make in begin:
        wire = Wire(port)
        wires[wire.socket.fileno()] = (wire, make)
        poll.register(wire.socket.fileno(), select.EPOLLIN)
        wire.begin(make())
    busy = len(wires)
    while busy:
        arrived = poll.poll(DEADLINE_S)
        if not arrived:
            raise RuntimeError(f"no answer within {DEADLINE_S:.0f} s")
        for number, _ in arrived:
            wire, make = wires[number]
            answer = wire.receive()
            if answer is None or wire.operation is None:
                continue
            try:
                wire.socket.sendall(wire.operation.send(answer))
            except StopIteration:
                now = time.perf_counter()
                outcome.durations.append(now - wire.began)
                if now - started < seconds:
                    wire.begin(make())
                else:
                    busy -= 1
    outcome.seconds = time.perf_counter() - started
    poll.close()
    for wire, _ in wires.values():
        wire.socket.close()
    return outcome
