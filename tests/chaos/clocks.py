"""Time that passes faster: one clock for all processes of a run, and the waits of the library in its seconds.

``speed_up`` is the only place where the harness reaches into the library. It replaces what ``_pairs`` waits and tells the
time with, so that the default budgets (a lease of 90 s) pass in a fraction of them. With a speed of 1 it does nothing.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from amocrm_userauth import _pairs
from amocrm_userauth._async import http as _async_http
from amocrm_userauth._sync import http as _http


def boot_time() -> float:
    """Real seconds, the same in every process of this machine."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(frozen=True, slots=True)
class Clock:
    """The time of a run, in Unix seconds of amoCRM's: at real ``zero`` (of :func:`boot_time`) it was ``epoch``."""

    speed: float
    zero: float
    epoch: float

    @classmethod
    def starting(cls, speed: float) -> "Clock":
        """Start a clock now."""
        return cls(speed, boot_time(), float(int(time.time())))

    def now(self) -> float:
        return self.epoch + (boot_time() - self.zero) * self.speed

    def wall(self, skew: float = 0.0) -> Callable[[], datetime]:
        """Return a wall clock that is ``skew`` seconds ahead."""
        ahead = timedelta(seconds=skew)
        return lambda: datetime.fromtimestamp(self.now(), UTC) + ahead


def speed_up(clock: Clock) -> None:
    """Let the library wait, and tell the time, in the seconds of ``clock``."""
    if clock.speed == 1:
        return
    speed = clock.speed
    wait, async_wait, run = _pairs.Flight.wait, _pairs.AsyncFlight.wait, _pairs.AsyncDeadline.run

    def real(seconds: float | None) -> float | None:
        return None if seconds is None else seconds / speed

    def sleep(_: Any, seconds: float) -> None:
        time.sleep(seconds / speed)

    async def async_sleep(_: Any, seconds: float) -> None:
        await asyncio.sleep(seconds / speed)

    async def async_run(self: Any, seconds: float, work: Any, give_up: Any, more: Any) -> Any:
        return await run(self, seconds / speed, work, give_up, lambda: more() / speed)

    for module in (_async_http, _http):
        module._CATCH_UP *= speed  # for work of this machine, which is not faster
    _pairs._monotonic = clock.now
    _pairs.Time.sleep, _pairs.AsyncTime.sleep = sleep, async_sleep
    _pairs.Flight.wait = lambda self, timeout=None: wait(self, real(timeout))  # Deadline.run waits with it, too
    _pairs.AsyncFlight.wait = lambda self, timeout=None: async_wait(self, real(timeout))
    _pairs.AsyncDeadline.run = async_run
