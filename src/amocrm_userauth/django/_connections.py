"""Database connections of the store's own: nothing that a request does to its connection touches a pair.

They go by a private alias, which Django's own housekeeping (``close_old_connections``, test cases, routers) does not
know, and are lent to one step at a time. A refresh runs in a thread of its own, so none belongs to a thread. An idle
one is kept as long as ``CONN_MAX_AGE`` says: not at all by default.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC
from threading import RLock
from typing import Any, TypeVar
from weakref import WeakSet

from django.db import DatabaseError, IntegrityError, InterfaceError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.utils import load_backend

from amocrm_userauth._pairs import Time
from amocrm_userauth.django._failures import judge
from amocrm_userauth.errors import ConfigurationError

__all__ = ["Connections", "shared"]

T = TypeVar("T")

_PAUSES = (0.01, 0.03, 0.1, 0.3)
_KEPT = 8
_BOUNDS = {
    "postgresql": "SELECT set_config('lock_timeout', %s, true)",
    "mysql": "SET SESSION innodb_lock_wait_timeout = %s",
}

_everywhere: "WeakSet[Connections]" = WeakSet()
# What a forked child has inherited: neither used nor closed there, as its socket is the parent's.
_inherited: list[BaseDatabaseWrapper] = []
_shared: dict[str, tuple[BaseDatabaseWrapper, Any]] = {}


class Connections:
    """The short transactions of one store on one database of ``DATABASES``."""

    def __init__(self, alias: str, *, max_age: float | None, lock_timeout: float) -> None:
        """Take the database's name, and seconds; connects to nothing."""
        self.alias = alias
        self._private = f"amocrm_userauth:{alias}"
        self._max_age = max_age
        self._lock_timeout = lock_timeout
        self._idle: list[BaseDatabaseWrapper] = []
        self._time = Time()
        _everywhere.add(self)

    def run(self, step: Callable[[str], T], *, again_if_lost: bool = True) -> T:
        """Do ``step`` on a connection of its own, anew where the database has undone it; raise what callers know."""
        pauses, deadline = iter(_PAUSES), time.monotonic() + self._lock_timeout
        pause, lost_before = 0.0, not again_if_lost
        while True:
            lost = False
            try:
                with self._lent() as lent:
                    try:
                        return step(self._private)
                    except (DatabaseError, InterfaceError) as error:
                        lost = not isinstance(error, IntegrityError) and not lent.is_usable()
                        raise
            except Exception as error:  # noqa: BLE001 - of the driver, the backend, the network
                verdict = judge(error)
            # Outside of the handler: the cause holds what was sent to the database.
            if lost:
                self.close_idle()
            if not (lost and not lost_before) and not (verdict.again and time.monotonic() < deadline):
                raise verdict.error
            lost_before = lost_before or lost
            pause = next(pauses, pause)
            self._time.sleep_jittered(pause)

    def bound_waits(self, using: str) -> None:
        """Let the transaction that has begun wait for another's locks for the lock timeout, and no longer."""
        connection = connections[using]
        statement = _BOUNDS.get(connection.vendor)
        if statement is None:
            return
        seconds = max(1, round(self._lock_timeout))
        with connection.cursor() as cursor:
            cursor.execute(statement, [str(seconds * 1000) if connection.vendor == "postgresql" else seconds])

    def close_idle(self) -> None:
        """Close what is kept open for the next step."""
        while self._idle:
            _discard(self._idle.pop())

    @contextmanager
    def _lent(self) -> Iterator[BaseDatabaseWrapper]:
        common = _shared.get(self.alias)
        if common is not None:
            wrapper, turn = common
            with turn, self._known_as_private(wrapper):
                yield wrapper
            return
        wrapper = self._take()
        try:
            with self._known_as_private(wrapper):
                wrapper.ensure_connection()
                yield wrapper
        except BaseException:
            _discard(wrapper)
            raise
        self._give_back(wrapper)

    @contextmanager
    def _known_as_private(self, wrapper: BaseDatabaseWrapper) -> Iterator[None]:
        connections[self._private] = wrapper
        try:
            yield
        finally:
            del connections[self._private]

    def _take(self) -> BaseDatabaseWrapper:
        settings = self._settings()
        while self._idle:
            with suppress(IndexError):
                wrapper = self._idle.pop()
                wrapper.close_if_unusable_or_obsolete()
                if wrapper.connection is not None and wrapper.settings_dict == settings:
                    return wrapper
                _discard(wrapper)
        return self._make(settings)

    def _give_back(self, wrapper: BaseDatabaseWrapper) -> None:
        wrapper.close_if_unusable_or_obsolete()
        if wrapper.connection is not None:
            self._idle.append(wrapper)
        if len(self._idle) > _KEPT:
            _discard(self._idle.pop(0))

    def _make(self, settings: dict[str, Any]) -> BaseDatabaseWrapper:
        wrapper: BaseDatabaseWrapper = load_backend(settings["ENGINE"]).DatabaseWrapper(settings, self._private)
        wrapper.inc_thread_sharing()
        # the columns are UTC, whatever the site's USE_TZ and TIME_ZONE
        vars(wrapper).update(timezone=UTC, timezone_name="UTC")
        # DEBUG writes statements with their parameters into the log and into connection.queries: not these
        vars(wrapper).update(make_debug_cursor=wrapper.make_cursor)
        return wrapper

    def _settings(self) -> dict[str, Any]:
        theirs = connections.settings[self.alias]
        options = {name: value for name, value in theirs["OPTIONS"].items() if name != "pool"}
        if theirs["ENGINE"].rpartition(".")[2] == "sqlite3":
            options["timeout"] = self._lock_timeout
        age = theirs["CONN_MAX_AGE"] if self._max_age is None else self._max_age
        return {**theirs, "AUTOCOMMIT": True, "CONN_MAX_AGE": age, "OPTIONS": options}

    def _forget(self) -> None:
        _inherited.extend(self._idle)
        self._idle = []


@contextmanager
def shared(alias: str) -> Iterator[None]:
    """Let every store use this thread's connection to ``alias``, in whatever transaction it is; for tests."""
    if alias in _shared:
        raise ConfigurationError("shared_connection() is in use already")
    wrapper = connections[alias]
    wrapper.inc_thread_sharing()
    _shared[alias] = (wrapper, RLock())
    try:
        yield
    finally:
        del _shared[alias]
        wrapper.dec_thread_sharing()


def _discard(wrapper: BaseDatabaseWrapper) -> None:
    """Close the connection, in whatever state it is."""
    raw, wrapper.connection = wrapper.connection, None
    if raw is not None:
        with suppress(Exception):
            raw.close()


def _in_child() -> None:
    _shared.clear()
    for one in list(_everywhere):
        one._forget()  # noqa: SLF001 - this module's


os.register_at_fork(after_in_child=_in_child)
