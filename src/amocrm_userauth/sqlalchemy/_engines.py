"""Which engines can carry a store, and how callers take turns where all of them share one connection."""

import asyncio
import threading
import weakref
from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, final

from sqlalchemy.pool import StaticPool

from amocrm_userauth.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection, Engine
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

__all__ = ["async_check_engine", "async_gate", "async_run", "check_engine", "gate", "run"]


def async_check_engine(engine: "AsyncEngine") -> "Engine":
    """Return the engine below. Raises ``ConfigurationError`` if the store cannot work on it."""
    below: Engine | None = getattr(engine, "sync_engine", None)
    if below is None:
        msg = "AsyncSQLAlchemyTokenStore needs an engine of create_async_engine; for this one use SQLAlchemyTokenStore"
        raise ConfigurationError(msg)
    return _refuse_scattered_memory(below)


def check_engine(engine: "Engine") -> "Engine":
    """Return the engine. Raises ``ConfigurationError`` if the store cannot work on it."""
    if hasattr(engine, "sync_engine"):
        msg = "SQLAlchemyTokenStore needs an engine of create_engine; for this one use AsyncSQLAlchemyTokenStore"
        raise ConfigurationError(msg)
    return _refuse_scattered_memory(engine)


def _refuse_scattered_memory(engine: "Engine") -> "Engine":
    if engine.dialect.name != "sqlite" or isinstance(engine.pool, StaticPool):
        return engine
    query = engine.url.query
    database = engine.url.database or ":memory:"
    in_memory = ":memory:" in database or "mode=memory" in database or query.get("mode") == "memory"
    if in_memory and "cache=shared" not in database and query.get("cache") != "shared":
        msg = (
            "every connection to SQLite in memory is an empty database of its own: use a file, or "
            "create_engine(..., poolclass=StaticPool, connect_args={'check_same_thread': False}) in tests"
        )
        raise ConfigurationError(msg)
    return engine


_gates: "weakref.WeakKeyDictionary[Engine, Any]" = weakref.WeakKeyDictionary()


@final
class _TurnsOfTasks:
    """Lets one task of each event loop in at a time."""

    def __init__(self) -> None:
        self._locks: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = weakref.WeakKeyDictionary()

    async def __aenter__(self) -> None:
        await self._lock().acquire()

    async def __aexit__(self, *_: object) -> None:
        self._lock().release()

    def _lock(self) -> asyncio.Lock:
        return self._locks.setdefault(asyncio.get_running_loop(), asyncio.Lock())


def async_gate(engine: "Engine") -> "AbstractAsyncContextManager[Any, Any]":
    """Return what callers on one event loop pass one by one if they all share one connection, with its transaction."""
    if isinstance(engine.pool, StaticPool):
        turns: AbstractAsyncContextManager[Any, Any] = _gates.setdefault(engine, _TurnsOfTasks())
        return turns
    return nullcontext()


def gate(engine: "Engine") -> "AbstractContextManager[Any, Any]":
    """Return what threads pass one by one if they all share one connection, with its transaction."""
    if isinstance(engine.pool, StaticPool):
        turns: AbstractContextManager[Any, Any] = _gates.setdefault(engine, threading.Lock())
        return turns
    return nullcontext()


async def async_run(connection: "AsyncConnection", work: "Callable[[Connection], None]") -> None:
    """Do synchronous ``work`` on the connection below."""
    await connection.run_sync(work)


def run(connection: "Connection", work: "Callable[[Connection], None]") -> None:
    """Do ``work`` on the connection."""
    work(connection)
