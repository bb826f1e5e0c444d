"""The store suite on every store of ours: in memory, and on each database, with and without encryption."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ClassVar
from uuid import NAMESPACE_URL, uuid5

import pytest
from sqlalchemy import URL, BigInteger, MetaData, String, Table, Uuid
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import StaticPool

from amocrm_userauth._async.memory import AsyncMemoryTokenStore
from amocrm_userauth.crypto import FernetCipher
from amocrm_userauth.sqlalchemy import AsyncSQLAlchemyTokenStore, state_table, token_table
from amocrm_userauth.testing import AsyncStoreContract
from tests.engines import async_engine

_CIPHER = FernetCipher([FernetCipher.generate_key()])


class TestMemory(AsyncStoreContract):
    """In memory."""

    def make_store(self) -> AsyncMemoryTokenStore:
        return AsyncMemoryTokenStore()


class _OnSQLAlchemy(AsyncStoreContract):
    """On an engine that a subclass makes; its tables are emptied for each test."""

    cipher: ClassVar[FernetCipher | None] = None
    table: ClassVar[Table] = token_table(MetaData())
    states: ClassVar[Table] = state_table(MetaData())

    def make_engine(self) -> AsyncEngine:
        raise NotImplementedError

    @asynccontextmanager
    async def make_store(self) -> AsyncIterator[AsyncSQLAlchemyTokenStore]:
        engine = self.make_engine()
        store = AsyncSQLAlchemyTokenStore(engine, cipher=self.cipher, table=self.table, states=self.states)
        await store.create_schema()
        async with engine.begin() as connection:
            await connection.execute(self.table.delete())
            await connection.execute(self.states.delete())
        yield store
        await engine.dispose()


class TestSQLiteFile(_OnSQLAlchemy):
    """SQLite in a file, encrypted."""

    cipher = _CIPHER

    @pytest.fixture(autouse=True)
    def _file(self, tmp_path: Path) -> None:
        self.path = tmp_path / "stores.sqlite3"

    def make_engine(self) -> AsyncEngine:
        return async_engine(f"sqlite:///{self.path}")


@pytest.mark.long
class TestSQLiteWithIntegerIds(TestSQLiteFile):
    """Integer user ids, not encrypted."""

    cipher = None
    table = token_table(MetaData(), "amo_crm_tokens_int", user_id_type=BigInteger)

    def user_id(self, name: str) -> str:
        return str(int.from_bytes(uuid5(NAMESPACE_URL, name).bytes[:7], "big"))


class TestSQLiteInMemory(_OnSQLAlchemy):
    """SQLite in memory, all callers on one connection."""

    def make_engine(self) -> AsyncEngine:
        return async_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})


class TestPostgreSQL(_OnSQLAlchemy):
    """PostgreSQL."""

    @pytest.fixture(autouse=True)
    def _server(self, postgresql: URL) -> None:
        self.url = postgresql

    def make_engine(self) -> AsyncEngine:
        return async_engine(self.url)


@pytest.mark.long
class TestPostgreSQLEncryptedWithUUIDs(TestPostgreSQL):
    """PostgreSQL with native UUIDs and encryption."""

    cipher = _CIPHER
    table = token_table(MetaData(), "amo_crm_tokens_uuid", user_id_type=Uuid)

    def user_id(self, name: str) -> str:
        return str(uuid5(NAMESPACE_URL, name))


@pytest.mark.long
class TestPostgreSQLSerializable(TestPostgreSQL):
    """PostgreSQL at an isolation level that gives up one side of each conflict."""

    def make_engine(self) -> AsyncEngine:
        return async_engine(self.url, isolation_level="SERIALIZABLE")


class TestMariaDB(_OnSQLAlchemy):
    """MariaDB."""

    @pytest.fixture(autouse=True)
    def _server(self, mariadb: URL) -> None:
        self.url = mariadb

    def make_engine(self) -> AsyncEngine:
        return async_engine(self.url)


@pytest.mark.long
class TestMariaDBByItsName(TestMariaDB):
    """MariaDB under its own dialect's name, with native UUIDs and encryption."""

    cipher = _CIPHER
    table = token_table(MetaData(), "amo_crm_tokens_uuid", user_id_type=Uuid)

    def make_engine(self) -> AsyncEngine:
        return async_engine(self.url.set(drivername="mariadb"))

    def user_id(self, name: str) -> str:
        return str(uuid5(NAMESPACE_URL, name))


class TestMariaDBWithLooseIds(TestMariaDB):
    """MariaDB on a text type of the application's own, whose collation takes ``Bob`` for ``bob``."""

    table = token_table(MetaData(), "amo_crm_tokens_loose", user_id_type=String(255, collation="utf8mb4_general_ci"))

    test_ids_that_look_alike_are_different_users = None  # the table cannot hold two of them; it refuses the second
