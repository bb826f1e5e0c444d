"""Many callers meet one expired token: one token call, nobody fails, the stored pair is valid; in every round."""

import asyncio
import multiprocessing
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import create_async_engine

from amocrm_userauth import AsyncMemoryTokenStore, AsyncUserAuth, Integration, MemoryTokenStore, UserAuth
from amocrm_userauth.sqlalchemy import AsyncSQLAlchemyTokenStore, SQLAlchemyTokenStore
from amocrm_userauth.testing import FakeAmoCRM, async_http_client, http_client
from benchmarks.figures import Figure, Length, exactly, not_measured
from benchmarks.servers import NAMES, Missing, database, on

__all__ = ["on_database", "run"]

_USER, _LOGIN = "broker-1", "anna"
_CALLERS, _CALLERS_EACH = 50, 10
_KINDS = ("threads", "tasks")
_TWO_DAYS = 2 * 86_400
_PATIENCE = 120.0


def run(length: Length) -> Iterator[Figure]:
    rounds = length.of(20, 1)
    with FakeAmoCRM(process=True, rate_limit=None) as fake:
        yield _in_threads(fake, rounds)
    with FakeAmoCRM(process=True, rate_limit=None) as fake:
        yield asyncio.run(_in_tasks(fake, rounds))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tokens.sqlite"
        yield from on_database(
            "SQLite file",
            f"sqlite:///{path}",
            f"sqlite+aiosqlite:///{path}",
            rounds=length.of(5, 1),
            processes=length.of(4, 2),
            kinds=length.of(_KINDS, _KINDS[:1]),
        )
    for kind, driver, async_driver in (("postgresql", "psycopg", "asyncpg"), ("mariadb", "pymysql", "asyncmy")):
        try:
            with database(kind) as url:
                urls = on(url, driver), on(url, async_driver)
                more = {"rounds": length.of(5, 1), "processes": length.of(4, 2), "kinds": length.of(_KINDS, _KINDS[1:])}
                yield from on_database(NAMES[kind], *urls, **more)
        except Missing as missing:
            yield not_measured(f"processes with an expired token, {NAMES[kind]}", str(missing))


def on_database(
    name: str, url: str, async_url: str, *, rounds: int, processes: int, kinds: tuple[str, ...]
) -> Iterator[Figure]:
    """Let processes meet on one database, which gets the tables and a user."""
    for kind in kinds:
        work, their_url = (_thread_process, url) if kind == "threads" else (_task_process, async_url)
        with FakeAmoCRM(process=True, rate_limit=None) as fake:
            storm = partial(_process_storm, work, processes)
            verdicts = _in_processes(storm, fake, rounds, url, their_url)
            yield _figure(f"{processes} processes x {_CALLERS_EACH} {kind}, {name}", verdicts)


@dataclass(frozen=True, slots=True)
class _Clock:
    """Real time and so many seconds."""

    ahead: float = 0.0

    def __call__(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.ahead)


def _connect(auth: UserAuth, fake: FakeAmoCRM) -> None:
    request = auth.begin(_USER)
    auth.connect(_USER, code=fake.authorize(_LOGIN), state=request.state, referer=fake.host(_LOGIN))


def _verdict(fake: FakeAmoCRM, calls_before: int, answers: list[str], pair: object, took: float) -> tuple[str, float]:
    calls = fake.token_calls() - calls_before
    stored = getattr(pair, "access_token", "")
    served = sum(answer == stored for answer in answers)
    valid = fake.is_alive(pair, _LOGIN) and fake.accepts_access(stored)
    return f"{calls} call, {len(answers) - served} failed, pair {'valid' if valid else 'LOST'}", took


def _figure(name: str, verdicts: list[tuple[str, float]]) -> Figure:
    wanted = "1 call, 0 failed, pair valid"
    worst = next((text for text, _ in verdicts if text != wanted), wanted)
    slowest = max(took for _, took in verdicts)
    return exactly(f"{name}, expired token ({len(verdicts)} rounds, slowest {slowest * 1e3:.0f} ms)", worst, wanted)


def _in_threads(fake: FakeAmoCRM, rounds: int) -> Figure:
    integration, store, verdicts = fake.integration(), MemoryTokenStore(), []
    with fake.http_client() as http:
        with UserAuth(integration, store, http=http) as auth:
            _connect(auth, fake)
        for turn in range(1, rounds + 1):
            fake.advance(_TWO_DAYS)
            before = fake.token_calls()
            with UserAuth(integration, store, http=http, clock=_Clock(turn * _TWO_DAYS)) as auth:
                answers, took = _thread_storm(auth, _CALLERS)
            row = store.get(_USER)
            verdicts.append(_verdict(fake, before, answers, row and row.pair, took))
    return _figure(f"{_CALLERS} threads", verdicts)


def _thread_storm(auth: UserAuth, callers: int, ready: Callable[[], object] | None = None) -> tuple[list[str], float]:
    gate = threading.Barrier(callers + 1)

    def call() -> str:
        gate.wait(_PATIENCE)
        try:
            return auth.access_token(_USER)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is counted
            return repr(error)

    with ThreadPoolExecutor(callers) as pool:
        calls = [pool.submit(call) for _ in range(callers)]
        if ready is not None:
            ready()
        gate.wait(_PATIENCE)
        start = time.perf_counter()
        answers = [done.result() for done in calls]
    return answers, time.perf_counter() - start


async def _in_tasks(fake: FakeAmoCRM, rounds: int) -> Figure:
    integration, store, verdicts = fake.integration(), AsyncMemoryTokenStore(), []
    async with fake.async_http_client() as http:
        async with AsyncUserAuth(integration, store, http=http) as auth:
            request = await auth.begin(_USER)
            await auth.connect(_USER, code=fake.authorize(_LOGIN), state=request.state, referer=fake.host(_LOGIN))
        for turn in range(1, rounds + 1):
            fake.advance(_TWO_DAYS)
            before = fake.token_calls()
            async with AsyncUserAuth(integration, store, http=http, clock=_Clock(turn * _TWO_DAYS)) as auth:
                answers, took = await _task_storm(auth, _CALLERS)
            row = await store.get(_USER)
            verdicts.append(_verdict(fake, before, answers, row and row.pair, took))
    return _figure(f"{_CALLERS} tasks", verdicts)


async def _task_storm(auth: AsyncUserAuth, callers: int) -> tuple[list[str], float]:
    start = time.perf_counter()
    answers = await asyncio.gather(*(auth.access_token(_USER) for _ in range(callers)), return_exceptions=True)
    return [answer if isinstance(answer, str) else repr(answer) for answer in answers], time.perf_counter() - start


@dataclass(frozen=True, slots=True)
class _Job:
    """What a process of the storm is told."""

    url: str
    fake_url: str
    integration: Integration
    ahead: float


def _in_processes(
    storm: Callable[["_Job"], tuple[list[str], float]], fake: FakeAmoCRM, rounds: int, url: str, their_url: str
) -> list[tuple[str, float]]:
    integration, engine, verdicts = fake.integration(), create_engine(url), []
    store = SQLAlchemyTokenStore(engine)
    store.create_schema()
    with fake.http_client() as http, UserAuth(integration, store, http=http) as auth:
        _connect(auth, fake)
    for turn in range(1, rounds + 1):
        fake.advance(_TWO_DAYS)
        before = fake.token_calls()
        answers, took = storm(_Job(their_url, fake.url, integration, turn * _TWO_DAYS))
        row = store.get(_USER)
        verdicts.append(_verdict(fake, before, answers, row and row.pair, took))
    engine.dispose()
    return verdicts


def _process_storm(work: Callable[..., None], processes: int, job: _Job) -> tuple[list[str], float]:
    """Start the processes, let them off at once, and collect what their callers got; a dead one's callers failed."""
    spawn = multiprocessing.get_context("spawn")
    gate, answers = spawn.Barrier(processes + 1), spawn.Queue()
    children = [spawn.Process(target=work, args=(job, gate, answers)) for _ in range(processes)]
    for child in children:
        child.start()
    gate.wait(_PATIENCE)
    start = time.perf_counter()
    got = [answer for _ in children for answer in answers.get(timeout=_PATIENCE)]
    took = time.perf_counter() - start
    for child in children:
        child.join()
    return got, took


def _thread_process(job: _Job, gate: threading.Barrier, answers: "multiprocessing.Queue[list[str]]") -> None:
    engine = create_engine(job.url)
    clock = _Clock(job.ahead)
    with (
        http_client(job.fake_url) as http,
        UserAuth(job.integration, SQLAlchemyTokenStore(engine), http=http, clock=clock) as auth,
    ):
        answers.put(_thread_storm(auth, _CALLERS_EACH, lambda: gate.wait(_PATIENCE))[0])
    engine.dispose()


def _task_process(job: _Job, gate: threading.Barrier, answers: "multiprocessing.Queue[list[str]]") -> None:
    answers.put(asyncio.run(_tasks_of_a_process(job, gate)))


async def _tasks_of_a_process(job: _Job, gate: threading.Barrier) -> list[str]:
    engine = create_async_engine(job.url)
    store, clock = AsyncSQLAlchemyTokenStore(engine), _Clock(job.ahead)
    async with (
        async_http_client(job.fake_url) as http,
        AsyncUserAuth(job.integration, store, http=http, clock=clock) as auth,
    ):
        await asyncio.to_thread(gate.wait, _PATIENCE)
        answers, _ = await _task_storm(auth, _CALLERS_EACH)
    await engine.dispose()
    return answers
