"""Which engines can carry a store, and how callers take turns where all of them share one connection."""

import asyncio
import threading
import weakref
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy.pool import StaticPool

from amocrm_userauth.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sqlalchemy import Connection, Engine
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

__all__ = [
    "AsyncTurns",
    "Turns",
    "async_check_engine",
    "async_run",
    "async_turns",
    "check_engine",
    "level_of_our_own",
    "run",
    "turns",
]

T = TypeVar("T")


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


def level_of_our_own(engine: "Engine") -> str | None:
    """Return the isolation level to use instead of the engine's, or ``None`` to leave that as it is.

    ``AUTOCOMMIT`` would make a write and the look at its result two transactions: a winner might not see that it won.
    """
    level = engine.get_execution_options().get("isolation_level")
    if level is None:
        # what create_engine(isolation_level=...) was given; SQLAlchemy has no public name for it
        level = getattr(engine.dialect, "_on_connect_isolation_level", None)
    if str(level).upper() != "AUTOCOMMIT":
        return None
    return "SERIALIZABLE" if engine.dialect.name == "sqlite" else "READ COMMITTED"


class AsyncTurns:
    """Lets one task of each event loop at the connection at a time, and lets it finish.

    A cancelled call would have its connection thrown away, and with it the database in memory that all share.
    """

    def __init__(self) -> None:
        """Start with nobody at it."""
        self._locks: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = weakref.WeakKeyDictionary()

    async def run(self, work: "Callable[[], Awaitable[T]]") -> T:
        """Return what ``work`` returns; it goes on if the caller is cancelled."""
        task = asyncio.get_running_loop().create_task(self._in_turn(work))
        # Taken note of here, as nobody may be left to be told.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(task)

    async def _in_turn(self, work: "Callable[[], Awaitable[T]]") -> T:
        async with self._locks.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
            return await work()


class Turns:
    """Lets one thread at the connection at a time."""

    def __init__(self) -> None:
        """Start with nobody at it."""
        self._lock = threading.Lock()

    def run(self, work: "Callable[[], T]") -> T:
        """Return what ``work`` returns."""
        with self._lock:
            return work()


_turns: "weakref.WeakKeyDictionary[Engine, Any]" = weakref.WeakKeyDictionary()


def async_turns(engine: "Engine") -> AsyncTurns | None:
    """Return the order in which callers come to the one connection, and its transaction, that all of them share."""
    return _turns.setdefault(engine, AsyncTurns()) if isinstance(engine.pool, StaticPool) else None


def turns(engine: "Engine") -> Turns | None:
    """Return the order in which callers come to the one connection, and its transaction, that all of them share."""
    return _turns.setdefault(engine, Turns()) if isinstance(engine.pool, StaticPool) else None


async def async_run(connection: "AsyncConnection", work: "Callable[[Connection], None]") -> None:
    """Do synchronous ``work`` on the connection below."""
    await connection.run_sync(work)


def run(connection: "Connection", work: "Callable[[Connection], None]") -> None:
    """Do ``work`` on the connection."""
    work(connection)
