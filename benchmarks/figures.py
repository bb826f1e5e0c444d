"""One line of the result, and how two ways of doing one thing are timed against each other."""

import gc
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from statistics import median
from typing import TypeVar

__all__ = [
    "Figure",
    "Length",
    "at_least",
    "at_most",
    "bytes_text",
    "compare",
    "compare_async",
    "exactly",
    "not_measured",
    "seconds_text",
]

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One line: what was measured, against what, and whether it keeps to its bar.

    ``timed`` lines depend on the machine's load; the others hold or do not hold.
    """

    name: str
    ours: str
    baseline: str
    ratio: float | None
    bar: str
    ok: bool
    timed: bool = True
    skipped: bool = False

    @property
    def verdict(self) -> str:
        """``pass``, ``FAIL``, or ``SKIP`` for what could not be measured here."""
        if self.skipped:
            return "SKIP"
        return "pass" if self.ok else "FAIL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Length:
    """How long to measure. A quick run shows that the benchmarks work; its figures mean nothing."""

    quick: bool

    def of(self, full: T, quick: T) -> T:
        """Return the count, or whatever it is, for this run."""
        return quick if self.quick else full


def at_most(name: str, ours: float, baseline: float, bar: float, *, show: Callable[[float], str]) -> Figure:
    """Return the line of something of which less is better."""
    ratio = ours / baseline
    return Figure(name=name, ours=show(ours), baseline=show(baseline), ratio=ratio, bar=f"<= {bar:g}", ok=ratio <= bar)


def at_least(name: str, ours: float, baseline: float, bar: float, *, show: Callable[[float], str]) -> Figure:
    """Return the line of something of which more is better."""
    ratio = ours / baseline
    return Figure(name=name, ours=show(ours), baseline=show(baseline), ratio=ratio, bar=f">= {bar:g}", ok=ratio >= bar)


def exactly(name: str, ours: str, wanted: str) -> Figure:
    """Return the line of something that holds or does not."""
    return Figure(name=name, ours=ours, baseline=wanted, ratio=None, bar="equal", ok=ours == wanted, timed=False)


def not_measured(name: str, why: str) -> Figure:
    """Return the line of something that this machine lacks a server for."""
    return Figure(name=name, ours=why, baseline="", ratio=None, bar="", ok=True, timed=False, skipped=True)


def seconds_text(seconds: float) -> str:
    """Return a time in the unit that suits it."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def compare(
    ours: Callable[[], object], baseline: Callable[[], object], *, repeats: int, per: int = 1
) -> tuple[float, float]:
    """Return the median seconds of one of ``per`` steps of each, taken in turns: ABBA, so that drift meets both."""
    times: dict[str, list[float]] = {"ours": [], "baseline": []}
    work = {"ours": ours, "baseline": baseline}
    _warm_up = [step() for step in work.values()]
    for turn in range(repeats):
        for name in sorted(work, reverse=bool(turn % 2)):
            times[name].append(_timed(work[name]) / per)
    return median(times["ours"]), median(times["baseline"])


def _timed(step: Callable[[], object]) -> float:
    gc.collect()
    gc.disable()
    try:
        start = time.perf_counter()
        step()
        return time.perf_counter() - start
    finally:
        gc.enable()


async def compare_async(
    ours: Callable[[], Awaitable[object]], baseline: Callable[[], Awaitable[object]], *, repeats: int, per: int = 1
) -> tuple[float, float]:
    """Do the same for coroutines of the running loop."""
    times: dict[str, list[float]] = {"ours": [], "baseline": []}
    work = {"ours": ours, "baseline": baseline}
    _warm_up = [await step() for step in work.values()]
    for turn in range(repeats):
        for name in sorted(work, reverse=bool(turn % 2)):
            times[name].append(await _timed_async(work[name]) / per)
    return median(times["ours"]), median(times["baseline"])


async def _timed_async(step: Callable[[], Awaitable[object]]) -> float:
    gc.collect()
    gc.disable()
    try:
        start = time.perf_counter()
        await step()
        return time.perf_counter() - start
    finally:
        gc.enable()


def bytes_text(size: float) -> str:
    """Return a size in the unit that suits it."""
    power = min(int(math.log(max(size, 1), 1024)), 3)
    return f"{size / 1024**power:.3g} {('B', 'KiB', 'MiB', 'GiB')[power]}"
