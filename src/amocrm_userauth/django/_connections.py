"""Database connections of the store's own: nothing that a request does to its connection touches a pair.

They go by a private alias, which Django's own housekeeping (``close_old_connections``, test cases, routers) does not
know, and are lent to one step at a time. A refresh runs in a thread of its own, so none belongs to a thread. An idle
one is kept as long as ``CONN_MAX_AGE`` says: not at all by default.
"""

import os
from collections.abc import Generator
from contextlib import contextmanager, suppress
from datetime import UTC
from threading import RLock
from typing import Any
from weakref import WeakSet

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.utils import load_backend

from amocrm_userauth.errors import ConfigurationError

__all__ = ["Connections", "shared"]

_KEPT = 8

_everywhere: "WeakSet[Connections]" = WeakSet()
# What a forked child has inherited: neither used nor closed there, as its socket is the parent's.
_inherited: list[BaseDatabaseWrapper] = []
_shared: dict[str, tuple[BaseDatabaseWrapper, Any]] = {}


class Connections:
    """Connections of our own to one database of ``DATABASES``."""

    def __init__(self, alias: str, *, max_age: float | None, lock_timeout: float) -> None:
        """Take the database's name, and seconds; connects to nothing."""
        self.alias = alias
        self.private = f"amocrm_userauth:{alias}"
        self._max_age = max_age
        self._lock_timeout = lock_timeout
        self._idle: list[BaseDatabaseWrapper] = []
        _everywhere.add(self)

    def close_idle(self) -> None:
        """Close what is kept open for the next step."""
        while self._idle:
            _discard(self._idle.pop())

    @contextmanager
    def lent(self) -> Generator[BaseDatabaseWrapper]:
        """Lend a connection, which is known by its alias while it is."""
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
    def _known_as_private(self, wrapper: BaseDatabaseWrapper) -> Generator[None]:
        connections[self.private] = wrapper
        try:
            yield
        finally:
            del connections[self.private]

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
        wrapper: BaseDatabaseWrapper = load_backend(settings["ENGINE"]).DatabaseWrapper(settings, self.private)
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

    def forget(self) -> None:
        """Leave the idle connections to the process that made them."""
        _inherited.extend(self._idle)
        self._idle = []


@contextmanager
def shared(alias: str) -> Generator[None]:
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
        one.forget()


os.register_at_fork(after_in_child=_in_child)
