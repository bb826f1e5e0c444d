"""What the race proofs share: a clock to turn, services on it, stores that can be stopped, and the closing account."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, event
from sqlalchemy.ext.asyncio import create_async_engine

from amocrm_userauth import AsyncUserAuth, MemoryTokenStore, UserAuth
from amocrm_userauth.sqlalchemy import AsyncSQLAlchemyTokenStore, SQLAlchemyTokenStore
from amocrm_userauth.testing import FakeAmoCRM

ROTATIONS = ("strict", "lenient", "family")
DAY = 86_400
LEASE = 90
USER = "42"
PATIENCE = 60.0


class Clock:
    """Real time that can be turned ahead, as wall clock and as a holder's own clock."""

    def __init__(self, behind: float = 0.0) -> None:
        self._ahead = -behind

    def __call__(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self._ahead)

    def monotonic(self) -> float:
        return self().timestamp()

    def advance(self, seconds: float) -> None:
        self._ahead += seconds


@contextlib.contextmanager
def world(rotation: str, clock: Clock | None = None, **options: Any) -> Iterator[FakeAmoCRM]:
    """A fake amoCRM on ``clock``, without a limit on calls, and with the integration registered."""
    given = {"rate_limit": None, "server_time": False, **options}
    with FakeAmoCRM(rotation, clock=clock, **given) as fake:
        fake.integration()
        yield fake


def on_clock(service: Any, clock: Clock, *, skip_waiting: bool = False) -> Any:
    """Put the holder's own clock of ``service`` on ``clock``; with ``skip_waiting`` its pauses turn the clock."""
    time = service._time
    time.monotonic = clock.monotonic
    if skip_waiting:
        is_async = isinstance(service, AsyncUserAuth)

        async def skip(seconds: float) -> None:
            clock.advance(seconds)
            await asyncio.sleep(0)

        time.sleep = skip if is_async else clock.advance
    return service


def service(fake: FakeAmoCRM, store: Any, http: Any, *, clock: Clock | None = None, **options: Any) -> UserAuth:
    """A sync service for ``fake``'s integration."""
    clock = clock or Clock()
    return on_clock(
        UserAuth(options.pop("integration", None) or fake.integration(), store, http=http, clock=clock, **options),
        clock,
    )


def async_service(
    fake: FakeAmoCRM, store: Any, http: Any, *, clock: Clock | None = None, **options: Any
) -> AsyncUserAuth:
    """The async twin of :func:`service`."""
    clock = clock or Clock()
    made = AsyncUserAuth(
        options.pop("integration", None) or fake.integration(), store, http=http, clock=clock, **options
    )
    return on_clock(made, clock)


def connect(auth: UserAuth, fake: FakeAmoCRM, user_id: str = USER) -> None:
    """Connect ``user_id`` as the amoCRM user of the same name."""
    request = auth.begin(user_id)
    auth.connect(
        user_id, code=fake.authorize(user_id, state=request.state), state=request.state, referer=fake.host(user_id)
    )


def connect_expired(fake: FakeAmoCRM, store: Any, user_id: str = USER) -> None:
    """Store a connection whose access token has run out by the real clock, and whose refresh token is good."""
    with fake.http_client() as http, service(fake, store, http, clock=Clock(behind=DAY + 3600)) as auth:
        connect(auth, fake, user_id)


def sqlite_url(path: Path, *, is_async: bool = False) -> str:
    return f"sqlite{'+aiosqlite' if is_async else ''}:///{path}"


def _write_ahead(engine: Any) -> None:
    @event.listens_for(engine, "connect")
    def _(connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=NORMAL")
        cursor.close()


@contextlib.contextmanager
def sqlite_store(path: Path) -> Iterator[SQLAlchemyTokenStore]:
    """A sync store on the file, with an engine of its own."""
    engine = create_engine(sqlite_url(path), connect_args={"timeout": 30})
    _write_ahead(engine)
    try:
        store = SQLAlchemyTokenStore(engine)
        store.create_schema()
        yield store
    finally:
        engine.dispose()


@contextlib.asynccontextmanager
async def async_sqlite_store(path: Path) -> Any:
    """The async twin of :func:`sqlite_store`."""
    engine = create_async_engine(sqlite_url(path, is_async=True), connect_args={"timeout": 30})
    _write_ahead(engine.sync_engine)
    try:
        store = AsyncSQLAlchemyTokenStore(engine)
        await store.create_schema()
        yield store
    finally:
        await engine.dispose()


class Wrapped:
    """A store that passes every call on; subclasses say what happens around one."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def shared_scope(self) -> tuple[object, str]:
        """Share nothing with other stores in this process: each wrapper stands for a process of its own."""
        return (self, "")


class AsAsync:
    """A sync store in memory as an async one, so that both worlds can share it; ``steps`` loop rounds around each call."""

    def __init__(self, inner: MemoryTokenStore, steps: int = 0) -> None:
        self.inner = inner
        self.steps = steps

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.inner, name)
        if name in {"canonical_user_id", "shared_scope"}:
            return method

        async def call(*args: Any, **more: Any) -> Any:
            for _ in range(self.steps):
                await asyncio.sleep(0)
            result = method(*args, **more)
            for _ in range(self.steps):
                await asyncio.sleep(0)
            return result

        return call


def in_threads(works: list[Callable[[], Any]]) -> list[Any]:
    """Do every work in a thread of its own, all at once; return results and exceptions."""
    barrier, results = threading.Barrier(len(works)), [None] * len(works)

    def run(place: int, work: Callable[[], Any]) -> None:
        barrier.wait(PATIENCE)
        try:
            results[place] = work()
        except BaseException as error:  # noqa: BLE001 - counted by the test
            results[place] = error

    threads = [threading.Thread(target=run, args=pair, daemon=True) for pair in enumerate(works)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert not any(thread.is_alive() for thread in threads), "a caller hangs"
    return results


def assert_all_served(results: list[Any], fake: FakeAmoCRM, user_id: str = USER, calls: int = 1) -> None:
    """Every caller got the one token that was bought by ``calls`` refreshes."""
    failed = [result for result in results if not isinstance(result, str)]
    assert not failed, failed[:3]
    assert fake.token_calls(user_id, "refresh_token") == calls
    assert set(results) == {fake.pairs(user_id)[-1].access_token}


def assert_alive(store: Any, fake: FakeAmoCRM, user_id: str = USER) -> None:
    """The stored pair is the one that amoCRM takes."""
    row = store.get(user_id)
    assert row is not None, "nobody is connected"
    assert row.reauth_reason is None
    assert fake.is_alive(row.pair, user_id)
