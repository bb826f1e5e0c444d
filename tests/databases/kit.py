"""Stores and services on every driver, sync ones behind the same ``await``: one test for both worlds."""

import asyncio
import contextlib
import functools
import re
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL, Engine, MetaData, Table, create_engine, event, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from amocrm_userauth import AsyncUserAuth, TokenPair, UserAuth, UserToken
from amocrm_userauth.crypto import TokenCipher
from amocrm_userauth.errors import AmoCRMUserAuthError
from amocrm_userauth.events import Event
from amocrm_userauth.sqlalchemy import (
    AsyncSQLAlchemyTokenStore,
    SQLAlchemyTokenStore,
    create_schema,
    state_table,
    token_table,
)
from amocrm_userauth.testing import FakeAmoCRM

NOW = datetime(2025, 3, 9, 12, 30, 15, 123456, tzinfo=UTC)
DAY = 86_400


@dataclass(frozen=True)
class Driver:
    """One way to talk to one kind of database. ``plain`` keeps encryption off, for proxies that look inside."""

    name: str
    kind: str
    dialect: str
    is_async: bool
    plain: tuple[tuple[str, str], ...] = ()
    timeouts: tuple[tuple[str, Any], ...] = ()

    def url(self, database: URL, *, plain: bool = False) -> URL:
        """Return the address of ``database`` by this driver."""
        url = database.set(drivername=self.dialect)
        return url.update_query_dict(dict(self.plain)) if plain else url


# ``timeouts`` are what the documentation advises: connecting, and a silent server, end after seconds.
_HURRY = {"sqlite": ("PRAGMA synchronous=OFF",), "postgresql": ("SET SESSION synchronous_commit = off",)}
DRIVERS = {
    driver.name: driver
    for driver in (
        Driver("pysqlite", "sqlite", "sqlite+pysqlite", False),
        Driver("aiosqlite", "sqlite", "sqlite+aiosqlite", True),
        Driver(
            "psycopg",
            "postgresql",
            "postgresql+psycopg",
            False,
            (("sslmode", "disable"),),
            (("connect_timeout", 2), ("tcp_user_timeout", 2000)),
        ),
        Driver(
            "psycopg-async",
            "postgresql",
            "postgresql+psycopg",
            True,
            (("sslmode", "disable"),),
            (("connect_timeout", 2), ("tcp_user_timeout", 2000)),
        ),
        Driver(
            "asyncpg",
            "postgresql",
            "postgresql+asyncpg",
            True,
            (("ssl", "disable"),),
            (("timeout", 1), ("command_timeout", 1)),
        ),
        Driver(
            "pymysql",
            "mariadb",
            "mysql+pymysql",
            False,
            (),
            (("connect_timeout", 1), ("read_timeout", 1), ("write_timeout", 1)),
        ),
        Driver("asyncmy", "mariadb", "mysql+asyncmy", True, (), (("connect_timeout", 1), ("read_timeout", 1))),
    )
}
SERVERS = [name for name, driver in DRIVERS.items() if driver.kind != "sqlite"]
ONE_EACH = ["psycopg", "asyncpg", "pymysql", "asyncmy"]


def long(*names: str) -> list[Any]:
    """Return test parameters that only the long run takes."""
    return [pytest.param(name, marks=pytest.mark.long) for name in names]


class InThreads:
    """A sync store or service, each of whose calls runs in a thread: as the application's own threads would call it."""

    def __init__(self, inner: Any, threads: int = 24) -> None:
        self.inner = inner
        self.pool = ThreadPoolExecutor(threads)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.inner, name)
        if name in {"canonical_user_id", "shared_scope", "_database", "_mine"}:
            return method

        async def call(*args: Any, **more: Any) -> Any:
            return await asyncio.get_running_loop().run_in_executor(self.pool, functools.partial(method, *args, **more))

        return call

    async def aclose(self) -> None:
        await self.close()
        self.pool.shutdown()


@dataclass
class Given:
    """A store under test, the engine below it, and ways to look at its tables from beside."""

    store: Any
    driver: Driver
    below: Engine
    beside: Engine
    table: Table
    states: Table

    def execute(self, statement: str, **values: Any) -> Any:
        """Do a statement on a connection of its own; return its rows."""
        with self.beside.connect() as connection:
            result = connection.execute(text(statement.format(tokens=self.table.name, states=self.states.name)), values)
            return result.all() if result.returns_rows else result.rowcount

    def rows(self, columns: str = "*") -> list[Any]:
        """Return every stored row."""
        return list(self.execute(f"SELECT {columns} FROM {{tokens}} ORDER BY user_id"))


def tables(prefix: str, **options: Any) -> tuple[Table, Table]:
    """Return tables of the test's own."""
    return token_table(MetaData(), f"{prefix}_tokens", **options), state_table(MetaData(), f"{prefix}_states")


@contextlib.asynccontextmanager
async def opened(
    driver: Driver,
    database: URL,
    *,
    through: URL | None = None,
    cipher: TokenCipher | None = None,
    on_connect: tuple[str, ...] = (),
    prefix: str = "given",
    empty: bool = True,
    durable: bool = False,
    **options: Any,
) -> AsyncIterator[Given]:
    """A store on ``database`` (reached ``through`` another address), its tables empty."""
    table, states = tables(prefix)
    beside = sync_engine(database)
    if empty:
        create_schema(beside, table=table, states=states)
        with beside.connect() as connection:
            connection.execute(table.delete())
            connection.execute(states.delete())
    address = driver.url(through or database, plain=through is not None)
    engine: Any = (create_async_engine if driver.is_async else create_engine)(address, **options)
    below: Engine = engine.sync_engine if driver.is_async else engine
    hurry = () if through or durable else _HURRY.get(driver.kind, ())  # its commit would be one that a proxy counts
    say_on_connect(below, (*hurry, *on_connect))
    kind: Any = AsyncSQLAlchemyTokenStore if driver.is_async else SQLAlchemyTokenStore
    store = kind(engine, cipher=cipher, table=table, states=states)
    wrapped = store if driver.is_async else InThreads(store)
    try:
        yield Given(wrapped, driver, below, beside, table, states)
    finally:
        if driver.is_async:
            await engine.dispose()
        else:
            engine.dispose()
            wrapped.pool.shutdown()
        beside.dispose()


def say_on_connect(engine: Engine, statements: tuple[str, ...]) -> None:
    """Send ``statements`` on every new connection."""
    if not statements:
        return

    @event.listens_for(engine, "connect")
    def _(connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        for statement in statements:
            cursor.execute(statement)
        cursor.close()
        connection.commit()


def sync_engine(database: URL) -> Engine:
    """Return an engine that looks at ``database`` from beside, with nothing between it and the server."""
    dialects = {"postgresql": "postgresql+psycopg", "mysql": "mysql+pymysql", "sqlite": "sqlite+pysqlite"}
    url = database.set(drivername=dialects[database.get_backend_name()])
    return create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")


def address_of(driver: Driver, request: pytest.FixtureRequest, folder: Path) -> URL:
    """Return the database that the tests of this process use for ``driver``."""
    if driver.kind == "sqlite":
        return URL.create("sqlite", database=str(folder / "given.sqlite3"))
    url: URL = request.getfixturevalue(driver.kind)
    return url


def token(user_id: str = "bob", revision: str = "rev-1", **changes: Any) -> UserToken:
    """Return a row."""
    pair = TokenPair(
        access_token=f"example-access-{revision}",
        refresh_token=f"example-refresh-{revision}",
        expires_at=NOW + timedelta(days=1),
        account_id=changes.pop("account_id", "1"),
    )
    fields: dict[str, Any] = {"pair": pair, "revision": revision, "pair_saved_at": NOW}
    return UserToken(user_id=user_id, **(fields | changes))


def lease(user_id: str, revision: str = "rev-1", holder: str = "holder", at: datetime = NOW) -> dict[str, Any]:
    """Return the arguments of ``take_lease``."""
    return {
        "user_id": user_id,
        "revision": revision,
        "holder": holder,
        "until": at + timedelta(seconds=90),
        "now": at,
    }


def claim(nonce: str, claimant: str = "claimant", code: str = "code", at: datetime = NOW) -> dict[str, Any]:
    """Return the arguments of ``claim``."""
    return {
        "nonce_hash": nonce,
        "code_hash": code,
        "user_hash": "user",
        "claimant": claimant,
        "until": at + timedelta(seconds=90),
        "expires_at": at + timedelta(seconds=1200),
        "now": at,
    }


async def together(calls: list[Callable[[], Any]]) -> list[Any]:
    """Make every call at once; return what each returned or raised."""

    async def one(call: Callable[[], Any]) -> Any:
        return await call()

    return list(await asyncio.wait_for(asyncio.gather(*map(one, calls), return_exceptions=True), 60))


class Clock:
    """Real time that can be turned ahead."""

    ahead = 0.0

    def __call__(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.ahead)


@dataclass
class Service:
    """A connected user's service on a store, with the events it told and the fake's clock."""

    auth: Any
    fake: FakeAmoCRM
    events: list[Event]
    clock: Clock

    def names(self) -> list[str]:
        return [type(event).__name__ for event in self.events]

    def token_calls(self) -> int:
        return self.fake.token_calls("anna", "refresh_token")


@contextlib.contextmanager
def amocrm(clock: Clock, rotation: str = "strict") -> Iterator[FakeAmoCRM]:
    """A fake amoCRM on ``clock`` without a limit on calls."""
    with FakeAmoCRM(rotation, clock=clock, rate_limit=None) as fake:
        yield fake


@contextlib.asynccontextmanager
async def serving(given: Given, *, rotation: str = "strict", connected: bool = True, **options: Any) -> Any:
    """A service on ``given``'s store with anna connected as user 42 and her access token run out."""
    clock, events = Clock(), []
    with amocrm(clock, rotation) as fake:
        options = {"clock": clock, "on_event": events.append, **options}
        if given.driver.is_async:
            http = fake.async_http_client()
            auth: Any = AsyncUserAuth(fake.integration(), given.store, http=http, **options)
        else:
            http = fake.http_client()
            auth = InThreads(UserAuth(fake.integration(), given.store.inner, http=http, **options))
        try:
            service = Service(auth, fake, events, clock)
            if connected:
                await connect(service)
                clock.ahead += DAY + 1
                events.clear()
            yield service
        finally:
            await auth.aclose()
            if given.driver.is_async:
                await http.aclose()
            else:
                http.close()


async def connect(service: Service, user_id: str = "42", user: str = "anna") -> None:
    """Take the user through the whole flow."""
    started = await service.auth.begin(user_id)
    code = service.fake.authorize(user, state=started.state)
    await service.auth.connect(user_id, code=code, state=started.state, referer=service.fake.host(user))


def on_statement(given: Given, word: str, action: Callable[[], None], *, nth: int = 1) -> None:
    """Do ``action`` before the store's ``nth`` statement from now on that starts with ``word``."""
    left = [nth]

    @event.listens_for(given.below, "before_cursor_execute")
    def _(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        if statement.startswith(word):
            left[0] -= 1
            if left[0] == 0:
                action()


def is_clear(error: BaseException, *words: str) -> bool:
    """Say whether ``error`` is ours, names cause and cure in ``words``, and shows nothing of what was sent."""
    message = str(error)
    shown = re.search(r"example-|SELECT .* FROM|UPDATE .* SET|INSERT INTO|p_user_id|\[SQL|\[parameters|://", message)
    assert isinstance(error, AmoCRMUserAuthError), repr(error)
    assert error.__context__ is None or isinstance(error.__context__, AmoCRMUserAuthError)
    assert error.__cause__ is None
    assert shown is None, message
    assert not [word for word in words if word not in message], message
    return True
