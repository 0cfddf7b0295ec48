"""`python -m bench.noisy_tenant`: what one store's flood does to another store.

The quiet store's shoppers place orders at a steady rate, alone and beside a store that sends twenty times
what its tier allows, in turns; and beside one without a limit that sends more than the platform can do.
"""

import argparse
import itertools
import statistics
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.arrivals import Stream, arrive
from bench.client import drive, request
from bench.figures import Figure, Target, machine, table
from bench.overload import TIMES, orders
from bench.servers import mercato
from bench.shop import Shop, Shoppers, open_shop

TIMES_ITS_LIMIT = 20
LIMITS = {"advanced": 15, "premium": 300}
"""Requests a second that these tiers allow, unless settings say otherwise."""
_QUIET_PER_S = 60.0
_QUIET_CONNECTIONS = 64


def measure(rounds: int, seconds: float, tiers: Iterable[str] = LIMITS) -> list[Figure]:
    """Measure with noisy stores of these tiers and of none, each on a platform of its own."""
    limited = [_limited(tier, LIMITS[tier], rounds, seconds) for tier in tiers]
    return [*limited, _unlimited(rounds, seconds)]


def _limited(tier: str, rate: int, rounds: int, seconds: float) -> Figure:
    # The day's quota would end the flood after a minute.
    environ = {f"MERCATO_TIER_{tier.upper()}": f"{rate}/{rate}/0"}
    with TemporaryDirectory(prefix="mercato-bench-") as name:
        folder = Path(name)
        with mercato(folder, "up") as up:
            quiet, noisy = (open_shop(up.port, store) for store in ("quiet", "noisy"))
        words = ["tenants", "set-tier", "noisy", tier, "--data", str(folder / "data")]
        subprocess.run([sys.executable, "-m", "mercato", *words], check=True, stdout=subprocess.DEVNULL)
        with mercato(folder, "up", environ=environ) as up:
            flood = _reads(noisy, TIMES_ITS_LIMIT * rate)
            return _figure(
                f"order's p99 beside a store of tier {tier} at {TIMES_ITS_LIMIT} x its limit",
                *_in_turns(up.port, quiet, flood, rounds, seconds),
                flood,
                Target(1.2, at_least=False, ratio=True) if tier == "advanced" else None,
            )


def _unlimited(rounds: int, seconds: float) -> Figure:
    with TemporaryDirectory(prefix="mercato-bench-") as name, mercato(Path(name), "up") as up:
        quiet, noisy = (open_shop(up.port, store) for store in ("quiet", "noisy"))
        placing = Shoppers(noisy, connections=32, pay=False)
        drive(up.port, placing.operations, seconds / 2)
        flood = orders(noisy)
        flood.per_s = TIMES * drive(up.port, placing.operations, seconds).rate
        return _figure(
            f"order's p99 beside a store without a limit, at {TIMES} x what can be placed",
            *_in_turns(up.port, quiet, flood, rounds, seconds),
            flood,
            None,
        )


def _reads(shop: Shop, per_s: float) -> Stream:
    headers = {"authorization": f"Bearer {shop.tokens[0]}"}
    pages = itertools.cycle(request("GET", f"/api/v1/products/{each}", headers) for each in shop.products)
    return Stream(lambda: next(pages), per_s, connections=128)


def _in_turns(
    port: int, shop: Shop, flood: Stream, rounds: int, seconds: float
) -> tuple[list[Stream], list[Stream]]:
    """Let the quiet store's orders arrive alone and beside the flood, again and again."""

    def quiet() -> Stream:
        stream = orders(shop)
        stream.per_s, stream.connections = _QUIET_PER_S, _QUIET_CONNECTIONS
        return stream

    arrive(port, [quiet()], seconds / 2)
    alone, beside = [], []
    for _ in range(rounds):
        alone.append(quiet())
        arrive(port, [alone[-1]], seconds)
        beside.append(quiet())
        arrive(port, [beside[-1], flood], seconds)
    return alone, beside


def _figure(
    name: str, alone: list[Stream], beside: list[Stream], flood: Stream, target: Target | None
) -> Figure:
    refused = sum(count for stream in beside for status, count in stream.statuses.items() if status >= 300)
    p50 = [statistics.median(each.percentile_ms(50) for each in some) for some in (alone, beside)]
    answers = ", ".join(f"{count} of {status}" for status, count in sorted(flood.statuses.items()))
    return Figure(
        name,
        statistics.median(each.percentile_ms(99) for each in beside),
        "ms",
        target,
        statistics.median(each.percentile_ms(99) for each in alone),
        f"ceiling: alone, in turns; p50 {p50[1]:.1f} ms, alone {p50[0]:.1f}; {refused} of its orders refused;"
        f" the noisy store at {flood.per_s:,.0f}/s: {answers}, {flood.unsent} not sent",
    )


def main() -> None:
    """Measure, and print what was found."""
    parser = argparse.ArgumentParser(prog="python -m bench.noisy_tenant", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round: only a glance")
    chosen = parser.parse_args()
    print(machine())
    print()
    print(table(measure(1, 4.0) if chosen.quick else measure(5, 8.0)))


if __name__ == "__main__":
    main()
