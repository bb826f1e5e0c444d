"""The database goes away before, during and after a refresh: no token is spent in vain, no pair in hand is lost."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from amocrm_userauth.errors import RefreshInProgress, StoreUnavailable, TokenNotSaved
from tests.databases.kit import (
    DRIVERS,
    ONE_EACH,
    Given,
    Service,
    address_of,
    connect,
    is_clear,
    lease,
    on_statement,
    opened,
    serving,
    together,
    token,
)
from tests.databases.proxy import Once, Proxy, proxy

USER = "42"


@asynccontextmanager
async def on_a_line(
    name: str, request: pytest.FixtureRequest, tmp_path: Path, *, engine: Any = None, **options: Any
) -> AsyncIterator[tuple[Given, Proxy, Service]]:
    """A service whose database is reached through a line that can be cut; anna's access token has run out."""
    driver = DRIVERS[name]
    database = address_of(driver, request, tmp_path)
    with proxy(database) as line:
        async with (
            opened(driver, database, through=line.url(database), prefix="outage", **(engine or {})) as given,
            serving(given, **options) as service,
        ):
            yield given, line, service
            line.refuse = line.deaf = False


def go(line: Proxy) -> None:
    """Take the database away."""
    line.refuse = True
    line.cut()


async def stored_is_alive(given: Given, service: Service) -> None:
    """The row that everybody reads holds the pair that amoCRM takes."""
    row = await given.store.get(USER)
    assert service.fake.is_alive(row.pair, "anna")
    assert row.reauth_reason is None


@pytest.mark.parametrize("name", ONE_EACH)
async def test_gone_before_the_refresh(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """No lease, no spend: callers are told what to look at, and are served as soon as the database is back."""
    async with on_a_line(name, request, tmp_path) as (given, line, service):
        go(line)
        for _ in range(2):
            with pytest.raises(StoreUnavailable) as caught:
                await service.auth.access_token(USER)
            assert is_clear(caught.value, "cannot be reached", "check that it runs")
        assert service.token_calls() == 0
        line.refuse = False
        assert await service.auth.access_token(USER)
        assert service.token_calls() == 1
        await stored_is_alive(given, service)


@pytest.mark.parametrize("name", ONE_EACH)
async def test_gone_between_lease_and_commit(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """The pair survives in the process, is served under its lease, and is saved by the first call after the outage."""
    async with on_a_line(name, request, tmp_path, save_budget=0.4) as (given, line, service):
        on_statement(given, "UPDATE", lambda: go(line), nth=2)
        with pytest.raises(TokenNotSaved) as caught:
            await service.auth.access_token(USER)
        assert is_clear(caught.value)
        assert service.names() == ["SaveFailed"]
        served = await service.auth.access_token(USER)  # the database is away still
        assert service.fake.pairs("anna")[-1].access_token == served
        line.refuse = False
        assert await service.auth.access_token(USER) == served
        assert service.names()[:2] == ["SaveFailed", "Recovered"]
        assert service.token_calls() == 1
        await stored_is_alive(given, service)


@pytest.mark.parametrize("name", ONE_EACH)
async def test_gone_for_less_than_the_save_budget(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """The caller waits a little and gets its token; nobody else notices."""
    async with on_a_line(name, request, tmp_path) as (given, line, service):
        on_statement(given, "UPDATE", lambda: go(line), nth=2)
        call = asyncio.create_task(service.auth.access_token(USER))
        while "SaveFailed" not in service.names():
            await asyncio.sleep(0.01)
        line.refuse = False
        assert service.fake.pairs("anna")[-1].access_token == await call
        assert service.names() == ["SaveFailed", "Recovered", "Refreshed"]
        assert service.token_calls() == 1
        await stored_is_alive(given, service)


@pytest.mark.parametrize("name", ONE_EACH)
@pytest.mark.parametrize("commit", [1, 2], ids=["lease", "pair"])
async def test_done_but_the_answer_is_lost(
    name: str, commit: int, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """The lease, or the commit of the pair, was done and nobody heard: it is success, without anybody being told off."""
    async with on_a_line(name, request, tmp_path) as (given, line, service):
        line.on_commit = Once("lose", commit)
        assert await service.auth.access_token(USER)
        assert line.on_commit.left < 0
        assert service.names() == ["Refreshed"]
        assert service.token_calls() == 1
        await stored_is_alive(given, service)


@pytest.mark.parametrize("name", ONE_EACH)
async def test_gone_after_the_refresh(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Connections that were cut meanwhile are replaced; no call fails, none refreshes anew."""
    async with on_a_line(name, request, tmp_path, engine={"pool_size": 5, "max_overflow": 0}) as (_, line, service):
        bought = await service.auth.access_token(USER)
        await together([lambda: service.auth.status(USER)] * 10)
        line.cut()
        assert await together([lambda: service.auth.access_token(USER)] * 10) == [bought] * 10
        line.cut()
        assert (await service.auth.status(USER)).connected
        line.cut()
        assert await service.auth.disconnect(USER) is True
        assert service.token_calls() == 1


@pytest.mark.parametrize("name", ONE_EACH)
async def test_gone_while_a_new_connection_is_stored(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """The code was exchanged, and the answer to the put is lost, or the put cannot be made: the connection is kept."""
    async with on_a_line(name, request, tmp_path, connected=False, save_budget=0.4) as (given, line, service):
        on_statement(given, "INSERT INTO outage_tokens", lambda: setattr(line, "on_commit", Once("lose")))
        await connect(service)
        assert "SaveFailed" in service.names()
        await stored_is_alive(given, service)
        await service.auth.disconnect(USER)
        started = await service.auth.begin(USER)
        code = service.fake.authorize("anna", state=started.state)
        brought = {"code": code, "state": started.state, "referer": service.fake.host("anna")}
        on_statement(given, "UPDATE outage_tokens", lambda: go(line))
        with pytest.raises(TokenNotSaved):
            await service.auth.connect(USER, **brought)
        line.refuse = False
        assert (await service.auth.connect(USER, **brought)).connected
        assert service.fake.token_calls("anna", "authorization_code") == 2
        await stored_is_alive(given, service)


@pytest.mark.parametrize("name", ONE_EACH)
async def test_a_lease_that_is_long_in_coming(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """The clock starts before the lease is asked for: what a slow database took of the budget is not spent twice."""
    budgets = {"exchange_budget": 1.0, "wait_budget": 1.2}
    async with on_a_line(name, request, tmp_path, **budgets) as (given, line, service):
        on_statement(given, "UPDATE", lambda: setattr(line, "delay", 1.1))
        with pytest.raises(RefreshInProgress):
            await service.auth.access_token(USER)
        assert service.token_calls() == 0
        line.delay = 0
        while service.auth._mine:  # the late holder gives its lease back
            await asyncio.sleep(0.02)
        assert (await given.store.get(USER)).lease_holder is None
        assert service.token_calls() == 0
        for _ in range(20):  # a busy machine may need more than the short budgets of this test
            with suppress(RefreshInProgress):
                assert await service.auth.access_token(USER)
                break
        assert service.token_calls() == 1
        await stored_is_alive(given, service)


@pytest.mark.parametrize("name", ["asyncpg", "pymysql", "asyncmy"])
async def test_a_database_that_falls_silent(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """With the driver's timeouts a silent connection ends in an error, and a pair in hand outlives the silence."""
    engine = {"connect_args": dict(DRIVERS[name].timeouts), "pool_timeout": 1}
    async with on_a_line(name, request, tmp_path, engine=engine, save_budget=0.5) as (given, line, service):
        line.deaf = True
        loop = asyncio.get_running_loop()
        began = loop.time()
        with pytest.raises(StoreUnavailable) as caught:
            await service.auth.access_token(USER)
        assert is_clear(caught.value, "cannot be reached")
        assert loop.time() - began < 12
        assert service.token_calls() == 0
        line.deaf = False
        line.cut()
        on_statement(given, "UPDATE", lambda: setattr(line, "deaf", True), nth=2)
        with pytest.raises(TokenNotSaved):
            await service.auth.access_token(USER)
        assert service.token_calls() == 1
        line.deaf = False
        line.cut()
        assert await service.auth.access_token(USER)
        assert service.token_calls() == 1
        assert "Recovered" in service.names()
        await stored_is_alive(given, service)


@pytest.mark.parametrize("name", ONE_EACH)
async def test_an_exhausted_pool(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """The message names the pool and what to change; no token is spent."""
    engine = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 0.1}
    async with on_a_line(name, request, tmp_path, engine=engine) as (given, _, service):
        async with kept(given):
            with pytest.raises(StoreUnavailable) as caught:
                await service.auth.access_token(USER)
            assert is_clear(caught.value, "pool", "pool_size", "max_overflow", "pool_timeout")
        assert service.token_calls() == 0
        assert await service.auth.access_token(USER)


@asynccontextmanager
async def kept(given: Given) -> AsyncIterator[None]:
    """A connection that other code of the application keeps."""
    if given.driver.is_async:
        async with given.store._database._engine.connect():
            yield
    else:
        with given.below.connect():
            yield


READ_ONLY = {
    "postgresql": "SET default_transaction_read_only = on",
    "mariadb": "SET SESSION TRANSACTION READ ONLY",
    "sqlite": "PRAGMA query_only = ON",
}


@pytest.mark.parametrize("name", [*ONE_EACH, "pysqlite", "aiosqlite"])
async def test_a_read_only_database(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """A replica, or a database set to read only: said by name, and before a token is spent; reading goes on."""
    driver = DRIVERS[name]
    database = address_of(driver, request, tmp_path)
    async with opened(driver, database, prefix="replica") as primary, serving(primary) as service:
        only = (READ_ONLY[driver.kind],)
        async with (
            opened(driver, database, prefix="replica", empty=False, on_connect=only) as replica,
            serving(replica, connected=False) as other,
        ):
            other.clock.ahead = service.clock.ahead
            assert (await other.auth.status(USER)).connected
            with pytest.raises(StoreUnavailable) as caught:
                await other.auth.access_token(USER)
            assert is_clear(caught.value, "read-only", "primary")
            assert other.fake.token_calls(None, "refresh_token") == 0
            with pytest.raises(StoreUnavailable) as caught:
                await connect(other)
            assert is_clear(caught.value, "read-only")
            assert other.fake.token_calls(None, "authorization_code") == 0, "a code was spent in vain"
        assert await service.auth.access_token(USER)


@pytest.mark.parametrize("name", ["psycopg", "asyncpg", "psycopg-async"])
async def test_a_role_without_a_free_connection(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """PostgreSQL's 53300, however the driver tells it."""
    driver = DRIVERS[name]
    database = address_of(driver, request, tmp_path)
    async with opened(driver, database, prefix="crowded") as given:
        role = f"crowded_{database.database}_{name.replace('-', '_')}"
        given.execute(f"CREATE ROLE {role} LOGIN CONNECTION LIMIT 0")
        try:
            async with opened(driver, database.set(username=role), prefix="crowded", empty=False) as crowded:
                with pytest.raises(StoreUnavailable) as caught:
                    await crowded.store.get("bob")
                assert is_clear(caught.value, "takes no more connections", "pool_size", "max_connections")
        finally:
            given.execute(f"DROP ROLE {role}")


@pytest.mark.parametrize("name", ["pymysql", "asyncmy"])
async def test_an_account_without_a_free_connection(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """MariaDB's limit of one account (1226), and a login that is refused (1045) or may not write (1142)."""
    driver = DRIVERS[name]
    database = address_of(driver, request, tmp_path)
    async with opened(driver, database, prefix="crowded") as given:
        user = f"crowded_{name}"
        given.execute(f"CREATE OR REPLACE USER {user}@'%' IDENTIFIED BY 'example' WITH MAX_USER_CONNECTIONS 1")
        given.execute(f"GRANT SELECT ON {database.database}.* TO {user}@'%'")
        own = database.set(username=user, password="example")
        try:
            async with opened(driver, own, prefix="crowded", empty=False) as crowded:
                assert await crowded.store.get("bob") is None
                with pytest.raises(StoreUnavailable) as caught:
                    await crowded.store.put(token())
                assert is_clear(caught.value, "may not do that", "grant it SELECT, INSERT, UPDATE and DELETE")
                async with kept(crowded):
                    with pytest.raises(StoreUnavailable) as caught:
                        await crowded.store.get("bob")
                    assert is_clear(caught.value, "takes no more connections", "pool_size", "max_connections")
            async with opened(driver, own.set(password="example-wrong"), prefix="crowded", empty=False) as refused:
                with pytest.raises(StoreUnavailable) as caught:
                    await refused.store.get("bob")
                assert is_clear(caught.value, "refuses this user or password")
        finally:
            given.execute(f"DROP USER {user}@'%'")


@pytest.mark.parametrize("name", [*ONE_EACH, "psycopg-async"])
async def test_a_database_that_does_not_exist(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """A wrong name in the URL is told apart from a database that is down."""
    driver = DRIVERS[name]
    database = address_of(driver, request, tmp_path).set(database="not_there_at_all")
    async with opened(driver, database, prefix="none", empty=False) as given:
        with pytest.raises(StoreUnavailable) as caught:
            await given.store.take_lease(**lease("bob"))
        assert is_clear(caught.value, "the database does not exist", "URL")


async def full_at_the_commit(given: Given, service: Service, make_room: Any) -> None:
    """The new pair finds no room: named, kept, and saved when there is room again."""
    with pytest.raises(TokenNotSaved):
        await service.auth.access_token(USER)
    with pytest.raises(StoreUnavailable) as caught:
        await given.store.put(token(USER, "rev-full"))
    assert is_clear(caught.value, "no room left", "disk space")
    served = await service.auth.access_token(USER)
    make_room()
    assert await service.auth.access_token(USER) == served
    assert (await given.store.get(USER)).pair.access_token == served
    assert service.names()[:2] == ["SaveFailed", "Recovered"]
    assert service.token_calls() == 1


@pytest.mark.parametrize("name", ["pymysql", "asyncmy"])
async def test_a_full_table(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """MariaDB's 1114 at the commit, from a table that may not grow."""
    driver = DRIVERS[name]
    database = address_of(driver, request, tmp_path)
    fill = "IF NEW.revision != OLD.revision THEN INSERT INTO filler SELECT 'x' FROM seq_1_to_100; END IF"
    async with opened(driver, database, prefix="full") as given, serving(given, save_budget=0.3) as service:
        with given.beside.connect() as connection:
            for statement in (
                "DROP TABLE IF EXISTS filler",
                "SET SESSION max_heap_table_size = 16384",
                "CREATE TABLE filler (stuff VARCHAR(8000)) ENGINE=MEMORY",
                f"CREATE TRIGGER grow AFTER UPDATE ON full_tokens FOR EACH ROW {fill}",
            ):
                connection.execute(text(statement))
        await full_at_the_commit(given, service, lambda: given.execute("DROP TRIGGER grow"))
