"""SQLite at its limits: locked by another process, full, read-only; in both of its journal modes."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL, event

from amocrm_userauth.errors import StoreUnavailable, TokenNotSaved
from tests.databases.kit import DRIVERS, Given, Service, is_clear, on_statement, opened, serving

USER = "42"
NAMES = ["pysqlite", "aiosqlite"]
MODES = ["DELETE", "WAL"]
PLACES = [
    pytest.param(
        name, mode, marks=() if (name, mode) in {("pysqlite", "DELETE"), ("aiosqlite", "WAL")} else pytest.mark.long
    )
    for name in NAMES
    for mode in MODES
]
BUSY = 0.2


@asynccontextmanager
async def on_file(
    name: str, path: Path, mode: str = "DELETE", *, busy: float = BUSY, **options: Any
) -> AsyncIterator[tuple[Given, Service]]:
    address = URL.create("sqlite", database=str(path))
    journal = (f"PRAGMA journal_mode={mode}",)
    connect_args = {"timeout": busy}
    async with (
        opened(DRIVERS[name], address, on_connect=journal, connect_args=connect_args, prefix="lite") as given,
        serving(given, **options) as service,
    ):
        yield given, service


class Lock:
    """The write lock, held by somebody else; taken by ``take`` and given back after ``seconds``."""

    def __init__(self, path: Path, seconds: float | None = None) -> None:
        self.path = path
        self.seconds = seconds

    def take(self) -> None:
        self.db = sqlite3.connect(self.path, check_same_thread=False, isolation_level=None, timeout=5)
        self.db.execute("BEGIN EXCLUSIVE")
        if self.seconds is not None:
            threading.Timer(self.seconds, self.give_back).start()

    def give_back(self) -> None:
        self.db.rollback()
        self.db.close()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", NAMES)
async def test_locked_for_less_than_the_busy_timeout(name: str, mode: str, tmp_path: Path) -> None:
    """Nobody fails, nobody is told: the callers wait for the lock."""
    path = tmp_path / "db.sqlite3"
    async with on_file(name, path, mode, busy=5) as (given, service):
        for nth in (1, 2):  # at the lease, at the commit
            on_statement(given, "UPDATE", Lock(path, 0.3).take, nth=nth)
            assert await service.auth.access_token(USER)
            service.clock.ahead += 2 * 86_400
        assert service.names() == ["Refreshed", "Refreshed"]


@pytest.mark.parametrize(("name", "mode"), PLACES)
async def test_locked_for_long_before_the_refresh(name: str, mode: str, tmp_path: Path) -> None:
    """After a bounded wait callers are told what to do, and no token was spent."""
    path = tmp_path / "db.sqlite3"
    async with on_file(name, path, mode) as (given, service):
        lock = Lock(path)
        on_statement(given, "UPDATE", lock.take)
        began = asyncio.get_running_loop().time()
        with pytest.raises(StoreUnavailable) as caught:
            await service.auth.access_token(USER)
        assert is_clear(caught.value, "write lock of SQLite", "busy timeout", "journal_mode=WAL")
        assert asyncio.get_running_loop().time() - began < 12
        if mode == "WAL":
            assert (await service.auth.status(USER)).connected  # readers go on
        lock.give_back()
        assert service.token_calls() == 0
        assert await service.auth.access_token(USER)


@pytest.mark.parametrize(("name", "mode"), PLACES)
async def test_locked_for_long_at_the_commit(name: str, mode: str, tmp_path: Path) -> None:
    """The pair in hand is kept, and saved by the next call after the lock has gone."""
    path = tmp_path / "db.sqlite3"
    async with on_file(name, path, mode, save_budget=0.3) as (given, service):
        lock = Lock(path)
        on_statement(given, "UPDATE", lock.take, nth=2)
        with pytest.raises(TokenNotSaved):
            await service.auth.access_token(USER)
        assert service.names() == ["SaveFailed"]
        lock.give_back()
        token = await service.auth.access_token(USER)
        row = await given.store.get(USER)
        assert row.pair.access_token == token == service.fake.pairs("anna")[-1].access_token
        assert service.names()[:2] == ["SaveFailed", "Recovered"]
        assert service.token_calls() == 1


def page_limit(given: Given) -> Callable[[int], None]:
    """Return what sets how many pages the database may have, from the next statement on."""
    limit = [1_000_000]

    @event.listens_for(given.below, "before_cursor_execute")
    def _(_connection: Any, cursor: Any, *_more: Any) -> None:
        cursor.execute(f"PRAGMA max_page_count = {limit[0]}")  # no lower than the pages there are

    return lambda pages: limit.__setitem__(0, pages)


@pytest.mark.parametrize("name", NAMES)
async def test_a_full_disk(name: str, tmp_path: Path) -> None:
    """The cause is named; the pair that did not fit is kept in the process, and saved when there is room again."""
    path = tmp_path / "db.sqlite3"
    async with on_file(name, path, save_budget=0.2) as (given, service):
        given.execute("CREATE TABLE filler (stuff BLOB)")
        # the new pair needs room, the lease does not
        given.execute(
            "CREATE TRIGGER grow AFTER UPDATE OF revision ON {tokens} "
            "BEGIN INSERT INTO filler VALUES (zeroblob(100000)); END"
        )
        allow = page_limit(given)
        allow(1)
        with pytest.raises(TokenNotSaved):
            await service.auth.access_token(USER)
        with pytest.raises(StoreUnavailable) as caught:
            await given.store.put(await given.store.get(USER))
        assert is_clear(caught.value, "no room left", "disk space")
        served = await service.auth.access_token(USER)
        allow(1_000_000)
        assert await service.auth.access_token(USER) == served
        assert (await given.store.get(USER)).pair.access_token == served
        assert service.names()[:2] == ["SaveFailed", "Recovered"]
        assert service.token_calls() == 1


@pytest.mark.parametrize("name", NAMES)
async def test_a_file_opened_read_only(name: str, tmp_path: Path) -> None:
    """``mode=ro`` is named, before a token is spent."""
    path = tmp_path / "db.sqlite3"
    async with on_file(name, path) as (_, service):
        address = URL.create("sqlite", database=f"file:{path}", query={"mode": "ro", "uri": "true"})
        async with opened(DRIVERS[name], address, prefix="lite", empty=False) as only:
            assert (await only.store.get(USER)).revision
            with pytest.raises(StoreUnavailable) as caught:
                await only.store.delete(USER)
            assert is_clear(caught.value, "read-only", "mode=ro")
        assert await service.auth.access_token(USER)


@pytest.mark.parametrize("name", NAMES)
async def test_a_file_that_is_no_database(name: str, tmp_path: Path) -> None:
    """Any other failure is ours as well, with its type and nothing of its text."""
    path = tmp_path / "db.sqlite3"
    path.write_bytes(b"example-secret" * 1000)
    async with opened(DRIVERS[name], URL.create("sqlite", database=str(path)), prefix="lite", empty=False) as given:
        with pytest.raises(StoreUnavailable) as caught:
            await given.store.get(USER)
        assert is_clear(caught.value, "DatabaseError", "check the database")
    with closing(sqlite3.connect(path)) as db, pytest.raises(sqlite3.DatabaseError):
        db.execute("SELECT 1 FROM sqlite_master")
