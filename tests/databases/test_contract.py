"""The store suite by every driver and at every isolation level that an application may have chosen for its engine.

The usual run takes what ``tests/_async/test_store_contract.py`` and its twin leave out; the long run takes all.
"""

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import create_async_engine

from amocrm_userauth.sqlalchemy import AsyncSQLAlchemyTokenStore, SQLAlchemyTokenStore, create_schema
from amocrm_userauth.testing import AsyncStoreContract, StoreContract
from tests.databases.kit import DRIVERS, SERVERS, Driver, say_on_connect, sync_engine, tables

LEVELS = ("READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE", "AUTOCOMMIT")
# What applications set for all their sessions.
DEFAULTS = {
    "postgresql": (
        "SET statement_timeout = '5s'",
        "SET lock_timeout = '2s'",
        "SET idle_in_transaction_session_timeout = '1s'",
        "SET TIME ZONE 'America/St_Johns'",
        "SET synchronous_commit = off",
    ),
    "mariadb": (
        "SET SESSION innodb_lock_wait_timeout = 2",
        "SET SESSION time_zone = '-03:30'",
        "SET SESSION sql_mode = 'ANSI_QUOTES'",  # and so not strict
        "SET SESSION innodb_snapshot_isolation = ON",
    ),
}
_TABLES = tables("contract")


class _Suite:
    """What the suites share: where the database is, and how its tables are emptied."""

    driver: Driver
    options: dict[str, Any]
    statements: tuple[str, ...] = ()

    @pytest.fixture(autouse=True)
    def _server(self, request: pytest.FixtureRequest) -> Iterator[None]:
        self.database = request.getfixturevalue(self.driver.kind)
        beside = sync_engine(self.database)
        create_schema(beside, table=_TABLES[0], states=_TABLES[1])
        with beside.connect() as connection:
            connection.execute(_TABLES[0].delete())
            connection.execute(_TABLES[1].delete())
        beside.dispose()
        return

    def make_engine(self) -> Any:
        make: Any = create_async_engine if self.driver.is_async else create_engine
        engine = make(self.driver.url(self.database), **self.options)
        say_on_connect(engine.sync_engine if self.driver.is_async else engine, self.statements)
        return engine


class _AsyncSuite(_Suite, AsyncStoreContract):
    @asynccontextmanager
    async def make_store(self) -> AsyncIterator[AsyncSQLAlchemyTokenStore]:
        engine = self.make_engine()
        yield AsyncSQLAlchemyTokenStore(engine, table=_TABLES[0], states=_TABLES[1])
        await engine.dispose()


class _SyncSuite(_Suite, StoreContract):
    @contextmanager
    def make_store(self) -> Iterator[SQLAlchemyTokenStore]:
        engine = self.make_engine()
        yield SQLAlchemyTokenStore(engine, table=_TABLES[0], states=_TABLES[1])
        engine.dispose()


def suite(name: str, label: str, statements: tuple[str, ...] = (), **options: Any) -> None:
    """Add the suite on a driver to this module."""
    driver = DRIVERS[name]
    title = "".join(word.capitalize() for word in f"test {name} {label}".replace("-", " ").split())
    parent = _AsyncSuite if driver.is_async else _SyncSuite
    fields = {"driver": driver, "options": options, "statements": statements, "__doc__": f"{name} {label}"}
    made: type = type(title, (parent,), fields)
    globals()[title] = made


suite("psycopg-async", "")
if os.environ.get("AMOCRM_TEST_LONG") == "1":  # not marked as long: 1 700 skipped tests take time, too
    for _name in SERVERS:
        suite(_name, "with session defaults", DEFAULTS[DRIVERS[_name].kind])
        for _level in LEVELS:
            suite(_name, _level.lower(), isolation_level=_level)
