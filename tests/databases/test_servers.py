"""Servers that are really stopped, full, crowded or read-only: each test has one of its own."""

import asyncio
import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from amocrm_userauth.errors import StoreUnavailable, TokenNotSaved
from tests.databases.kit import DRIVERS, is_clear, on_statement, opened, serving, together
from tests.databases.servers import Server
from tests.databases.test_outages import USER, full_at_the_commit, kept

DRIVERS_OF = {"postgresql": ("psycopg", "asyncpg", "psycopg-async"), "mariadb": ("pymysql", "asyncmy")}


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[Callable[..., Server]]:
    """Make servers that end with the test."""
    made: list[Server] = []

    def make(kind: str, *more: str) -> Server:
        request.getfixturevalue(kind)  # skips where there is none, as all tests do
        made.append(Server(kind, *more))
        made[-1].start()
        return made[-1]

    yield make
    for one in made:
        one.remove()


@contextlib.asynccontextmanager
async def all_of(contexts: list[Any]) -> AsyncIterator[None]:
    async with contextlib.AsyncExitStack() as stack:
        for context in contexts:
            await stack.enter_async_context(context)
        yield


@contextlib.contextmanager
def small_disk(owner: str) -> Iterator[Path]:
    """A file system of a few megabytes; only root can have one."""
    folder = Path(tempfile.mkdtemp(prefix="amocrm-small-"))
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m,mode=777", "tmpfs", str(folder)], check=False, capture_output=True
    )
    if mounted.returncode:
        folder.rmdir()
        pytest.skip("a small file system cannot be mounted here")
    try:
        shutil.chown(folder, owner)
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
        folder.rmdir()


@pytest.mark.long
async def test_a_full_disk(server: Callable[..., Server]) -> None:
    """The disk of the tables is full at the commit: named, the pair kept, and saved when there is room again."""
    grow = "INSERT INTO filler SELECT repeat('x', 100000) FROM generate_series(1, 1000)"
    with small_disk("postgres") as disk:
        own = server("postgresql")
        own.execute(f"CREATE TABLESPACE small LOCATION '{disk}'")
        own.execute("CREATE TABLE filler (stuff TEXT) TABLESPACE small")
        own.execute("ALTER TABLE filler ALTER stuff SET STORAGE EXTERNAL")  # not compressed
        own.execute(f"CREATE FUNCTION grow() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN {grow}; RETURN NEW; END$$")
        for name in DRIVERS_OF["postgresql"]:
            async with (
                opened(DRIVERS[name], own.url, prefix="full") as given,
                serving(given, save_budget=0.3) as service,
            ):
                own.execute(
                    "CREATE TRIGGER grow AFTER UPDATE OF revision ON full_tokens FOR EACH ROW EXECUTE FUNCTION grow()"
                )
                await full_at_the_commit(given, service, lambda: own.execute("DROP TRIGGER grow ON full_tokens"))
        own.remove()


@pytest.mark.parametrize("kind", ["postgresql", pytest.param("mariadb", marks=pytest.mark.long)])
async def test_a_restart_needs_no_restart_of_the_application(kind: str, server: Callable[..., Server]) -> None:
    """Stopped between lease and commit, and started again: the pair is saved, and five stale connections fail nobody."""
    own = server(kind)
    for name in DRIVERS_OF[kind]:
        async with (
            opened(DRIVERS[name], own.url, prefix="restart", durable=True, pool_size=5, max_overflow=0) as given,
            serving(given, save_budget=0.3) as service,
        ):
            on_statement(given, "UPDATE", own.stop, nth=2)
            with pytest.raises(TokenNotSaved):
                await service.auth.access_token(USER)
            served = await service.auth.access_token(USER)
            with pytest.raises(StoreUnavailable) as caught:
                await service.auth.status(USER)
            assert is_clear(caught.value, "cannot be reached")
            await asyncio.to_thread(own.start)
            assert await service.auth.access_token(USER) == served
            assert (await given.store.get(USER)).pair.access_token == served
            assert "Recovered" in service.names()
            await together([lambda: service.auth.status(USER)] * 10)  # five connections are open
            await asyncio.to_thread(own.stop, kill=True)
            await asyncio.to_thread(own.start)
            assert await together([lambda: service.auth.access_token(USER)] * 10) == [served] * 10
            assert service.token_calls() == 1
            await service.auth.disconnect(USER)


@pytest.mark.long
async def test_a_mariadb_replica_is_read_only(server: Callable[..., Server]) -> None:
    """MariaDB's read_only (1290) for an ordinary user, and a crowded server (1040)."""
    own = server("mariadb", "--max-connections=10")
    for name in DRIVERS_OF["mariadb"]:
        async with opened(DRIVERS[name], own.url, prefix="replica") as primary, serving(primary) as service:
            own.execute("DROP USER IF EXISTS ''@'localhost'")
            own.execute("CREATE OR REPLACE USER plain@'%' IDENTIFIED BY 'example'")
            own.execute("GRANT ALL ON test.* TO plain@'%'")
            own.execute("SET GLOBAL read_only = ON")
            plain = own.url.set(username="plain", password="example")
            async with (
                opened(DRIVERS[name], plain, prefix="replica", empty=False) as replica,
                serving(replica, connected=False) as other,
            ):
                other.clock.ahead = service.clock.ahead
                with pytest.raises(StoreUnavailable) as caught:
                    await other.auth.access_token(USER)
                assert is_clear(caught.value, "1290", "read-only", "primary")
                assert other.fake.token_calls(None, "refresh_token") == 0
                own.execute("SET GLOBAL read_only = OFF")
                assert await replica.store.delete(USER) is True
        engine = {"pool_size": 20}
        async with (
            opened(DRIVERS[name], own.url, prefix="replica", **engine) as crowd,
            opened(DRIVERS[name], plain, prefix="replica", empty=False) as late,
        ):
            async with all_of([kept(crowd) for _ in range(10)]):
                with pytest.raises(StoreUnavailable) as caught:
                    await late.store.get(USER)
            assert is_clear(caught.value, "1040", "takes no more connections", "max_connections")


@pytest.mark.long
async def test_a_crowded_postgresql(server: Callable[..., Server]) -> None:
    """PostgreSQL's "too many clients", of which psycopg tells no code."""
    own = server("postgresql", "-c", "max_connections=10", "-c", "superuser_reserved_connections=0")
    for name in DRIVERS_OF["postgresql"]:
        async with (
            opened(DRIVERS[name], own.url, prefix="crowded", pool_size=20) as crowd,
            opened(DRIVERS[name], own.url, prefix="crowded") as late,
        ):
            async with all_of([kept(crowd) for _ in range(10)]):
                with pytest.raises(StoreUnavailable) as caught:
                    await late.store.get(USER)
            assert is_clear(caught.value, "takes no more connections", "max_connections")
