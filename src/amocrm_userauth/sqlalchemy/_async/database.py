"""Short transactions: a connection for each, repeated where the database has undone it, errors that callers know."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from sqlalchemy.exc import IntegrityError

from amocrm_userauth._pairs import AsyncTime
from amocrm_userauth.sqlalchemy._engines import async_run, async_turns, level_of_our_own
from amocrm_userauth.sqlalchemy._failures import judge

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from sqlalchemy import Connection, Engine, Executable
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

__all__ = ["AsyncDatabase"]

T = TypeVar("T")
Parameters: TypeAlias = "Mapping[str, object]"
Fields: TypeAlias = "Sequence[Any]"

_PAUSES = (0.01, 0.03, 0.1, 0.3, 0.6)
# A step that took so long has waited inside the database already; it is not repeated.
_PATIENCE = 5.0


class AsyncAttempt:
    """One try of a step. ``settled``: its commit was asked for, so only the answer tells whether it was written."""

    connection: AsyncConnection

    def __init__(self) -> None:
        """Start before there is a connection."""
        self.settled = False

    async def commit(self) -> None:
        """Commit."""
        self.settled = True
        await self.connection.commit()


class AsyncDatabase:
    """One engine's short transactions.

    Parameters that hold tokens travel as functions and are made inside the call that sends them: a rendered traceback
    shows the local variables of every frame.
    """

    def __init__(self, engine: AsyncEngine, below: Engine) -> None:
        """Take the engine, and the one below that does its work."""
        level = level_of_our_own(below)
        self._engine = engine if level is None else engine.execution_options(isolation_level=level)
        self._turns = async_turns(below)
        self._time = AsyncTime()

    async def first(self, statement: Executable, key: Parameters) -> Fields | None:
        """Return the first row."""

        async def step(attempt: AsyncAttempt) -> Fields | None:
            return (await attempt.connection.execute(statement, key)).first()

        return await self.run(step)

    async def all(self, statement: Executable, key: Parameters) -> Sequence[Fields]:
        """Return every row."""

        async def step(attempt: AsyncAttempt) -> Sequence[Fields]:
            return (await attempt.connection.execute(statement, key)).all()

        return await self.run(step)

    async def count(
        self,
        statement: Executable,
        parameters: Callable[[], Parameters],
        *,
        again: bool = True,
        again_if_lost: bool = True,
    ) -> bool:
        """Do one write; say whether it met a row."""

        async def step(attempt: AsyncAttempt) -> bool:
            result = await attempt.connection.execute(statement, parameters())
            await attempt.commit()
            return result.rowcount > 0

        return await self.run(step, again=again, again_if_lost=again_if_lost)

    async def insert(
        self, statement: Executable, parameters: Callable[[], Parameters], *, again_if_lost: bool = True
    ) -> bool:
        """Insert one row; ``False`` if a constraint is against it."""

        async def step(attempt: AsyncAttempt) -> bool:
            try:
                await attempt.connection.execute(statement, parameters())
                await attempt.commit()
            except IntegrityError:
                return False
            return True

        return await self.run(step, again_if_lost=again_if_lost)

    async def write_and_read(
        self,
        write: Executable,
        parameters: Callable[[], Parameters],
        read: Executable,
        key: Parameters,
        make: Callable[[Fields | None], T],
    ) -> T:
        """Do one write, then read, in one transaction. The write comes first: it sees, and locks, the newest row."""

        async def step(attempt: AsyncAttempt) -> T:
            await attempt.connection.execute(write, parameters())
            found = make((await attempt.connection.execute(read, key)).first())
            await attempt.commit()
            return found

        return await self.run(step)

    async def make(self, work: Callable[[Connection], None]) -> None:
        """Do ``work``, which creates tables."""

        async def step(attempt: AsyncAttempt) -> None:
            await async_run(attempt.connection, work)
            await attempt.commit()

        await self.run(step)

    async def run(
        self, step: Callable[[AsyncAttempt], Awaitable[T]], *, again: bool = True, again_if_lost: bool = True
    ) -> T:
        """Do ``step`` on a connection of its own, ``again`` where nothing was written; raise what callers know.

        A connection that breaks before the commit was asked for has written nothing. After that nobody knows: the step
        is repeated only with ``again_if_lost``, where its repetition comes to the same.
        """
        pauses, lost_before = iter(_PAUSES), False
        began = self._time.monotonic()
        while True:
            attempt = AsyncAttempt()
            try:
                if self._turns is None:
                    return await self._once(attempt, step)
                return await self._turns.run(partial(self._once, attempt, step))
            except Exception as error:  # noqa: BLE001 - of the driver, the pool, the network
                verdict = judge(error)
            # Outside of the handler: the cause holds what was sent to the database.
            after_loss = verdict.lost and not lost_before and (again_if_lost or not attempt.settled)
            pause = next(pauses, None) if again and (verdict.again or after_loss) else None
            if pause is None or self._time.monotonic() - began > _PATIENCE:
                raise verdict.error
            lost_before = lost_before or verdict.lost
            await self._time.sleep_jittered(pause)

    async def _once(self, attempt: AsyncAttempt, step: Callable[[AsyncAttempt], Awaitable[T]]) -> T:
        async with self._engine.connect() as attempt.connection:
            return await step(attempt)
