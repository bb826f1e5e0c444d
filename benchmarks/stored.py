"""``access_token`` of a valid token without a cache, against a bare select of the same columns.

The database is an argument: a run on another one needs another pair of URLs, nothing else.
"""

import asyncio
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from cryptography.fernet import Fernet, MultiFernet
from sqlalchemy import MetaData, Select, bindparam, create_engine, select
from sqlalchemy.ext.asyncio import create_async_engine

from amocrm_userauth import AsyncUserAuth, UserAuth
from amocrm_userauth.crypto import TAG, FernetCipher
from amocrm_userauth.sqlalchemy import AsyncSQLAlchemyTokenStore, SQLAlchemyTokenStore, token_table
from benchmarks.figures import Figure, Length, at_most, compare, compare_async, not_measured, seconds_text
from benchmarks.rows import INTEGRATION, names, row
from benchmarks.servers import Missing, database, on

__all__ = ["on_database", "run"]

_BAR = 1.5
_NOT_READ = {"id", "created_at", "updated_at"}


def run(length: Length) -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        for name, key in (("", None), (" + Fernet", FernetCipher.generate_key())):
            path = Path(folder) / f"tokens{len(name)}.sqlite"
            async_urls = {"aiosqlite": f"sqlite+aiosqlite:///{path}"}
            yield from on_database(f"SQLite{name}", f"sqlite:///{path}", async_urls, length=length, key=key)
    for name, key in (("", None), (" + Fernet", FernetCipher.generate_key())):
        try:
            with database("postgresql") as url:
                async_urls = {driver: on(url, driver) for driver in ("asyncpg", "psycopg")}
                yield from on_database(f"PostgreSQL{name}", on(url, "psycopg"), async_urls, length=length, key=key)
        except Missing as missing:
            yield not_measured(f"stored token, PostgreSQL{name} / select", str(missing))


def on_database(
    name: str, url: str, async_urls: dict[str, str], *, length: Length, key: str | None
) -> Iterator[Figure]:
    """Measure both worlds on one database, which gets the tables and users; async with each driver."""
    users = names(length.of(1_000, 20))
    repeats = length.of(21, 2)
    cipher = None if key is None else FernetCipher([key])
    decrypt = _as_it_is if key is None else _bare_decrypt(key)
    engine = create_engine(url)
    store = SQLAlchemyTokenStore(engine, cipher=cipher)
    store.create_schema()
    for user in users:
        store.put(row(user))
    opponent = "select" if key is None else "select + decrypt"
    figures = _sync(store, users, decrypt, repeats)
    engine.dispose()
    yield at_most(f"stored token, sync, {name} / {opponent}", *figures, _BAR, show=seconds_text)
    for driver, async_url in async_urls.items():
        figures = asyncio.run(_async(async_url, cipher, users[: len(users) // 4], decrypt, repeats))
        yield at_most(f"stored token, async ({driver}), {name} / {opponent}", *figures, _BAR, show=seconds_text)


def _as_it_is(stored: str) -> str:
    return stored


def _bare_decrypt(key: str) -> Callable[[str], str]:
    fernet = MultiFernet([Fernet(key)])
    return lambda stored: fernet.decrypt(stored.removeprefix(TAG).encode()).decode()


def _bare_select() -> Select:
    table = token_table(MetaData())
    columns = [column for column in table.c if column.name not in _NOT_READ]
    columns.sort(key=lambda column: column.name != "access_token")
    return select(*columns).where(table.c.user_id == bindparam("user"))


def _sync(
    store: SQLAlchemyTokenStore, users: list[str], decrypt: Callable[[str], str], repeats: int
) -> tuple[float, float]:
    statement, engine = _bare_select(), store.shared_scope()[0]
    with UserAuth(INTEGRATION, store) as auth:

        def ours() -> None:
            for user in users:
                auth.access_token(user)

        def baseline() -> None:
            for user in users:
                with engine.connect() as connection:
                    decrypt(connection.execute(statement, {"user": user}).one()[0])

        return compare(ours, baseline, repeats=repeats, per=len(users))


async def _async(
    url: str, cipher: FernetCipher | None, users: list[str], decrypt: Callable[[str], str], repeats: int
) -> tuple[float, float]:
    statement, engine = _bare_select(), create_async_engine(url)
    async with AsyncUserAuth(INTEGRATION, AsyncSQLAlchemyTokenStore(engine, cipher=cipher)) as auth:

        async def ours() -> None:
            for user in users:
                await auth.access_token(user)

        async def baseline() -> None:
            for user in users:
                async with engine.connect() as connection:
                    decrypt((await connection.execute(statement, {"user": user})).one()[0])

        figures = await compare_async(ours, baseline, repeats=repeats, per=len(users))
    await engine.dispose()
    return figures
