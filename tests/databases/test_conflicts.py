"""Conflicts that the database ends by giving up one side: really provoked, repeated where that is safe, named if not."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, create_engine, event, text

from amocrm_userauth.errors import StoreUnavailable
from amocrm_userauth.sqlalchemy._failures import _codes
from tests.databases.kit import (
    DRIVERS,
    ONE_EACH,
    Given,
    address_of,
    claim,
    lease,
    long,
    on_statement,
    opened,
    token,
)

WAITING = {
    "postgresql": "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
    "mariadb": "SELECT count(*) FROM information_schema.innodb_trx JOIN information_schema.processlist "
    "ON trx_mysql_thread_id = id WHERE trx_state = 'LOCK WAIT' AND db = database()",
}
# It has its row, and does not wait for the other yet: PostgreSQL gives up the side that waits last.
WRITTEN = WAITING | {
    "postgresql": "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
}
ANOTHER_WRITE = "UPDATE {tokens} SET updated_at = updated_at, token_type = 'raw' WHERE user_id = 'bob'"


def errors_of(given: Given) -> list[Any]:
    """Return a list that fills with the codes of what the database refuses to the store."""
    seen: list[Any] = []

    @event.listens_for(given.below, "handle_error")
    def _(context: Any) -> None:
        seen.extend(_codes(getattr(context.sqlalchemy_exception, "orig", None) or context.original_exception))

    return seen


@contextlib.contextmanager
def transaction(given: Given) -> Iterator[Callable[[str], Any]]:
    """A transaction from beside, with statements in the store's tables; rolled back at the end."""
    engine: Engine = create_engine(given.beside.url)
    connection: Connection
    with engine.connect() as connection:

        def say(statement: str) -> Any:
            if statement == "COMMIT":
                return connection.commit()
            return connection.execute(text(statement.format(tokens=given.table.name, states=given.states.name)))

        yield say
        connection.rollback()
    engine.dispose()


async def until(given: Given, state: dict[str, str]) -> None:
    """Wait until a transaction of this database is in ``state``."""
    for _ in range(2000):
        if (await asyncio.to_thread(given.execute, state[given.driver.kind]))[0][0]:
            return
        await asyncio.sleep(0.005)
    pytest.fail("nobody waits for a lock")


def audited(given: Given) -> None:
    """Let each write to the tokens write to another table of the application as well, as a trigger may."""
    given.execute("DROP TABLE IF EXISTS audit")
    given.execute("CREATE TABLE audit (id INTEGER PRIMARY KEY, n INTEGER)")
    given.execute("INSERT INTO audit VALUES " + ", ".join(f"({n}, 0)" for n in range(60)))
    write = "UPDATE audit SET n = n + 1 WHERE id = 0"
    if given.driver.kind == "postgresql":
        given.execute(
            "CREATE OR REPLACE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$BEGIN PERFORM pg_sleep(0.5); {write}; RETURN NEW; END$$"
        )
        given.execute("CREATE TRIGGER audit AFTER UPDATE ON {tokens} FOR EACH ROW EXECUTE FUNCTION audit()")
    else:
        given.execute(f"CREATE TRIGGER audit AFTER UPDATE ON {{tokens}} FOR EACH ROW {write}")


def unaudited(given: Given) -> None:
    on = " ON {tokens}" if given.driver.kind == "postgresql" else ""
    given.execute(f"DROP TRIGGER IF EXISTS audit{on}")
    given.execute("DROP TABLE IF EXISTS audit")


def in_background(call: Callable[[], Any]) -> threading.Thread:
    thread = threading.Thread(target=call)
    thread.start()
    return thread


@pytest.mark.parametrize("name", ONE_EACH)
@pytest.mark.parametrize("step", ["take_lease", *long("commit", "put")])
async def test_a_deadlock_is_undone_and_repeated(
    name: str, step: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Two transactions lock two rows in opposite order, the store is the victim: the step is done once, by a repeat."""
    driver = DRIVERS[name]
    database = address_of(driver, request, tmp_path)
    hasty = ("SET deadlock_timeout = '20ms'",) if driver.kind == "postgresql" else ()
    async with opened(driver, database, prefix="deadlocked", on_connect=hasty) as given:
        store, seen = given.store, errors_of(given)
        await store.put(token())
        audited(given)
        try:
            with transaction(given) as other:
                if driver.kind == "postgresql":
                    other("SET deadlock_timeout = '20s'")
                other("UPDATE audit SET n = n + 100")  # much written: the database gives up the smaller side
                steps = {
                    "take_lease": lambda: store.take_lease(**lease("bob")),
                    "commit": lambda: store.commit(token("bob", "rev-2"), over="rev-1", keep_previous=False),
                    "put": lambda: store.put(token("bob", "rev-3")),
                }
                call = asyncio.create_task(steps[step]())
                await until(given, WRITTEN)
                thread = in_background(lambda: (other(ANOTHER_WRITE), other("COMMIT")))
                result = await call
                await asyncio.to_thread(thread.join)
            row = await store.get("bob")
            assert {"take_lease": row.lease_holder, "commit": row.revision, "put": row.revision}[step] == {
                "take_lease": "holder",
                "commit": "rev-2",
                "put": "rev-3",
            }[step]
            assert step == "put" or result.revision == row.revision
            assert {"40P01", 1213} & set(seen)
            # Done once beside the other's two writes: the audit was written by a step that was not undone.
            assert given.execute("SELECT n FROM audit WHERE id = 0") == [(102,)]
        finally:
            unaudited(given)


@pytest.mark.parametrize(
    ("name", "level"), [("psycopg", "REPEATABLE READ"), ("psycopg-async", "SERIALIZABLE"), ("asyncpg", "SERIALIZABLE")]
)
async def test_a_serialization_failure_is_repeated(
    name: str, level: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """A row that changes while a step at a high isolation level waits for it: undone by the database, then repeated."""
    driver = DRIVERS[name]
    async with opened(
        driver, address_of(driver, request, tmp_path), prefix="serialized", isolation_level=level
    ) as given:
        store, seen = given.store, errors_of(given)
        await store.put(token())
        steps = (
            lambda: store.take_lease(**lease("bob")),
            lambda: store.commit(token("bob", "rev-2"), over="rev-1", keep_previous=False),
            lambda: store.put(token("bob", "rev-3")),
            lambda: store.delete("bob"),
        )
        results = []
        for step in steps:
            with transaction(given) as other:
                other(ANOTHER_WRITE)
                call = asyncio.create_task(step())
                await until(given, WAITING)
                other("COMMIT")
                results.append(await call)
        leased, committed, _, deleted = results
        assert (leased.lease_holder, leased.pair.token_type) == ("holder", "raw")
        assert (committed.revision, deleted) == ("rev-2", True)
        assert seen == ["40001"] * 4
        assert given.rows() == []


@pytest.mark.parametrize("name", ["pymysql", "asyncmy"])
async def test_a_record_that_changed_since_the_snapshot_is_read_anew(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """MariaDB's innodb_snapshot_isolation refuses to write what changed after the transaction's first look (1020)."""
    driver = DRIVERS[name]
    database = address_of(driver, request, tmp_path)
    strict = ("SET SESSION innodb_snapshot_isolation = ON",)
    async with opened(
        driver, database, prefix="snapshot", on_connect=strict, isolation_level="REPEATABLE READ"
    ) as given:
        store, seen = given.store, errors_of(given)
        await store.put(token())

        @event.listens_for(given.below, "begin")  # an application's hook that looks at something first
        def _(connection: Any) -> None:
            connection.exec_driver_sql(f"SELECT count(*) FROM {given.table.name}")

        on_statement(given, "UPDATE", lambda: given.execute(ANOTHER_WRITE))
        row = await store.take_lease(**lease("bob"))
        assert (row.lease_holder, row.pair.token_type) == ("holder", "raw")
        assert 1020 in seen


IMPATIENT = {
    "postgresql": ("SET lock_timeout = '150ms'",),
    "mariadb": ("SET SESSION innodb_lock_wait_timeout = 1",),
}


@pytest.mark.parametrize("name", ONE_EACH)
async def test_a_row_that_is_locked_for_a_while(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """A lock wait that times out is repeated."""
    driver = DRIVERS[name]
    database = address_of(driver, request, tmp_path)
    async with opened(driver, database, prefix="locked", on_connect=IMPATIENT[driver.kind]) as given:
        store, seen = given.store, errors_of(given)
        await store.put(token())
        with transaction(given) as other:
            other(ANOTHER_WRITE)
            let_go = [lambda: other("COMMIT")]

            @event.listens_for(given.below, "handle_error")
            def _(_context: Any) -> None:
                let_go.pop()() if let_go else None

            row = await store.take_lease(**lease("bob"))
        assert (row.lease_holder, row.pair.token_type) == ("holder", "raw")
        assert {"55P03", 1205} & set(seen)


@pytest.mark.parametrize("name", ["psycopg", "asyncpg", *long("pymysql", "asyncmy")])
async def test_a_row_that_stays_locked(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """The step is given up after a few waits; the error says what was waited for."""
    driver = DRIVERS[name]
    database = address_of(driver, request, tmp_path)
    async with opened(driver, database, prefix="locked", on_connect=IMPATIENT[driver.kind]) as given:
        await given.store.put(token())
        with transaction(given) as other:
            other(ANOTHER_WRITE)
            began = asyncio.get_running_loop().time()
            with pytest.raises(StoreUnavailable, match=r"a row stayed locked by another transaction .*holds its locks"):
                await given.store.delete("bob")
            assert asyncio.get_running_loop().time() - began < 15
        assert (await given.store.get("bob")).revision == "rev-1"


@pytest.mark.parametrize("name", ["psycopg", "asyncpg"])
async def test_a_statement_that_takes_too_long(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """The database's own limit ends it; nothing was written, and the message names the limit."""
    driver = DRIVERS[name]
    database = address_of(driver, request, tmp_path)
    async with opened(driver, database, prefix="timed", on_connect=("SET statement_timeout = '150ms'",)) as given:
        await given.store.put(token())
        with transaction(given) as other:
            other(ANOTHER_WRITE)
            with pytest.raises(StoreUnavailable, match=r"ran into a time limit of the database .*statement_timeout"):
                await given.store.take_lease(**lease("bob"))
        assert (await given.store.get("bob")).lease_holder is None


@pytest.mark.parametrize("name", ONE_EACH)
async def test_a_sweep_that_meets_locks_does_not_fail_the_claim(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Rows that a claim would tidy up are locked by somebody else: the claim is granted, the rows go later."""
    driver = DRIVERS[name]
    database = address_of(driver, request, tmp_path)
    async with opened(driver, database, prefix="swept", on_connect=IMPATIENT[driver.kind]) as given:
        store, seen = given.store, errors_of(given)
        old = claim("old")
        await store.claim(**old)
        later = old["expires_at"]
        with transaction(given) as other:
            other("UPDATE {states} SET claimant = 'raw' WHERE nonce_hash = 'old'")
            record = await store.claim(**claim("new", "winner", at=later))
        assert record.claimant == "winner"
        assert sum(code in {"55P03", 1205} for code in seen) == 1, (
            "what is no reason to fail is no reason to wait twice"
        )
        await store.claim(**claim("newer", at=later))
        assert given.execute("SELECT nonce_hash FROM {states} ORDER BY 1") == [("new",), ("newer",)]
