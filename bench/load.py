"""`make load-test URL=…`: ask one URL of this machine for a few seconds, on a few connections."""

import sys
from collections import Counter
from urllib.parse import urlsplit

from bench.client import Operation, drive, request

HERE = {"127.0.0.1", "localhost"}
SECONDS, CONNECTIONS = 10.0, 16


def load(url: str, seconds: float = SECONDS) -> str:
    """Return what came of it. Raises ValueError for a URL of another machine: it was not asked."""
    at = urlsplit(url)
    if at.scheme != "http" or at.hostname not in HERE or at.port is None:
        raise ValueError(url)
    target = (at.path or "/") + (f"?{at.query}" if at.query else "")
    raw, statuses = request("GET", target, {}), Counter[int]()

    def get() -> Operation:
        answer = yield raw
        statuses[answer.status] += 1

    outcome = drive(at.port, [get] * CONNECTIONS, seconds)
    times = ", ".join(f"p{each} {outcome.percentile_ms(each):.1f} ms" for each in (50, 95, 99))
    answers = ", ".join(f"{count} of {status}" for status, count in sorted(statuses.items()))
    return f"GET {url}: {outcome.rate:,.0f}/s on {CONNECTIONS} connections, {times}; answers: {answers}"


def main(url: str) -> None:
    """Load a URL, and tell what came of it."""
    try:
        print(load(url))
    except ValueError:
        sys.exit("load-test: name a URL of this machine, such as URL=http://127.0.0.1:8080/products")
    except (OSError, RuntimeError) as failed:
        sys.exit(f"load-test: {failed}")


if __name__ == "__main__":
    main(" ".join(sys.argv[1:]))
