"""`python -m bench`: measure Mercato on this machine against what the machine can do."""

import argparse
import compileall
import sys
from pathlib import Path

from bench.figures import as_json, machine, table
from bench.measurements import Plan, measure


def main() -> None:
    """Measure, and print what was found."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--quick", action="store_true", help="one short round of everything: only a glance")
    chosen = parser.parse_args()
    # As in whatever is installed: to compile it at each start is no part of a start.
    compileall.compile_dir(Path(__file__).parents[1] / "src", quiet=1)
    quick = Plan(
        rounds=1,
        starts=2,
        read_s=1,
        write_s=1,
        warm_up_s=1,
        catalogue=20_000,
        lists_s=1,
        events=2_000,
        overload_s=5,
        noisy_s=2,
    )
    figures = measure(
        quick if chosen.quick else Plan(), lambda step: print(f"measuring: {step}", file=sys.stderr)
    )
    if chosen.json:
        print(as_json(figures))
        return
    print(machine())
    print()
    print(table(figures))


if __name__ == "__main__":
    main()
