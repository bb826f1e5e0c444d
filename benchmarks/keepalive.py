"""``refresh_due``: its pace at the default rate, and what it holds in memory meanwhile."""

import asyncio
import gc
import json
import tempfile
import time
import tracemalloc
from collections.abc import Iterator
from datetime import timedelta

import httpx
from sqlalchemy.ext.asyncio import create_async_engine

from amocrm_userauth import AsyncMemoryTokenStore, AsyncUserAuth, MemoryTokenStore, RefreshReport, UserAuth
from amocrm_userauth._pairs import AsyncTime, Time
from amocrm_userauth.sqlalchemy import AsyncSQLAlchemyTokenStore
from benchmarks.figures import Figure, Length, at_most, bytes_text, seconds_text
from benchmarks.rows import INTEGRATION, row

__all__ = ["run"]

_RATE = 5
_FASTER = 10
_LATENCY = 0.3
_LONG_AGO = timedelta(days=40)
_DUE = timedelta(days=30)


def run(length: Length) -> Iterator[Figure]:
    count = length.of(150, 10)
    for kind, took in (("sync", _pace(count)), ("async", asyncio.run(_pace_async(count)))):
        name = f"refresh_due, {kind}, {count} users at {_RATE} / s, latency {_LATENCY} s, clock x {_FASTER} / n / rate"
        yield at_most(name, took, count / _RATE, 1.3, show=seconds_text)
    yield asyncio.run(_memory(length))


class _FastTime(Time):
    """A clock and a sleep that are so many times as fast."""

    def monotonic(self) -> float:
        return super().monotonic() * _FASTER

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds / _FASTER)


class _AsyncFastTime(AsyncTime):
    """A clock and a sleep that are so many times as fast."""

    def monotonic(self) -> float:
        return super().monotonic() * _FASTER

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds / _FASTER)


class _FastAuth(UserAuth):
    _make_time = _FastTime


class _AsyncFastAuth(AsyncUserAuth):
    _make_time = _AsyncFastTime


def _granted(request: httpx.Request) -> httpx.Response:
    spent = json.loads(request.content)["refresh_token"]
    pair = {"access_token": "example-access-" + "a" * 900, "refresh_token": spent[:-1] + "n"}
    return httpx.Response(200, json={"token_type": "Bearer", "expires_in": 86_400, **pair})


def _granted_late(request: httpx.Request) -> httpx.Response:
    time.sleep(_LATENCY / _FASTER)
    return _granted(request)


async def _granted_late_async(request: httpx.Request) -> httpx.Response:
    await asyncio.sleep(_LATENCY / _FASTER)
    return _granted(request)


def _pace(count: int) -> float:
    """Return the seconds on the fast clock."""
    store = MemoryTokenStore()
    for number in range(count):
        store.put(row(f"user-{number}", saved_ago=_LONG_AGO))
    with (
        httpx.Client(transport=httpx.MockTransport(_granted_late)) as http,
        _FastAuth(INTEGRATION, store, http=http) as auth,
    ):
        start = time.perf_counter()
        report = auth.refresh_due(older_than=_DUE)
        took = time.perf_counter() - start
    assert report.refreshed == count, report
    return took * _FASTER


async def _pace_async(count: int) -> float:
    """Return the seconds on the fast clock."""
    store = AsyncMemoryTokenStore()
    for number in range(count):
        await store.put(row(f"user-{number}", saved_ago=_LONG_AGO))
    async with (
        httpx.AsyncClient(transport=httpx.MockTransport(_granted_late_async)) as http,
        _AsyncFastAuth(INTEGRATION, store, http=http) as auth,
    ):
        start = time.perf_counter()
        report = await auth.refresh_due(older_than=_DUE)
        took = time.perf_counter() - start
    assert report.refreshed == count, report
    return took * _FASTER


async def _memory(length: Length) -> Figure:
    """Compare what a walk holds when it has done many pages and when it has done one or two."""
    few, many = length.of(150, 10), length.of(1_050, 20)
    early, late = await _held(few, many)
    name = f"refresh_due, async, SQLite, memory held after {many} users / after {few}"
    return at_most(name, late, early, 1.25, show=bytes_text)


async def _held(*after: int) -> list[float]:
    """Return the bytes allocated in one walk and still in use after so many users."""
    held: list[float] = []

    def look(report: RefreshReport) -> None:
        if report.refreshed in after:
            gc.collect()
            held.append(float(tracemalloc.get_traced_memory()[0]))

    with tempfile.TemporaryDirectory() as folder:
        engine = create_async_engine(f"sqlite+aiosqlite:///{folder}/tokens.sqlite")
        store = AsyncSQLAlchemyTokenStore(engine)
        await store.create_schema()
        for number in range(max(after)):
            await store.put(row(f"user-{number}", saved_ago=_LONG_AGO))
        async with (
            httpx.AsyncClient(transport=httpx.MockTransport(_granted)) as http,
            AsyncUserAuth(INTEGRATION, store, http=http) as auth,
        ):
            tracemalloc.start()
            await auth.refresh_due(older_than=_DUE, rate=None, on_progress=look)
            tracemalloc.stop()
        await engine.dispose()
    return held
