"""Short transactions: a connection for each, repeated where the database has undone it, errors that callers know."""

import time
from collections.abc import Callable
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
        return self._run(lambda connection: step(connection.alias))

    def update(self, write: Callable[[str], int], *, again_if_lost: bool = True) -> bool:
        """Do one write; say whether it met a row."""

        def step(connection: BaseDatabaseWrapper) -> bool:
            with transaction.atomic(using=connection.alias):
                self._bound_waits(connection)
                return write(connection.alias) > 0

        return self._run(step, again_if_lost=again_if_lost)

    def insert(self, make: Callable[[], models.Model]) -> bool:
        """Insert one row, of which no signal tells; ``False`` if a constraint is against it."""

        def step(connection: BaseDatabaseWrapper) -> bool:
            try:
                with transaction.atomic(using=connection.alias):
                    self._bound_waits(connection)
                    made = make()
                    type(made)._base_manager.using(connection.alias).bulk_create([made])  # noqa: SLF001 - Django's API
            except IntegrityError:  # some are found at the commit only
                return False
            return True

        return self._run(step)

    def write_and_read(self, write: Callable[[str], int], read: Callable[[str], T]) -> T:
        """Do one write, then read, in one transaction. The write comes first: it sees, and locks, the newest row."""

        def step(connection: BaseDatabaseWrapper) -> T:
            with transaction.atomic(using=connection.alias):
                self._bound_waits(connection)
                write(connection.alias)
                return read(connection.alias)

        return self._run(step)

    def _bound_waits(self, connection: BaseDatabaseWrapper) -> None:
        """Let the transaction that has begun wait for others' locks for the lock timeout (SQLite has been told)."""
        statement = _BOUNDS.get(connection.vendor)
        if statement is None:
            return
        seconds = max(1, round(self._lock_timeout))
        with connection.cursor() as cursor:
            cursor.execute(statement, [str(seconds * 1000) if connection.vendor == "postgresql" else seconds])

    def _run(self, step: Callable[[BaseDatabaseWrapper], T], *, again_if_lost: bool = True) -> T:
        """Do ``step`` on a connection of its own, anew where the database has undone it; raise what callers know."""
        pauses, deadline = iter(_PAUSES), time.monotonic() + self._lock_timeout
        pause, may_repeat_lost = 0.0, again_if_lost
        while True:
            lost: list[bool] = []
            try:
                with self.connections.lent() as connection:
                    return _noting_loss(step, connection, lost)
            except Exception as error:  # noqa: BLE001 - of the driver, the backend, the network
                verdict = judge(error)
            # Outside of the handler: the cause holds what was sent to the database.
            if lost:
                self.connections.close_idle()
            if not (lost and may_repeat_lost) and not (verdict.again and time.monotonic() < deadline):
                raise verdict.error
            may_repeat_lost = may_repeat_lost and not lost
            pause = next(pauses, pause)
            self._time.sleep_jittered(pause)


def _noting_loss(step: Callable[[BaseDatabaseWrapper], T], connection: BaseDatabaseWrapper, lost: list[bool]) -> T:
    try:
        return step(connection)
    except (DatabaseError, InterfaceError):
        if connection.connection is None or not connection.is_usable():
            lost.append(True)
        raise


def delete(rows: "models.QuerySet[Any]", using: str) -> int:
    """Delete in one statement: with receivers of ``pre_delete`` Django would read first, then delete by key alone."""
    return int(rows._raw_delete(using))  # noqa: SLF001 - there is no other
