"""A slow amoCRM and the rest of the application: 200 users due at once, five database connections, status calls.

The latency of a status call while amoCRM keeps all the refreshes, against that of an idle moment of the same run.
"""

import asyncio
import itertools
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from statistics import median

import httpx
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import create_async_engine

from amocrm_userauth import AsyncUserAuth, MemoryTokenStore, UserAuth, UserToken
from amocrm_userauth.sqlalchemy import AsyncSQLAlchemyTokenStore, SQLAlchemyTokenStore
from amocrm_userauth.testing import FakeAmoCRM, async_http_transport, http_transport
from benchmarks.figures import Figure, Length, at_most, exactly, not_measured, seconds_text
from benchmarks.servers import NAMES, Missing, database, on

__all__ = ["on_database", "run"]

_BAR = 2.0
_POOL = {"pool_size": 5, "max_overflow": 0}
_ASKING = 4
_PAUSE = 0.02
_WORLDS = ("sync", "async")
_DRIVERS = {"postgresql": ("psycopg", "asyncpg"), "mariadb": ("pymysql", "asyncmy")}


def run(length: Length) -> Iterator[Figure]:
    job = _Job(length.of(200, 5), length.of(15.0, 0.3), length.of(10.0, 0.1))
    with tempfile.TemporaryDirectory() as folder:
        urls = f"sqlite:///{folder}/tokens", f"sqlite+aiosqlite:///{folder}/tokens"
        yield from on_database("SQLite", *urls, job, length.of(_WORLDS, _WORLDS[:1]))
    for kind, drivers in _DRIVERS.items():
        try:
            with database(kind) as url:
                yield from on_database(
                    NAMES[kind], *(on(url, driver) for driver in drivers), job, length.of(_WORLDS, _WORLDS[1:])
                )
        except Missing as missing:
            yield not_measured(f"GET status while amoCRM is slow, {NAMES[kind]}", str(missing))


@dataclass(frozen=True, slots=True)
class _Job:
    """How many users are due, how long amoCRM takes for each, and how long the idle application is watched."""

    count: int
    latency: float
    idle: float

    @property
    def users(self) -> list[str]:
        """Their ids, and names at amoCRM."""
        return [f"user-{number:03}" for number in range(self.count)]


@dataclass(slots=True)
class _Watch:
    """What status calls took; ``over`` ends it."""

    over: threading.Event = field(default_factory=threading.Event)
    took: list[float] = field(default_factory=list)


def on_database(name: str, url: str, async_url: str, job: _Job, worlds: tuple[str, ...]) -> Iterator[Figure]:
    """Measure both worlds, on a database that gets the tables and users."""
    engine = create_engine(url)
    store = SQLAlchemyTokenStore(engine)
    store.create_schema()
    measures = {"sync": partial(_sync, url), "async": partial(_async, async_url)}
    for world in worlds:
        with FakeAmoCRM(process=True, rate_limit=None, server_time=False) as fake:
            for due in _due(fake, job.users):
                store.put(due)
            fake.delay_next(None, job.latency, times=job.count)
            slow, idle, served = measures[world](fake, job)
            rows = [store.get(user) for user in job.users]
            stored = sum(fake.is_alive(row.pair, row.user_id) and not row.in_doubt for row in rows)
            calls = fake.token_calls(None, "refresh_token")
        label = f"{world}, {name}, pool of 5, {job.count} users due, amoCRM takes {job.latency:g} s"
        yield at_most(f"status, {label} / idle", slow, idle, _BAR, show=seconds_text)
        wanted = f"{job.count} calls, served, stored"
        got = f"{calls} calls, {served} served, {stored} stored"
        yield exactly(f"refreshed, {label}", wanted if {calls, served, stored} == {job.count} else got, wanted)
    engine.dispose()


def _due(fake: FakeAmoCRM, users: list[str]) -> Iterator[UserToken]:
    """Return rows whose access token has run out, and whose refresh token is good."""
    store, ago = MemoryTokenStore(), timedelta(days=1, hours=1)
    clock = {"clock": lambda: datetime.now(UTC) - ago}
    with fake.http_client() as http, UserAuth(fake.integration(), store, http=http, **clock) as auth:
        for user in users:
            request = auth.begin(user)
            auth.connect(user, code=fake.authorize(user), state=request.state, referer=fake.host(user))
            yield store.get(user)


class _Wide(httpx.BaseTransport):
    """As many connections to the fake as are asked for, like the client that a service opens by itself."""

    def __init__(self, url: str, stack: ExitStack, lines: int = 4) -> None:
        self._lines = itertools.cycle([stack.enter_context(http_transport(url)) for _ in range(lines)])

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return next(self._lines).handle_request(request)


class _AsyncWide(httpx.AsyncBaseTransport):
    """The async twin."""

    def __init__(self, lines: list[httpx.AsyncBaseTransport]) -> None:
        self._lines = itertools.cycle(lines)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await next(self._lines).handle_async_request(request)


def _sync(url: str, fake: FakeAmoCRM, job: _Job) -> tuple[float, float, int]:
    engine = create_engine(url, **_POOL)
    with ExitStack() as stack:
        http = stack.enter_context(httpx.Client(transport=_Wide(fake.url, stack)))
        auth = stack.enter_context(UserAuth(fake.integration(), SQLAlchemyTokenStore(engine), http=http))
        pool = stack.enter_context(ThreadPoolExecutor(job.count + _ASKING))
        idle, slow = _Watch(), _Watch()
        for watch in (idle, slow):
            stack.callback(watch.over.set)  # also after a failure: the pool waits for its threads
        watching = [pool.submit(_ask, auth, job.users, idle) for _ in range(_ASKING)]
        time.sleep(job.idle)
        idle.over.set()
        _done = [watch.result() for watch in watching]
        watching = [pool.submit(_ask, auth, job.users, slow) for _ in range(_ASKING)]
        calls = [pool.submit(auth.access_token, user) for user in job.users]
        served = sum(call.exception() is None for call in calls)
        slow.over.set()
        _done = [watch.result() for watch in watching]
    engine.dispose()
    return median(slow.took), median(idle.took), served


def _ask(auth: UserAuth, users: list[str], watch: _Watch) -> None:
    for user in itertools.cycle(users):
        start = time.perf_counter()
        assert auth.status(user).connected
        watch.took.append(time.perf_counter() - start)
        if watch.over.wait(_PAUSE):
            return


def _async(url: str, fake: FakeAmoCRM, job: _Job) -> tuple[float, float, int]:
    return asyncio.run(_in_tasks(fake, url, job))


async def _in_tasks(fake: FakeAmoCRM, url: str, job: _Job) -> tuple[float, float, int]:
    engine = create_async_engine(url, **_POOL)
    async with AsyncExitStack() as stack:
        lines = [await stack.enter_async_context(async_http_transport(fake.url)) for _ in range(4)]
        http = await stack.enter_async_context(httpx.AsyncClient(transport=_AsyncWide(lines)))
        store = AsyncSQLAlchemyTokenStore(engine)
        auth = await stack.enter_async_context(AsyncUserAuth(fake.integration(), store, http=http))
        idle, slow = _Watch(), _Watch()
        watching = [asyncio.ensure_future(_ask_async(auth, job.users, idle)) for _ in range(_ASKING)]
        await asyncio.sleep(job.idle)
        idle.over.set()
        await asyncio.gather(*watching)
        watching = [asyncio.ensure_future(_ask_async(auth, job.users, slow)) for _ in range(_ASKING)]
        answers = await asyncio.gather(*map(auth.access_token, job.users), return_exceptions=True)
        slow.over.set()
        await asyncio.gather(*watching)
    await engine.dispose()
    return median(slow.took), median(idle.took), sum(isinstance(answer, str) for answer in answers)


async def _ask_async(auth: AsyncUserAuth, users: list[str], watch: _Watch) -> None:
    for user in itertools.cycle(users):
        start = time.perf_counter()
        assert (await auth.status(user)).connected
        watch.took.append(time.perf_counter() - start)
        if watch.over.is_set():
            return
        await asyncio.sleep(_PAUSE)
