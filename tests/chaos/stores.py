"""The stores that workers can use. Another kind is another entry of ``KINDS``."""

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import URL, create_engine, event, make_url
from sqlalchemy.ext.asyncio import create_async_engine

from amocrm_userauth.sqlalchemy import AsyncSQLAlchemyTokenStore, SQLAlchemyTokenStore
from tests.chaos import site

PATIENCE = 2
"""Real seconds that an application lets a statement wait for a lock, or for a connection."""

_SYNC = {"sqlite": "pysqlite", "postgresql": "psycopg", "mysql": "pymysql"}
_ASYNC = {"sqlite": "aiosqlite", "postgresql": "asyncpg", "mysql": "asyncmy"}
_POOL = {"pool_size": 5, "max_overflow": 5, "pool_timeout": PATIENCE}


def _options(url: URL, *, is_async: bool) -> dict[str, Any]:
    """Limits such as an application sets: a stopped process must not hold the others' rows for ever."""
    name = url.get_backend_name()
    if name == "sqlite":
        return {"connect_args": {"timeout": PATIENCE}}
    if name == "mysql":
        return {
            "connect_args": {"connect_timeout": PATIENCE, "init_command": f"SET innodb_lock_wait_timeout={PATIENCE}"}
        }
    limits = {"lock_timeout": f"{PATIENCE}s", "idle_in_transaction_session_timeout": f"{PATIENCE}s"}
    if is_async:
        return {"connect_args": {"timeout": PATIENCE, "server_settings": limits}}
    words = " ".join(f"-c {key}={value}" for key, value in limits.items())
    return {"connect_args": {"connect_timeout": PATIENCE, "options": words}}


def _driven(address: str, drivers: dict[str, str]) -> URL:
    url = make_url(address)
    return url.set(drivername=f"{url.get_backend_name()}+{drivers[url.get_backend_name()]}")


def _write_ahead(engine: Any) -> None:
    if engine.dialect.name != "sqlite":
        return

    @event.listens_for(engine, "connect")
    def _(connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=NORMAL")
        cursor.close()


@contextlib.contextmanager
def sqlalchemy(address: str, *, pre_ping: bool = False) -> Iterator[SQLAlchemyTokenStore]:
    """A store on an engine of its own."""
    url = _driven(address, _SYNC)
    engine = create_engine(url, pool_pre_ping=pre_ping, **_POOL, **_options(url, is_async=False))
    _write_ahead(engine)
    try:
        yield SQLAlchemyTokenStore(engine)
    finally:
        engine.dispose()


@contextlib.asynccontextmanager
async def async_sqlalchemy(address: str, *, pre_ping: bool = False) -> AsyncIterator[AsyncSQLAlchemyTokenStore]:
    """The async twin."""
    url = _driven(address, _ASYNC)
    engine = create_async_engine(url, pool_pre_ping=pre_ping, **_POOL, **_options(url, is_async=True))
    _write_ahead(engine.sync_engine)
    try:
        yield AsyncSQLAlchemyTokenStore(engine)
    finally:
        await engine.dispose()


@contextlib.contextmanager
def django(address: str, *, pre_ping: bool = False) -> Iterator[Any]:
    """A store on Django's ORM."""
    with site.store(address, patience=PATIENCE, pre_ping=pre_ping) as store:
        yield store


def _tables(address: str, _users: int) -> None:
    engine = create_engine(address)
    try:
        SQLAlchemyTokenStore(engine).create_schema()
    finally:
        engine.dispose()


def _pool(store: Any) -> dict[str, int]:
    pool = store.shared_scope()[0].pool
    return {"connections": pool.checkedin() + pool.checkedout(), "in use": pool.checkedout()}


@dataclass(frozen=True, slots=True)
class Kind:
    """How its stores are opened, how tables for so many users are made, and what connections a store holds."""

    sync: Callable[..., AbstractContextManager[Any]]
    asynchronous: Callable[..., AbstractAsyncContextManager[Any]] | None
    tables: Callable[[str, int], None]
    held: Callable[[Any], dict[str, int]]


KINDS = {
    "sqlalchemy": Kind(sqlalchemy, async_sqlalchemy, _tables, _pool),
    "django": Kind(django, None, site.tables, site.held),
}
