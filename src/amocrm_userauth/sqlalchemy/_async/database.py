"""Short transactions: a connection for each, repeated where the database has undone it, errors that callers know."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from sqlalchemy.exc import IntegrityError

from amocrm_userauth._pairs import AsyncTime
from amocrm_userauth.sqlalchemy._engines import async_run, async_turns
from amocrm_userauth.sqlalchemy._failures import judge

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from sqlalchemy import Connection, Engine, Executable
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

__all__ = ["AsyncDatabase"]

T = TypeVar("T")
Parameters: TypeAlias = "Mapping[str, object]"
Fields: TypeAlias = "Sequence[Any]"

_PAUSES = (0.01, 0.03, 0.1, 0.3)


class AsyncDatabase:
    """One engine's short transactions.

    Parameters that hold tokens travel as functions and are made inside the call that sends them: a rendered traceback
    shows the local variables of every frame.
    """

    def __init__(self, engine: AsyncEngine, below: Engine) -> None:
        """Take the engine, and the one below that does its work."""
        self._engine = engine
        self._turns = async_turns(below)
        self._time = AsyncTime()

    async def first(self, statement: Executable, key: Parameters) -> Fields | None:
        """Return the first row."""

        async def step(connection: AsyncConnection) -> Fields | None:
            return (await connection.execute(statement, key)).first()

        return await self.run(step)

    async def all(self, statement: Executable, key: Parameters) -> Sequence[Fields]:
        """Return every row."""

        async def step(connection: AsyncConnection) -> Sequence[Fields]:
            return (await connection.execute(statement, key)).all()

        return await self.run(step)

    async def count(
        self, statement: Executable, parameters: Callable[[], Parameters], *, again_if_lost: bool = True
    ) -> bool:
        """Do one write; say whether it met a row."""

        async def step(connection: AsyncConnection) -> bool:
            result = await connection.execute(statement, parameters())
            await connection.commit()
            return result.rowcount > 0

        return await self.run(step, again_if_lost=again_if_lost)

    async def insert(self, statement: Executable, parameters: Callable[[], Parameters]) -> bool:
        """Insert one row; ``False`` if a constraint is against it."""

        async def step(connection: AsyncConnection) -> bool:
            try:
                await connection.execute(statement, parameters())
                await connection.commit()
            except IntegrityError:
                return False
            return True

        return await self.run(step)

    async def write_and_read(
        self,
        write: Executable,
        parameters: Callable[[], Parameters],
        read: Executable,
        key: Parameters,
        make: Callable[[Fields | None], T],
    ) -> T:
        """Do one write, then read, in one transaction. The write comes first: it sees, and locks, the newest row."""

        async def step(connection: AsyncConnection) -> T:
            await connection.execute(write, parameters())
            found = make((await connection.execute(read, key)).first())
            await connection.commit()
            return found

        return await self.run(step)

    async def make(self, work: Callable[[Connection], None]) -> None:
        """Do ``work``, which creates tables."""

        async def step(connection: AsyncConnection) -> None:
            await async_run(connection, work)
            await connection.commit()

        await self.run(step)

    async def run(self, step: Callable[[AsyncConnection], Awaitable[T]], *, again_if_lost: bool = True) -> T:
        """Do ``step`` on a connection of its own, anew where the database has undone it; raise what callers know."""
        pauses, lost_before = iter(_PAUSES), False
        while True:
            try:
                if self._turns is None:
                    return await self._once(step)
                return await self._turns.run(partial(self._once, step))
            except Exception as error:  # noqa: BLE001 - of the driver, the pool, the network
                verdict = judge(error)
            # Outside of the handler: the cause holds what was sent to the database.
            pause = next(pauses, None)
            if pause is None or not (verdict.again or (verdict.lost and again_if_lost and not lost_before)):
                raise verdict.error
            lost_before = lost_before or verdict.lost
            await self._time.sleep_jittered(pause)

    async def _once(self, step: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        async with self._engine.connect() as connection:
            return await step(connection)
