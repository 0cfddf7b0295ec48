"""`python -m bench.overload`: three times as many orders as the platform can place, for a minute.

What it can place is measured first, in the same run. Told are what is placed under overload, how fast the
rest is refused, and memory.
"""

import argparse
import itertools
import uuid
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.arrivals import Stream, arrive
from bench.client import drive, request
from bench.figures import Figure, Target, machine, table
from bench.servers import Server, mercato
from bench.shop import Shop, Shoppers, open_shop

TIMES = 3
_CONNECTIONS = 32


def orders(shop: Shop, tokens: tuple[str, ...] | None = None) -> Stream:
    """Return a stream of orders, each another, of all customers in turn. Its rate is yet to be set."""
    buyers = itertools.cycle(tokens or shop.tokens)
    products = itertools.cycle(shop.products)

    def order() -> bytes:
        headers = {"authorization": f"Bearer {next(buyers)}", "idempotency-key": str(uuid.uuid4())}
        wanted = {
            "items": [{"product_id": next(products), "quantity": 1}],
            "shipping_address": "1 Harbour Street, 20457 Hamburg",
        }
        return request("POST", "/api/v1/orders", headers, wanted)

    return Stream(order, 0.0)


def measure(seconds: float, peak_s: float, *, delay: str | None = None) -> list[Figure]:
    """Overload a platform of its own for so long; `delay` is MERCATO_QUEUE_DELAY, if given."""
    environ = {} if delay is None else {"MERCATO_QUEUE_DELAY": delay}
    with (
        TemporaryDirectory(prefix="mercato-bench-") as name,
        mercato(Path(name), "up", environ=environ) as up,
    ):
        shop = open_shop(up.port)
        placing = Shoppers(shop, connections=_CONNECTIONS, pay=False)
        drive(up.port, placing.operations, peak_s / 2)
        peak = drive(up.port, placing.operations, peak_s).rate
        return _overloaded(up, orders(shop), peak, seconds)


def _overloaded(up: Server, stream: Stream, peak: float, seconds: float) -> list[Figure]:
    stream.per_s = TIMES * peak
    memory = [up.rss_mb()]
    arrive(up.port, [stream], seconds, lambda: memory.append(up.rss_mb()))
    answers = ", ".join(f"{count} of {status}" for status, count in sorted(stream.statuses.items()))
    return [
        Figure(
            f"orders placed at {TIMES} x what can be placed",
            stream.goodput,
            "/s",
            Target(0.8, at_least=True, ratio=True),
            peak,
            f"for {seconds:.0f} s; ceiling: its own peak; answers: {answers}; {stream.unsent} not sent;"
            f" placed within p50 {stream.percentile_ms(50):.0f} ms, p99 {stream.percentile_ms(99):.0f} ms",
        ),
        Figure(
            "refusal under overload, p99",
            stream.percentile_ms(99, refused=True),
            "ms",
            Target(50, at_least=False),
            note=f"p50 {stream.percentile_ms(50, refused=True):.0f} ms",
        ),
        Figure(
            "memory under overload, at most",
            max(memory),
            "MB",
            Target(1.25, at_least=False, ratio=True),
            memory[min(1, len(memory) - 1)],
            f"ceiling: after the first seconds; {memory[0]:.0f} MB before, {memory[-1]:.0f} MB at the end",
        ),
    ]


def main() -> None:
    """Measure, and print what was found."""
    parser = argparse.ArgumentParser(prog="python -m bench.overload", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="ten seconds instead of a minute")
    parser.add_argument("--delay", help="MERCATO_QUEUE_DELAY to measure with; 0: nothing is shed")
    chosen = parser.parse_args()
    seconds, peak_s = (10.0, 3.0) if chosen.quick else (60.0, 8.0)
    print(machine())
    print()
    print(table(measure(seconds, peak_s, delay=chosen.delay)))


if __name__ == "__main__":
    main()
