"""What the store suite needs of each world, as pairs of names ``async_x`` and ``x``."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any, TypeVar

__all__ = ["async_case", "async_together", "case", "together"]

S = TypeVar("S")
T = TypeVar("T")
_PATIENCE = 60


def async_case(test: Callable[[T, S], Awaitable[None]]) -> Callable[[T], None]:
    """Return a test that pytest can run without a plugin: on an event loop, and in a thread, of its own."""

    async def main(suite: Any) -> None:
        made: Any = suite.make_store()
        given: Any = made if hasattr(made, "__aenter__") else nullcontext(made)
        async with given as store:
            await test(suite, store)

    def run(suite: T) -> None:
        # A loop may be installed, or running, in this thread: a plugin's, a notebook's.
        with ThreadPoolExecutor(1) as pool:
            pool.submit(lambda: asyncio.run(main(suite))).result()

    return _named(run, test)


def case(test: Callable[[T, S], None]) -> Callable[[T], None]:
    """Return a test that makes its store itself."""

    def run(suite: Any) -> None:
        made: Any = suite.make_store()
        given: Any = made if hasattr(made, "__enter__") else nullcontext(made)
        with given as store:
            test(suite, store)

    return _named(run, test)


def _named(run: Callable[[T], None], test: Callable[[T, S], object]) -> Callable[[T], None]:
    # Not functools.wraps: pytest would follow it to the wrapped signature and look for a fixture called "store".
    for attribute in ("__name__", "__qualname__", "__doc__", "__module__"):
        setattr(run, attribute, getattr(test, attribute))
    return run


async def async_together(calls: Sequence[Callable[[], Awaitable[T]]]) -> list[T]:
    """Make every call at once, each in a task of its own; return what they returned."""

    async def one(call: Callable[[], Awaitable[T]]) -> T:
        return await call()

    return list(await asyncio.gather(*(one(call) for call in calls)))


def together(calls: Sequence[Callable[[], T]]) -> list[T]:
    """Make every call at once, each in a thread of its own; return what they returned."""
    barrier = threading.Barrier(len(calls))

    def one(call: Callable[[], T]) -> T:
        barrier.wait(_PATIENCE)
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result(_PATIENCE) for future in [pool.submit(one, call) for call in calls]]
