"""Engines for tests of both worlds, as pairs of names ``async_x`` and ``x``: no waiting for disks, the world's driver."""

import asyncio
import threading
from typing import Any

from sqlalchemy import URL, Engine, create_engine, event, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

_ASYNC = {"sqlite": "aiosqlite", "postgresql": "asyncpg", "mysql": "asyncmy", "mariadb": "asyncmy"}
_SYNC = {"sqlite": "pysqlite", "postgresql": "psycopg", "mysql": "pymysql", "mariadb": "pymysql"}


def async_engine(address: str | URL, **options: Any) -> AsyncEngine:
    """Return an engine on ``address``, whose driver is replaced."""
    made = create_async_engine(_with(address, _ASYNC), **options)
    _hurry(made.sync_engine)
    return made


def engine(address: str | URL, **options: Any) -> Engine:
    """Return an engine on ``address``, whose driver is replaced."""
    made = create_engine(_with(address, _SYNC), **options)
    _hurry(made)
    return made


async def async_threads_ended() -> None:
    """Wait for the threads of connections that failed to open: they report to the event loop as they end."""
    for thread in threading.enumerate():
        if "_connection_worker_thread" in thread.name:
            await asyncio.to_thread(thread.join, 10)


def threads_ended() -> None:
    """Do nothing: sync drivers have no threads."""


def below(made: Engine | AsyncEngine) -> Engine:
    """Return the engine itself, or the one below an async engine."""
    return made.sync_engine if isinstance(made, AsyncEngine) else made


def _with(address: str | URL, drivers: dict[str, str]) -> URL:
    url = make_url(address)
    name = url.get_backend_name()
    return url.set(drivername=f"{name}+{drivers[name]}")


def _hurry(made: Engine) -> None:
    pragma = {"sqlite": "PRAGMA synchronous=OFF", "postgresql": "SET SESSION synchronous_commit = off"}
    statement = pragma.get(made.dialect.name)
    if statement is None:
        return

    @event.listens_for(made, "connect")
    def _connected(connection: Any, _: object) -> None:
        cursor = connection.cursor()
        cursor.execute(statement)
        cursor.close()
        connection.commit()
