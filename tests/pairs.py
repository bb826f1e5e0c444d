"""What tests of both worlds need, as pairs of names ``async_x`` and ``x`` (``AsyncX`` and ``X``)."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

from sqlalchemy import Engine, create_engine
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from amocrm_userauth._pairs import AsyncTime, Time
from amocrm_userauth.sqlalchemy import create_schema


async def async_together(calls: list[Callable[[], Awaitable[object]]]) -> list[object]:
    """Make every call at once; return what each returned or raised."""
    return list(await asyncio.gather(*(call() for call in calls), return_exceptions=True))


def together(calls: list[Callable[[], object]]) -> list[object]:
    """Make every call at once; return what each returned or raised."""
    barrier = threading.Barrier(len(calls))

    def one(call: Callable[[], object]) -> object:
        barrier.wait(10)
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        futures = [pool.submit(one, call) for call in calls]
        return [future.exception() or future.result() for future in futures]


class AsyncRunning:
    """A call under way."""

    def __init__(self, task: "asyncio.Task[object]") -> None:
        self.task = task

    async def outcome(self) -> object:
        """Return what the call returned or raised."""
        return (await asyncio.gather(self.task, return_exceptions=True))[0]


class Running:
    """A call under way."""

    def __init__(self, future: "Future[object]") -> None:
        self.future = future

    def outcome(self) -> object:
        """Return what the call returned or raised."""
        return self.future.exception(30) or self.future.result()


async def async_launch(call: Callable[[], Awaitable[object]]) -> AsyncRunning:
    """Start a call and go on."""

    async def run() -> object:
        return await call()

    return AsyncRunning(asyncio.create_task(run()))


def launch(call: Callable[[], object]) -> Running:
    """Start a call and go on."""
    future: Future[object] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001 - handed on
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return Running(future)


def async_sqlite_engine(path: Path) -> AsyncEngine:
    """Return an engine on a new SQLite file that has the schema."""
    sqlite_engine(path).dispose()
    return create_async_engine(f"sqlite+aiosqlite:///{path}")


def sqlite_engine(path: Path) -> Engine:
    """Return an engine on a new SQLite file that has the schema."""
    engine = create_engine(f"sqlite:///{path}")
    create_schema(engine)
    return engine


def async_strangers(library: ModuleType) -> list[object]:
    """Return what a sync service would take, made of the names that ``library`` has."""
    return [getattr(library, name)() for name in ("MemoryTokenStore", "Client") if hasattr(library, name)]


def strangers(library: ModuleType) -> list[object]:
    """Return what an async service would take, made of the names that ``library`` has."""
    return [getattr(library, name)() for name in ("AsyncMemoryTokenStore", "AsyncClient") if hasattr(library, name)]


class AsyncSkippingTime(AsyncTime):
    """Pauses pass at once: the clock jumps instead."""

    skipped = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.skipped

    async def sleep(self, seconds: float) -> None:
        self.skipped += seconds
        await asyncio.sleep(0)


class SkippingTime(Time):
    """Pauses pass at once: the clock jumps instead."""

    skipped = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.skipped

    def sleep(self, seconds: float) -> None:
        self.skipped += seconds
        super().sleep(0.001)
