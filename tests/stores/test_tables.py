"""The tables: what they look like in each database, and what making them needs."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import (
    CHAR,
    URL,
    BigInteger,
    Boolean,
    Column,
    Integer,
    MetaData,
    SmallInteger,
    String,
    Table,
    Uuid,
    create_engine,
    inspect,
    select,
    text,
)
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.exc import DatabaseError, DBAPIError, IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import NullPool
from sqlalchemy.schema import CreateTable
from sqlalchemy.types import NullType, TypeDecorator

from amocrm_userauth.errors import ConfigurationError, NotConnected, StoreUnavailable
from amocrm_userauth.sqlalchemy import (
    AsyncSQLAlchemyTokenStore,
    SQLAlchemyTokenStore,
    create_schema,
    state_table,
    token_table,
)
from amocrm_userauth.sqlalchemy._engines import level_of_our_own
from amocrm_userauth.sqlalchemy._failures import judge
from amocrm_userauth.sqlalchemy.tables import SecretText, UtcDateTime
from tests.engines import async_engine, engine


def ddl(table: Table, dialect: Any) -> str:
    return str(CreateTable(table).compile(dialect=dialect))


def test_ids_compare_bytewise_in_every_database() -> None:
    """MariaDB, MySQL and PostgreSQL are asked for it; SQLite does so anyway."""
    table = token_table(MetaData())
    mariadb = mysql.dialect()
    mariadb.is_mariadb = True
    assert "user_id VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin NOT NULL" in ddl(table, mariadb)
    assert "user_id VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin NOT NULL" in ddl(table, mysql.dialect())
    assert 'user_id VARCHAR(255) COLLATE "C" NOT NULL' in ddl(table, postgresql.dialect())
    assert "user_id VARCHAR(255) NOT NULL" in ddl(table, sqlite.dialect())


def test_times_keep_microseconds_in_mysql() -> None:
    """Its plain DATETIME rounds to seconds."""
    assert "pair_saved_at DATETIME(6) NOT NULL" in ddl(token_table(MetaData()), mysql.dialect())


def test_mysql_tables_have_transactions_and_every_character() -> None:
    """Whatever the server's defaults are."""
    for table in (token_table(MetaData()), state_table(MetaData())):
        made = ddl(table, mysql.dialect())
        assert "ENGINE=InnoDB" in made
        assert "CHARSET=utf8mb4" in made


@given(st.datetimes(timezones=st.just(timezone(timedelta(hours=3))) | st.just(UTC), min_value=datetime(1900, 1, 1)))
def test_a_time_is_written_as_utc(value: datetime) -> None:
    """Whatever zone it came in, it comes back as the same moment."""
    kind = UtcDateTime()
    for dialect in (sqlite.dialect(), postgresql.dialect(), mysql.dialect()):
        bound = kind.process_bind_param(value, dialect)
        assert bound is not None
        assert (bound.tzinfo is None) == (dialect.name != "postgresql")
        assert kind.process_result_value(bound, dialect) == value


def test_a_naive_time_is_refused() -> None:
    """It names no moment."""
    with pytest.raises(ValueError, match="aware"):
        UtcDateTime().process_bind_param(datetime(2025, 1, 1), sqlite.dialect())


def test_the_tables_live_in_the_applications_metadata() -> None:
    """Names, schema and the ids' type are the application's; so its migrations include the tables."""
    metadata = MetaData()
    users = Table("users", metadata, Column("id", Uuid(), primary_key=True))
    table = token_table(metadata, "kommo_tokens", schema="crm", user_fk=users.c.id)
    assert isinstance(table.c.user_id.type, Uuid)
    (reference,) = table.c.user_id.foreign_keys
    assert reference.column is users.c.id
    assert reference.ondelete == "CASCADE"
    assert set(metadata.tables) == {"users", "crm.kommo_tokens"}
    assert {index.name for index in table.indexes} == {"ix_kommo_tokens_due", "ix_kommo_tokens_account_id"}
    assert {index.name for index in state_table(metadata).indexes} == {
        "ix_amo_crm_states_code_hash",
        "ix_amo_crm_states_expires_at",
    }


def test_the_type_of_a_named_key_is_looked_up() -> None:
    """A key in another ``MetaData`` needs the type said."""
    metadata = MetaData()
    Table("users", metadata, Column("id", BigInteger, primary_key=True), Column("other", NullType()))
    assert isinstance(token_table(metadata, user_fk="users.id").c.user_id.type, BigInteger)
    assert isinstance(token_table(MetaData(), user_fk="users.id", user_id_type=Uuid).c.user_id.type, Uuid)
    for fk in ("accounts.id", "users.uid", "users.other"):
        with pytest.raises(ConfigurationError, match="user_id_type"):
            token_table(metadata, "t", user_fk=fk)


def test_a_user_table_of_another_metadata_is_asked_by_its_name(tmp_path: Path) -> None:
    """A foreign key given as text is enough to see whether the user is known."""
    made = engine(f"sqlite:///{tmp_path}/db.sqlite3")
    known = uuid4()
    with made.begin() as connection:
        connection.execute(text("ATTACH ':memory:' AS app"))
        connection.execute(text("CREATE TABLE people (pk CHAR(32) PRIMARY KEY)"))
        connection.execute(text("INSERT INTO people VALUES (:pk)"), {"pk": known.hex})
    store = SQLAlchemyTokenStore(made, table=token_table(MetaData(), user_fk="people.pk", user_id_type=Uuid()))
    store.check_user(str(known))
    with pytest.raises(ConfigurationError, match="no such user"):
        store.check_user(str(uuid4()))
    schema = token_table(MetaData(), user_fk="app.people.pk", user_id_type=Uuid())
    with pytest.raises(StoreUnavailable, match="lacks a table"):
        SQLAlchemyTokenStore(made, table=schema).check_user(str(known))
    made.dispose()


class Guid(TypeDecorator[UUID]):
    """A UUID type of an application's own."""

    impl = Uuid
    cache_ok = True


class Slug(TypeDecorator[str]):
    """A text type of an application's own."""

    impl = CHAR(20)
    cache_ok = True


@pytest.mark.parametrize(
    ("kind", "given_id", "native"),
    [
        (String(40), "bob", "bob"),
        (Slug(), "bob", "bob"),
        (SmallInteger, "32767", 32767),
        (Integer(), "-5", -5),
        (BigInteger, "9000000000", 9_000_000_000),
        (Guid(), "0b1d9c7e-0000-4000-8000-000000000001", UUID("0b1d9c7e-0000-4000-8000-000000000001")),
        (Uuid(as_uuid=False), "0B1D9C7E000040008000000000000001", "0b1d9c7e-0000-4000-8000-000000000001"),
    ],
)
def test_ids_of_every_kind_come_back(kind: Any, given_id: str, native: object, tmp_path: Path) -> None:
    """Text, integers and UUIDs, also through an application's own types."""
    made = engine(f"sqlite:///{tmp_path}/db.sqlite3")
    table = token_table(MetaData(), user_id_type=kind)
    store = SQLAlchemyTokenStore(made, table=table)
    store.create_schema()
    store.put(token(given_id))
    row = store.get(given_id)
    assert row is not None
    assert row.user_id == store.canonical_user_id(given_id)
    with made.connect() as connection:
        assert connection.execute(select(table.c.user_id)).scalar() == native
    assert [due.user_id for due in store.list_due(saved_before=datetime.now(UTC))] == [row.user_id]
    made.dispose()


def token(user_id: str, secret: str = "example") -> Any:
    from amocrm_userauth import TokenPair, UserToken

    now = datetime(2025, 1, 1, tzinfo=UTC)
    pair = TokenPair(access_token=secret, refresh_token=secret, expires_at=now)
    return UserToken(user_id=user_id, pair=pair, revision="r", pair_saved_at=now, previous_refresh_token=secret)


class Opaque(TypeDecorator[object]):
    """A type that does not say what it holds."""

    impl = NullType
    cache_ok = True


@pytest.mark.parametrize("kind", [Boolean, Opaque])
def test_a_type_that_holds_no_id_is_refused(kind: Any) -> None:
    """The error names what can be used."""
    table = token_table(MetaData(), user_id_type=kind)
    with pytest.raises(ConfigurationError, match="text, UUID or integer"):
        SQLAlchemyTokenStore(engine("sqlite:///unused"), table=table)


def test_an_engine_of_the_other_world_is_refused() -> None:
    """Each store names the other."""
    with pytest.raises(ConfigurationError, match="use SQLAlchemyTokenStore"):
        AsyncSQLAlchemyTokenStore(engine("sqlite:///unused"))  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="use AsyncSQLAlchemyTokenStore"):
        SQLAlchemyTokenStore(async_engine("sqlite:///unused"))  # type: ignore[arg-type]


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str | URL:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/db.sqlite3"
    url: URL = request.getfixturevalue(request.param)
    return url


def test_the_schema_may_be_created_again(address: str | URL) -> None:
    """What is there is left as it is, also when a connection is given."""
    made = engine(address, poolclass=NullPool)
    table, states = token_table(MetaData(), "again_tokens"), state_table(MetaData(), "again_states")
    create_schema(made, table=table, states=states)
    with made.begin() as connection:
        create_schema(connection, table=table, states=states)
    create_schema(made)
    assert {"again_tokens", "again_states", "amo_crm_tokens", "amo_crm_states"} <= set(inspect(made).get_table_names())


def test_processes_that_start_together_create_one_schema(address: str | URL) -> None:
    """None of them fails because another was a moment earlier."""
    made = engine(address, poolclass=NullPool)
    for number in range(3):
        tables = token_table(MetaData(), f"raced_tokens_{number}"), state_table(MetaData(), f"raced_states_{number}")
        with ThreadPoolExecutor(6) as pool:
            calls = [pool.submit(create_schema, made, table=tables[0], states=tables[1]) for _ in range(6)]
            assert [call.result() for call in calls] == [None] * 6
        tables = token_table(MetaData(), f"raced_tokens_{number}_"), state_table(MetaData(), f"raced_states_{number}_")
        store = SQLAlchemyTokenStore(made, table=tables[0], states=tables[1])
        with ThreadPoolExecutor(6) as pool:
            calls = [pool.submit(store.create_schema) for _ in range(6)]
            assert [call.result() for call in calls] == [None] * 6


def test_a_schema_on_a_connection_fails_at_once(address: str | URL) -> None:
    """Its transaction is the caller's: what failed in it is not tried again."""
    made = engine(address, poolclass=NullPool)
    with made.connect() as connection, pytest.raises(DatabaseError):
        create_schema(connection, table=token_table(MetaData(), "t", schema="no_such_schema"))


def test_the_index_serves_the_walk_of_what_is_due(postgresql: URL) -> None:
    """A page of what is due does not read the table, however many rows there are."""
    made = engine(postgresql, poolclass=NullPool)
    table = token_table(MetaData(), "many_tokens")
    store = SQLAlchemyTokenStore(made, table=table)
    store.create_schema()
    store.put(token("bob"))
    statement = str(store._tokens.due_after.compile(made, compile_kwargs={"render_postcompile": True}))
    values = "'2025-01-01'", "'2020-01-01'", "'2020-01-01'", "'a'", "10"
    parameters = {"p_before": values[0], "p_pair_saved_at": values[1], "p_user_id": values[3], "p_limit": values[4]}
    for name, value in parameters.items():
        statement = statement.replace(f"%({name})s", value)
    with made.begin() as connection:
        connection.execute(text("SET LOCAL enable_seqscan = off"))
        plan = "\n".join(row[0] for row in connection.execute(text(f"EXPLAIN {statement}".replace("::VARCHAR", ""))))
    assert "Index Scan using ix_many_tokens_due" in plan
    assert "Sort" not in plan


class Orig(Exception):
    """What a driver raised."""

    def __init__(self, *args: object, **attributes: object) -> None:
        super().__init__(*args)
        self.__dict__.update(attributes)


def dbapi(orig: Exception, kind: type[DBAPIError] = OperationalError, *, lost: bool = False) -> DBAPIError:
    return kind("SELECT 'example-secret'", {"p": "example-secret"}, orig, connection_invalidated=lost)


@pytest.mark.parametrize(
    ("error", "kind", "again", "lost"),
    [
        (dbapi(Orig(sqlstate="40001")), StoreUnavailable, True, False),
        (dbapi(Orig(sqlstate="40P01")), StoreUnavailable, True, False),
        (dbapi(Orig(pgcode="40001")), StoreUnavailable, True, False),
        (dbapi(Orig(1213, "Deadlock found")), StoreUnavailable, True, False),
        (dbapi(Orig(1205, "Lock wait timeout")), StoreUnavailable, True, False),
        (dbapi(Orig(1020, "Record has changed")), StoreUnavailable, True, False),
        (dbapi(Orig("database is locked")), StoreUnavailable, True, False),
        (dbapi(Orig(1146, "no table")), ConfigurationError, False, False),
        (dbapi(Orig(1146, "no table", sqlstate="42S02")), ConfigurationError, False, False),
        (dbapi(Orig(sqlstate="42P01")), ConfigurationError, False, False),
        (dbapi(Orig("no such table: x")), ConfigurationError, False, False),
        (dbapi(Orig(2006, "gone away"), lost=True), StoreUnavailable, False, True),
        (dbapi(Orig(), IntegrityError), StoreUnavailable, False, False),
        (OSError("example-secret"), StoreUnavailable, False, False),
        (TimeoutError("example-secret"), StoreUnavailable, False, False),
        (ValueError("the greenlet library is required"), ConfigurationError, False, False),
        (NotConnected(), NotConnected, False, False),
    ],
)
def test_errors_are_judged_by_what_the_caller_must_do(error: Exception, kind: type, again: bool, lost: bool) -> None:
    """Undone work may be repeated, a lost connection leaves it open, a missing table is a developer's job."""
    verdict = judge(error)
    assert type(verdict.error) is kind
    assert (verdict.again, verdict.lost) == (again, lost)
    assert "example-secret" not in str(verdict.error)


@pytest.mark.parametrize(
    ("says", "cure", "origs"),
    [
        ("lacks a table or column", "create_schema", ["42P01", "42703", "3F000", "42S02", "42S22", 1146, 1054]),
        (
            "lacks a table or column",
            "create_schema",
            ["no such table: t", "no such column: c", "t has no column named c"],
        ),
        ("kept undoing the step", "READ COMMITTED", ["40001", "40P01", 1213, 1020]),
        ("stayed locked by another", "holds its locks", ["55P03", 1205]),
        ("write lock of SQLite", "busy timeout", ["database is locked", "database table is locked: t"]),
        ("ran into a time limit", "statement_timeout", ["57014", 1969, 3024]),
        ("takes no more connections", "pool_size", ["53300", 1040, 1203, 1226]),
        (
            "takes no more connections",
            "max_connections",
            [
                "connection failed: FATAL:  sorry, too many clients already",
                "FATAL:  remaining connection slots are reserved for roles",
                'FATAL:  too many connections for role "example"',
            ],
        ),
        ("is read-only", "primary", ["25006", 1290, 1792, 1836, "attempt to write a readonly database"]),
        ("no room left", "disk space", ["53100", 1021, 1114, "database or disk is full", "No space left on device"]),
        ("starting or stopping", "when it is up", ["57P01", "57P02", "57P03", 1053]),
        ("starting or stopping", "when it is up", ["FATAL:  the database system is starting up"]),
        ("refuses this user or password", "URL", ["28000", "28P01", 1045, 1698]),
        (
            "refuses this user or password",
            "URL",
            [
                "FATAL:  password authentication failed for user",
                'FATAL:  role "x" does not exist',
                "no pg_hba.conf entry",
            ],
        ),
        ("may not do that", "grant it SELECT", ["42501", 1044, 1142, 1143]),
        ("does not exist", "URL", ["3D000", 1049, "unable to open database file", 'database "x" does not exist']),
        ("too long for its column", "token_table", ["22001", 1406]),
        ("character set cannot hold", "utf8mb4", ["22021", "22P05", 1267, 1300, 1366]),
        ("cannot be reached", "check that it runs", ["08001", "08006", 2002, 2003, 2006, 2013, 4031]),
        (
            "cannot be reached",
            "check that it runs",
            ["connection failed: Connection refused", "failed to resolve host"],
        ),
        ("refused a step", "check the database", ["99999", 9999, "something else"]),
    ],
)
def test_causes_are_named_with_their_cure(says: str, cure: str, origs: list[str | int]) -> None:
    """The closed table of what is well known, by SQLSTATE, by number or by a driver's words."""
    for told in origs:
        is_state = isinstance(told, str) and len(told) == 5
        orig = Orig(sqlstate=told) if is_state else Orig(told, "example-secret")
        message = str(judge(dbapi(orig)).error)
        assert says in message
        assert cure in message
        assert "OperationalError" in message
        assert "example-secret" not in message


def test_causes_without_a_drivers_error_are_named() -> None:
    """What SQLAlchemy raises itself, what the system raises, and a connection that broke without saying why."""
    for error, says in (
        (PoolTimeoutError("example-secret"), "pool_size"),
        (ConnectionRefusedError("example-secret"), "cannot be reached"),
        (UnicodeEncodeError("latin-1", "example-secret", 0, 1, "example-secret"), "character set cannot hold"),
        (RuntimeError("example-secret"), "refused a step"),
        (dbapi(Orig("example-secret"), lost=True), "cannot be reached"),
        (dbapi(Orig("example-secret", sqlstate="57P01"), lost=True), "starting or stopping"),
    ):
        message = str(judge(error).error)
        assert says in message
        assert "example-secret" not in message


@pytest.mark.parametrize(
    ("options", "level"),
    [
        ({}, None),
        ({"isolation_level": "SERIALIZABLE"}, None),
        ({"isolation_level": "AUTOCOMMIT"}, "READ COMMITTED"),
        ({"execution_options": {"isolation_level": "AUTOCOMMIT"}}, "READ COMMITTED"),
        ({"isolation_level": "AUTOCOMMIT", "execution_options": {"isolation_level": "SERIALIZABLE"}}, None),
    ],
)
def test_an_engine_without_transactions_is_given_some(options: Any, level: str | None) -> None:
    """Only AUTOCOMMIT is replaced, wherever it was set; the pool stays the application's."""
    made = create_engine("postgresql+psycopg://example@127.0.0.1/example", **options)
    assert level_of_our_own(made) == level
    store = SQLAlchemyTokenStore(made)
    assert store._database._engine.pool is made.pool
    assert store.shared_scope()[0] is made


def test_sqlite_without_transactions_is_given_its_own_level(tmp_path: Path) -> None:
    """SQLite knows no other level than SERIALIZABLE."""
    made = create_engine(f"sqlite:///{tmp_path}/db.sqlite3", isolation_level="AUTOCOMMIT")
    assert level_of_our_own(made) == "SERIALIZABLE"
    store = SQLAlchemyTokenStore(made)
    store.create_schema()
    store.put(token("bob"))
    assert store.get("bob") is not None
    made.dispose()


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def test_logged_statements_show_no_token(address: str | URL, caplog: pytest.LogCaptureFixture) -> None:
    """An engine that logs statements, parameters and rows logs stars for tokens, encrypted or not."""
    made = engine(address, poolclass=NullPool, echo="debug")
    store = SQLAlchemyTokenStore(made, table=token_table(MetaData(), "logged_tokens"))
    store.create_schema()
    secret = token("bob", "example-secret")
    store.put(secret)
    store.commit(secret, over="r", keep_previous=True)
    row = store.get("bob")
    assert row is not None
    assert (row.pair, row.previous_refresh_token) == (secret.pair, "example-secret")
    assert {type(row.pair.access_token), type(row.previous_refresh_token)} == {str}
    assert "***" in caplog.text
    assert "Row (" in caplog.text
    assert "example-secret" not in caplog.text


def test_an_absent_token_is_no_text() -> None:
    """``None`` stays ``None`` both ways."""
    assert SecretText().process_bind_param(None, sqlite.dialect()) is None
    assert SecretText().process_result_value(None, sqlite.dialect()) is None


def test_the_sync_store_needs_no_greenlet(tmp_path: Path) -> None:
    """Neither importing the module nor using the sync store loads asyncio's half of SQLAlchemy or greenlet."""
    shown = run(f"""
import sys
sys.modules["greenlet"] = None
from sqlalchemy import create_engine
from amocrm_userauth.sqlalchemy import SQLAlchemyTokenStore, AsyncSQLAlchemyTokenStore
store = SQLAlchemyTokenStore(create_engine("sqlite:///{tmp_path}/db.sqlite3"))
store.create_schema()
print(store.get("bob"), "sqlalchemy.ext.asyncio" in sys.modules)
""")
    assert shown == "None False"


def test_the_async_store_says_that_it_needs_greenlet(tmp_path: Path) -> None:
    """Without greenlet the first call names the extra."""
    shown = run(f"""
import asyncio, sys
sys.modules["greenlet"] = None
from amocrm_userauth.errors import ConfigurationError
try:
    from sqlalchemy.ext.asyncio import create_async_engine
    from amocrm_userauth.sqlalchemy import AsyncSQLAlchemyTokenStore
    store = AsyncSQLAlchemyTokenStore(create_async_engine("sqlite+aiosqlite:///{tmp_path}/db.sqlite3"))
    asyncio.run(store.get("bob"))
except (ConfigurationError, ImportError) as error:
    print(error)
""")
    assert "greenlet" in shown or "sqlalchemy-async" in shown


def test_an_async_engine_is_told_the_right_way() -> None:
    """Making the schema on one is a configuration error that names the call to use."""
    with pytest.raises(ConfigurationError, match="use await store"):
        create_schema(async_engine("sqlite://"))
