"""1 000 000 stored users on PostgreSQL: a token and a page of who is due, against the same with 1 000 users."""

import asyncio
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from string import ascii_letters, digits
from uuid import UUID

from sqlalchemy import Engine, MetaData, Table, create_engine, text
from sqlalchemy.ext.asyncio import create_async_engine

from amocrm_userauth import AsyncUserAuth, UserAuth
from amocrm_userauth.sqlalchemy import AsyncSQLAlchemyTokenStore, SQLAlchemyTokenStore, token_table
from benchmarks.figures import Figure, Length, at_most, compare, compare_async, not_measured, seconds_text
from benchmarks.rows import INTEGRATION, row
from benchmarks.servers import Missing, database, on

__all__ = ["run"]

_BAR = 1.3
_FEW = 1_000
_AGES = timedelta(days=60)
_DUE = timedelta(days=30)
_PAGE = 100
_TOKEN = 1_000


def run(length: Length) -> Iterator[Figure]:
    many = length.of(1_000_000, 2_000)
    try:
        with database("postgresql") as url:
            yield from _measure(on(url, "psycopg"), on(url, "asyncpg"), many, length)
    except Missing as missing:
        yield not_measured(f"{many} users, PostgreSQL / {_FEW}", str(missing))


@dataclass(frozen=True, slots=True)
class _Crowd:
    """A table of so many users; the longest silent have the lowest numbers."""

    table: Table
    count: int

    @classmethod
    def of(cls, engine: Engine, count: int) -> "_Crowd":
        """Fill a table. It is not written ahead: that would only take longer, and is not read."""
        crowd = cls(token_table(MetaData(), f"tokens_of_{count}"), count)
        store = SQLAlchemyTokenStore(engine, table=crowd.table)
        store.create_schema()
        with engine.begin() as connection:
            connection.execute(text(f"ALTER TABLE {crowd.table.name} SET UNLOGGED"))
        store.put(row(_name(0)))
        _copy(engine, crowd.table, count)
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text(f"VACUUM ANALYZE {crowd.table.name}"))
        return crowd

    def some(self, count: int, seed: int) -> list[str]:
        """Return ids at random, other ones in each round: nobody asks for the same thousand again and again."""
        chosen = random.Random(seed)
        return [_name(chosen.randrange(self.count)) for _ in range(count)]

    def place(self, seed: int) -> tuple[datetime, str]:
        """Return a place among those who are due, behind which a page may begin."""
        number = random.Random(seed).randrange(self.count // 3)
        return _saved_at(number, self.count, _NOW), _name(number)


_NOW = datetime.now(UTC)


def _name(number: int) -> str:
    return f"user-{number:07}"


def _saved_at(number: int, count: int, now: datetime) -> datetime:
    return now - _AGES + _AGES * number / count


def _copy(engine: Engine, table: Table, count: int) -> None:
    """Add users like the first one, each with tokens of its own that do not compress: amoCRM's are random too."""
    noise = "".join(random.Random(7).choices(f"{ascii_letters}{digits}-_", k=1 << 20))
    names = [column.name for column in table.c]
    raw = engine.raw_connection()
    try:
        cursor = raw.cursor()
        shown = ", ".join(f"{name}::text" for name in names)
        like = dict(zip(names, cursor.execute(f"SELECT {shown} FROM {table.name}").fetchone(), strict=True))
        cursor.execute(f"DELETE FROM {table.name}")
        with cursor.copy(f"COPY {table.name} ({', '.join(names)}) FROM STDIN") as copy:
            for number in range(count):
                start, other = number * 7 % (len(noise) - _TOKEN), number * 11 % (len(noise) - _TOKEN)
                own = {
                    "id": UUID(int=number),
                    "user_id": _name(number),
                    "revision": f"revision-of-{number}",
                    "access_token": noise[start : start + _TOKEN],
                    "refresh_token": noise[other : other + _TOKEN],
                    "pair_saved_at": _saved_at(number, count, _NOW).isoformat(),
                    "expires_at": (_NOW + timedelta(days=1)).isoformat(),
                }
                copy.write_row([own.get(name, value) for name, value in like.items()])
        raw.commit()
    finally:
        raw.close()


def _measure(url: str, async_url: str, many: int, length: Length) -> Iterator[Figure]:
    engine = create_engine(url)
    few, crowd = _Crowd.of(engine, _FEW), _Crowd.of(engine, many)
    tokens, pages, repeats = length.of(200, 5), length.of(40, 2), length.of(31, 2)
    for what, steps in (("stored token", tokens), ("page of who is due", pages)):
        ours, baseline = (_steps(engine, table, what, steps) for table in (crowd, few))
        name = f"{what}, sync (psycopg), PostgreSQL, {many} users / {_FEW}"
        yield at_most(name, *compare(ours, baseline, repeats=repeats, per=steps), _BAR, show=seconds_text)
    engine.dispose()
    for what, steps in (("stored token", tokens), ("page of who is due", pages)):
        figures = asyncio.run(_in_loop(async_url, (crowd, few), what, steps, repeats))
        name = f"{what}, async (asyncpg), PostgreSQL, {many} users / {_FEW}"
        yield at_most(name, *figures, _BAR, show=seconds_text)


def _steps(engine: Engine, crowd: _Crowd, what: str, steps: int) -> Callable[[], None]:
    store, seeds = SQLAlchemyTokenStore(engine, table=crowd.table), iter(range(1_000_000))

    def token() -> None:
        with UserAuth(INTEGRATION, store) as auth:
            for user in crowd.some(steps, next(seeds)):
                auth.access_token(user)

    def page() -> None:
        for _ in range(steps):
            found = store.list_due(saved_before=_NOW - _DUE, after=crowd.place(next(seeds)), limit=_PAGE)
            assert len(found) == _PAGE, len(found)

    return token if what == "stored token" else page


async def _in_loop(url: str, crowds: tuple[_Crowd, _Crowd], what: str, steps: int, repeats: int) -> tuple[float, float]:
    engine = create_async_engine(url)

    def rounds(crowd: _Crowd) -> Callable[[], object]:
        store, seeds = AsyncSQLAlchemyTokenStore(engine, table=crowd.table), iter(range(1_000_000))

        async def token() -> None:
            async with AsyncUserAuth(INTEGRATION, store) as auth:
                for user in crowd.some(steps, next(seeds)):
                    await auth.access_token(user)

        async def page() -> None:
            for _ in range(steps):
                place = crowd.place(next(seeds))
                found = await store.list_due(saved_before=_NOW - _DUE, after=place, limit=_PAGE)
                assert len(found) == _PAGE, len(found)

        return token if what == "stored token" else page

    figures = await compare_async(*map(rounds, crowds), repeats=repeats, per=steps)
    await engine.dispose()
    return figures
