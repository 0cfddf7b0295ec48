"""Reading pages as fast as a server gives them: with wrk, or where it is missing with our own client."""

import itertools
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from bench.client import Operation, drive, request
from bench.shop import STORE


class Reads(NamedTuple):
    """What a run of reads came to."""

    rate: float
    """Per second."""
    done: int


def read(port: int, path: str, *, connections: int, seconds: float) -> Reads:
    """Read one page over and over."""
    if shutil.which("wrk") is None:
        return _with_our_client(port, itertools.repeat(path), connections, seconds)
    return _with_wrk([f"http://127.0.0.1:{port}{path}"], connections, seconds)


def read_in_turn(
    port: int, path: str, numbers: range, first: int, *, connections: int, seconds: float
) -> Reads:
    """Read the pages of these numbers one after the other, from `first` on, over and over.

    `path` has a place for a number of twelve hexadecimal digits, in printf's words.
    """
    if shutil.which("wrk") is None:
        turns = itertools.chain(range(first, len(numbers)), itertools.cycle(range(len(numbers))))
        return _with_our_client(port, (path % each for each in turns), connections, seconds)
    with TemporaryDirectory(prefix="mercato-wrk-") as folder:
        script = Path(folder) / "turns.lua"
        script.write_text(
            f"local turn = {first} - 1\n"
            "request = function()\n"
            f"  turn = (turn + 1) % {len(numbers)}\n"
            f'  return wrk.format("GET", string.format("{path}", turn))\n'
            "end\n"
        )
        return _with_wrk(["-s", str(script), f"http://127.0.0.1:{port}/"], connections, seconds)


def _with_wrk(words: list[str], connections: int, seconds: float) -> Reads:
    options = ["-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "-H", f"x-tenant-id: {STORE}"]
    told = subprocess.run(["wrk", *options, *words], check=True, capture_output=True, text=True).stdout
    rate = re.search(r"Requests/sec:\s+([\d.]+)", told)
    count = re.search(r"(\d+) requests in", told)
    if rate is None or count is None or "Non-2xx" in told or "Socket errors" in told:
        raise RuntimeError(f"wrk found errors: {told}")
    return Reads(float(rate[1]), int(count[1]))


def _with_our_client(port: int, paths: Iterator[str], connections: int, seconds: float) -> Reads:
    def reading() -> Operation:
        if (yield request("GET", next(paths), {"x-tenant-id": STORE})).status != 200:
            raise RuntimeError("the read was refused")

    outcome = drive(port, [reading] * connections, seconds)
    return Reads(outcome.rate, len(outcome.durations))
