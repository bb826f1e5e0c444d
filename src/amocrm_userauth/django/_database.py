"""Short transactions: a connection for each, repeated where the database has undone it, errors that callers know."""

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, TypeVar

from django.db import DatabaseError, IntegrityError, InterfaceError, models, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from amocrm_userauth._pairs import Time
from amocrm_userauth.django._connections import Connections
from amocrm_userauth.django._failures import judge

__all__ = ["Database", "delete"]

T = TypeVar("T")

_PAUSES = (0.01, 0.03, 0.1, 0.3)
_BOUNDS = {
    "postgresql": "SELECT set_config('lock_timeout', %s, true)",
    "mysql": "SET SESSION innodb_lock_wait_timeout = %s",
}


class Database:
    """The transactions of one store on one database of ``DATABASES``.

    A step is called with the alias of its connection. Values that hold tokens are made inside the call that sends
    them: a rendered traceback shows the local variables of every frame.
    """

    def __init__(self, alias: str, *, max_age: float | None, lock_timeout: float) -> None:
        """Take the database's name, and seconds; connects to nothing."""
        self.alias = alias
        self.connections = Connections(alias, max_age=max_age, lock_timeout=lock_timeout)
        self._lock_timeout = lock_timeout
        self._time = Time()

    def read(self, step: Callable[[str], T]) -> T:
        """Do ``step``, one query."""
        return self._run(lambda attempt: step(attempt.using))

    def update(self, write: Callable[[str], int], *, again_if_lost: bool = True) -> bool:
        """Do one write; say whether it met a row."""

        def step(attempt: _Attempt) -> bool:
            with attempt.transaction():
                return write(attempt.using) > 0

        return self._run(step, again_if_lost=again_if_lost)

    def insert(self, make: Callable[[], models.Model], *, again_if_lost: bool = True) -> bool:
        """Insert one row, of which no signal tells; ``False`` if a constraint is against it."""

        def step(attempt: _Attempt) -> bool:
            try:
                with attempt.transaction():
                    made = make()
                    type(made)._base_manager.using(attempt.using).bulk_create([made])  # noqa: SLF001 - Django's API
            except IntegrityError:  # some are found at the commit only
                return False
            return True

        return self._run(step, again_if_lost=again_if_lost)

    def write_and_read(self, write: Callable[[str], int], read: Callable[[str], T]) -> T:
        """Do one write, then read, in one transaction. The write comes first: it sees, and locks, the newest row."""

        def step(attempt: _Attempt) -> T:
            with attempt.transaction():
                write(attempt.using)
                return read(attempt.using)

        return self._run(step)

    def _run(self, step: "Callable[[_Attempt], T]", *, again_if_lost: bool = True) -> T:
        """Do ``step`` on a connection of its own, anew where nothing was written; raise what callers know.

        A connection that breaks before the commit was asked for has written nothing. After that nobody knows: the step
        is repeated only with ``again_if_lost``, where its repetition comes to the same.
        """
        pauses, deadline = iter(_PAUSES), time.monotonic() + self._lock_timeout
        pause, lost_before = 0.0, False
        while True:
            attempt = _Attempt(self.connections.private, self._lock_timeout)
            try:
                with self.connections.lent() as attempt.connection:
                    return attempt.watch(step)
            except Exception as error:  # noqa: BLE001 - of the driver, the backend, the network
                verdict = judge(error)
            # Outside of the handler: the cause holds what was sent to the database.
            after_loss = attempt.lost and not lost_before and (again_if_lost or not attempt.settled)
            if not after_loss and not (verdict.again and time.monotonic() < deadline):
                raise verdict.error
            if attempt.lost:
                self.connections.close_idle()
            lost_before = lost_before or attempt.lost
            pause = next(pauses, pause)
            self._time.sleep_jittered(pause)


class _Attempt:
    """One try of a step. ``settled``: its commit was asked for. ``lost``: its connection broke."""

    connection: BaseDatabaseWrapper

    def __init__(self, using: str, lock_timeout: float) -> None:
        """Start before there is a connection, which the ORM will know by the alias ``using``."""
        self.using = using
        self._lock_timeout = lock_timeout
        self.settled = False
        self.lost = False

    @contextmanager
    def transaction(self) -> Generator[None]:
        """Begin, wait for others' locks for the lock timeout and no longer (SQLite has been told before), commit."""
        with transaction.atomic(using=self.using):
            statement = _BOUNDS.get(self.connection.vendor)
            if statement is not None:
                seconds = max(1, round(self._lock_timeout))
                bound = str(seconds * 1000) if self.connection.vendor == "postgresql" else seconds
                with self.connection.cursor() as cursor:
                    cursor.execute(statement, [bound])
            yield
            self.settled = True

    def watch(self, step: "Callable[[_Attempt], T]") -> T:
        """Do the step; see, where it fails, whether the connection still works."""
        at_first = self.connection.connection
        try:
            return step(self)
        except (DatabaseError, InterfaceError):
            # the end of a transaction may have made a new one
            self.lost = self.connection.connection is not at_first or not self.connection.is_usable()
            raise


def delete(rows: "models.QuerySet[Any]", using: str) -> int:
    """Delete in one statement: with receivers of ``pre_delete`` Django would read first, then delete by key alone."""
    return int(rows._raw_delete(using))  # noqa: SLF001 - there is no other
