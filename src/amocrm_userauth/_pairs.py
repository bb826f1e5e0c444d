"""What differs between the asynchronous and the synchronous world, as pairs of names ``AsyncX`` and ``X``.

Everything else in ``_sync`` is generated from ``_async``. Nothing here starts at import, and nothing breaks by
``fork()``: what was under way in the parent is forgotten in the child.
"""

import _thread
import asyncio
import copy
import inspect
import logging
import os
import random
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Generic, TypeVar, cast

from amocrm_userauth.errors import AmoCRMUserAuthError

__all__ = [
    "AsyncDeadline",
    "AsyncFlight",
    "AsyncFlights",
    "AsyncTime",
    "Deadline",
    "Flight",
    "Flights",
    "Time",
    "async_for_each",
    "async_unfit",
    "for_each",
    "fresh",
    "unfit",
]

T = TypeVar("T")
_log = logging.getLogger("amocrm_userauth")

_LAUNCH_SECONDS = 0.2

# a suspended machine stops the monotonic clock but not the lease in the database; the boot-time clock runs on
_CLOCK: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def _monotonic() -> float:
    return time.clock_gettime(_CLOCK)


def fresh(error: AmoCRMUserAuthError) -> AmoCRMUserAuthError:
    """Return a copy to raise: several callers may wait for one failure, and each deserves a traceback of its own."""
    return copy.copy(error)


def async_unfit(method: object) -> bool:
    """Say whether ``method`` certainly gives nothing to await: it is missing, or of the other world."""
    return method is None or (inspect.ismethod(method) and not _is_coroutine_function(method))


def unfit(method: object) -> bool:
    """Say whether ``method`` certainly gives something to await: it is missing, or of the other world."""
    return method is None or (callable(method) and _is_coroutine_function(method))


def _is_coroutine_function(method: Callable[..., object]) -> bool:
    return inspect.iscoroutinefunction(inspect.unwrap(method))


class AsyncTime:
    """The holder's own clock, and waiting."""

    def monotonic(self) -> float:
        """Return seconds that go on while the process, or the machine, is stopped."""
        return _monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait ``seconds``."""
        await asyncio.sleep(seconds)

    async def sleep_jittered(self, seconds: float) -> None:
        """Wait between half and the whole of ``seconds``, so that waiters do not move in step."""
        await self.sleep(seconds * random.uniform(0.5, 1.0))  # noqa: S311 - not a secret


class Time:
    """The holder's own clock, and waiting."""

    def monotonic(self) -> float:
        """Return seconds that go on while the process, or the machine, is stopped."""
        return _monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait ``seconds``."""
        time.sleep(seconds)

    def sleep_jittered(self, seconds: float) -> None:
        """Wait between half and the whole of ``seconds``, so that waiters do not move in step."""
        self.sleep(seconds * random.uniform(0.5, 1.0))  # noqa: S311 - not a secret


class AsyncDeadline:
    """Runs one request and ends it when its time is over, however the server behaves."""

    async def run(
        self,
        seconds: float,
        work: Callable[[], Awaitable[T]],
        give_up: Callable[[], None],
        more: Callable[[], float] = lambda: 0.0,
    ) -> T:
        """Return what ``work`` returns. After ``seconds``, and then ``more()``: ``TimeoutError``.

        ``give_up`` may free its socket.
        """
        del give_up  # cancelling the request closes its connection
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(None) as limit:
            timer = loop.call_later(seconds, lambda: limit.reschedule(loop.time() + more()))
            try:
                return await work()
            finally:
                timer.cancel()


class Deadline:
    """Runs one request and ends it when its time is over, however the server behaves.

    A blocking client has a timeout for each read, so a server that drips bytes holds it for ever. Hence a thread of
    its own, which is left behind when the time is over.
    """

    def run(
        self,
        seconds: float,
        work: Callable[[], T],
        give_up: Callable[[], None],
        more: Callable[[], float] = lambda: 0.0,
    ) -> T:
        """Return what ``work`` returns. After ``seconds``, and then ``more()``: ``TimeoutError``.

        ``give_up`` may free its socket.
        """
        flight = Flight[T](work)
        threading.Thread(target=flight.run, name="amocrm_userauth-request", daemon=True).start()
        with suppress(TimeoutError):
            return flight.wait(seconds)
        try:
            return flight.wait(more())
        except TimeoutError:
            give_up()
            raise


class AsyncFlight(Generic[T]):
    """Work that goes on when those who wait for it are cancelled."""

    def __init__(self, task: "asyncio.Task[T]") -> None:
        """Take a task that was started for this."""
        self._task = task

    async def wait(self, timeout: float | None = None) -> T:  # noqa: ASYNC109 - the work goes on after it
        """Return the outcome; ``TimeoutError`` after ``timeout`` seconds. The work outlives a cancelled waiter."""
        await asyncio.wait({self._task}, timeout=timeout)
        if not self._task.done():
            raise TimeoutError
        return self._task.result()


class AsyncFlights(Generic[T]):
    """The work under way, one piece per key and event loop."""

    def __init__(self) -> None:
        """Start with none."""
        self._loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Hashable, asyncio.Task[T]]] = (
            weakref.WeakKeyDictionary()
        )

    def find(self, key: Hashable) -> AsyncFlight[T] | None:
        """Return the work under way for ``key`` in this loop."""
        task = self._here().get(key)
        return None if task is None else AsyncFlight(task)

    def start(self, key: Hashable, work: Callable[[], Awaitable[T]], mine: "set[object]") -> AsyncFlight[T]:
        """Join the work under way for ``key``, or start it; ``mine`` holds what was started, while it runs."""
        here = self._here()
        task = here.get(key)
        if task is None:
            task = asyncio.get_running_loop().create_task(_as_coroutine(work), name="amocrm_userauth")
            here[key] = task
            mine.add(task)
            task.add_done_callback(lambda done: _forget(here, key, mine, done))
        return AsyncFlight(task)

    def _here(self) -> "dict[Hashable, asyncio.Task[T]]":
        return self._loops.setdefault(asyncio.get_running_loop(), {})

    @staticmethod
    async def join(mine: "set[object]") -> None:
        """Wait until every piece in ``mine`` that runs in this loop has ended, also if the caller is cancelled."""
        loop = asyncio.get_running_loop()
        cancelled: asyncio.CancelledError | None = None
        while tasks := [cast("asyncio.Task[object]", task) for task in list(mine) if _runs_in(task, loop)]:
            try:
                await asyncio.wait(tasks)
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            raise cancelled


def _runs_in(task: object, loop: asyncio.AbstractEventLoop) -> bool:
    return isinstance(task, asyncio.Task) and cast("asyncio.Task[object]", task).get_loop() is loop


async def _as_coroutine(work: Callable[[], Awaitable[T]]) -> T:
    return await work()


def _forget(
    here: "dict[Hashable, asyncio.Task[T]]", key: Hashable, mine: "set[object]", done: "asyncio.Task[T]"
) -> None:
    here.pop(key, None)
    mine.discard(done)
    if not done.cancelled():
        done.exception()  # taken note of, also when every waiter has gone


class Flight(Generic[T]):
    """Work in a thread of its own that goes on when those who wait for it are interrupted.

    Waiters wait on a lock each: an interrupt inside ``threading.Condition`` can leave its lock taken for good, and then
    the work could not report its end.
    """

    def __init__(self, work: Callable[[], T]) -> None:
        """Take the work; :meth:`run` does it."""
        self._work = work
        self._done = False
        self._outcome: list[T] = []
        self._error: BaseException | None = None
        self._latches: list[threading.Lock] = []
        self._turn = threading.Lock()
        self._ready = threading.Lock()
        self._ready.acquire()

    @property
    def begun(self) -> bool:
        """Whether somebody does the work, or did."""
        return self._turn.locked()

    def wait_begun(self, seconds: float) -> None:
        """Wait until :attr:`begun`, ``seconds`` at most."""
        self._ready.acquire(timeout=seconds)

    def run(self) -> None:
        """Do the work and wake those who wait; only the first call does anything."""
        if not self._turn.acquire(blocking=False):
            return
        self._ready.release()
        try:
            self._outcome.append(self._work())
        except BaseException as error:  # noqa: BLE001 - handed to those who wait
            self._error = error
        self._end()

    def fail(self, error: BaseException) -> None:
        """Let those who wait know that the work cannot be begun."""
        if self._turn.acquire(blocking=False):
            self._ready.release()
            self._error = error
            self._end()

    def _end(self) -> None:
        self._done = True
        while self._latches:
            self._latches.pop().release()

    def wait(self, timeout: float | None = None) -> T:
        """Return the outcome; ``TimeoutError`` after ``timeout`` seconds. An interrupt does not end the work."""
        latch = threading.Lock()
        latch.acquire()
        self._latches.append(latch)
        if not self._done and not latch.acquire(timeout=_bounded(timeout)):
            raise TimeoutError
        if self._error is not None:
            raise self._error
        return self._outcome[0]


def _bounded(timeout: float | None) -> float:
    return -1 if timeout is None else min(max(timeout, 0.0), threading.TIMEOUT_MAX)


class Flights(Generic[T]):
    """The work under way, one piece per key and process."""

    def __init__(self) -> None:
        """Start with none."""
        self._flights: dict[Hashable, Flight[T]] = {}
        self._process = os.getpid()

    def find(self, key: Hashable) -> Flight[T] | None:
        """Return the work under way for ``key`` in this process."""
        return self._here().get(key)

    def start(self, key: Hashable, work: Callable[[], T], mine: "set[object]") -> Flight[T]:
        """Join the work under way for ``key``, or start it; ``mine`` holds what was started, while it runs."""
        here = self._here()
        under_way = here.get(key)
        if under_way is not None:
            return under_way
        # the thread registers itself: an interrupt of this caller can then leave no entry that nobody works on
        flight = Flight(lambda: self._run(key, work, flight))
        while not flight.begun:
            _thread.start_new_thread(_launch, (flight, mine))
            flight.wait_begun(_LAUNCH_SECONDS)
        return flight

    def _run(self, key: Hashable, work: Callable[[], T], flight: Flight[T]) -> T:
        here = self._here()
        winner = here.setdefault(key, flight)
        if winner is not flight:
            return winner.wait()
        try:
            return work()
        finally:
            here.pop(key, None)

    def _here(self) -> dict[Hashable, Flight[T]]:
        if self._process != os.getpid():
            self._flights, self._process = {}, os.getpid()
        return self._flights

    @staticmethod
    def join(mine: "set[object]") -> None:
        """Wait until every piece in ``mine`` has ended."""
        for thread in list(mine):
            if isinstance(thread, threading.Thread):
                thread.join()
                mine.discard(thread)  # in a forked child it ended without a chance to do so itself


def _launch(flight: Flight[T], mine: "set[object]") -> None:
    """Start the flight's thread; done in a bare thread, where no interrupt of the caller arrives.

    An interrupt inside ``Thread.start()`` can leave the new thread's own lock taken for good; one that is thrown into a
    thread just as it starts another may hit that one (CPython before 3.12), hence the second try of the caller.
    """
    try:
        # never a daemon, though the caller be one: the end of the interpreter waits for the pair to be stored
        threading.Thread(target=_in_flight, args=(flight, mine), name="amocrm_userauth", daemon=False).start()
    except RuntimeError as error:
        flight.fail(error)


def _in_flight(flight: Flight[T], mine: "set[object]") -> None:
    thread = threading.current_thread()
    mine.add(thread)
    try:
        flight.run()
    finally:
        mine.discard(thread)


async def async_for_each(work: Callable[[T], Awaitable[None]], items: list[T], concurrency: int) -> None:
    """Do ``work`` for every item, at most ``concurrency`` at once."""
    queue = iter(items)

    async def worker() -> None:
        for item in queue:
            await work(item)

    async with asyncio.TaskGroup() as group:
        for _ in range(min(concurrency, len(items))):
            group.create_task(worker())


def for_each(work: Callable[[T], None], items: list[T], concurrency: int) -> None:
    """Do ``work`` for every item, at most ``concurrency`` at once."""
    with ThreadPoolExecutor(max_workers=concurrency) as pool:
        for future in [pool.submit(work, item) for item in items]:
            future.result()
