"""``python -m benchmarks [--only NAME] [--quick]``: prints one line per figure; ends with 1 if a bar was missed."""

import argparse
import os
import platform
import signal
import sys
from importlib import import_module

from benchmarks.figures import Figure, Length

# Modules of this package. Each has run(length), which yields figures; one for another database is one more name.
ALL = ("cached", "stored", "million", "storm", "slow", "status", "keepalive", "refreshing", "imports", "weight")
_HEAD = ("", "what / against what", "ours", "baseline", "ratio", "bar")
_WIDTHS = (4, 96, 34, 34, 5, 7)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", action="append", choices=ALL, metavar="NAME", help=f"one of {', '.join(ALL)}")
    parser.add_argument("--quick", action="store_true", help="see that they work; the figures mean nothing")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # databases are dropped on the way out
    print(f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores")
    _print_line(_HEAD)
    missed, skipped = 0, []
    for name in given.only or ALL:
        for figure in import_module(f"benchmarks.{name}").run(Length(quick=given.quick)):
            _print_line(_cells(figure))
            missed += not figure.ok and not (given.quick and figure.timed)
            skipped += [figure] if figure.skipped else []
    for figure in skipped:
        print(f"NOT MEASURED: {figure.name}: {figure.ours}")
    return 1 if missed else 0


def _cells(figure: Figure) -> tuple[str, ...]:
    ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
    return (figure.verdict, figure.name, figure.ours, figure.baseline, ratio, figure.bar)


def _print_line(cells: tuple[str, ...]) -> None:
    print("  ".join(cell.ljust(width) for cell, width in zip(cells, _WIDTHS, strict=True)).rstrip(), flush=True)


if __name__ == "__main__":
    sys.exit(main())
