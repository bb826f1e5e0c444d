"""What the SQLAlchemy stores do beyond the suite: encryption, schemas, foreign keys, broken connections."""

import io
import logging
import sqlite3
import traceback
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from rich.console import Console
from rich.traceback import Traceback
from sqlalchemy import URL, CheckConstraint, Column, Integer, MetaData, String, Table, Uuid, event, text
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import NullPool, StaticPool

from amocrm_userauth._async.memory import AsyncMemoryTokenStore
from amocrm_userauth._core.model import Failure, TokenPair, UserToken
from amocrm_userauth._pairs import AsyncTime
from amocrm_userauth.crypto import TAG, FernetCipher
from amocrm_userauth.errors import AmoCRMUserAuthError, ConfigurationError, StoreUnavailable
from amocrm_userauth.sqlalchemy import AsyncSQLAlchemyTokenStore, state_table, token_table
from tests.engines import async_engine, async_threads_ended, below, engine
from tests.pairs import async_together

NOW = datetime(2025, 3, 9, 12, tzinfo=UTC)
SECRETS = ("example-access-secret", "example-refresh-secret", "example-previous-secret")


def token(user_id: str = "bob", **changes: Any) -> UserToken:
    pair = TokenPair(access_token=SECRETS[0], refresh_token=SECRETS[1], expires_at=NOW, account_id="1")
    fields = {"pair": pair, "revision": "rev-1", "pair_saved_at": NOW, "previous_refresh_token": SECRETS[2]}
    return UserToken(user_id=user_id, **(fields | changes))


class CountingCipher:
    """A cipher that says what it was asked to decrypt."""

    def __init__(self) -> None:
        self.decrypted: list[str] = []

    def encrypt(self, value: str, *, user_id: str, column: str) -> str:
        return TAG + value[::-1]

    def decrypt(self, value: str, *, user_id: str, column: str) -> str:
        self.decrypted.append(column)
        return value.removeprefix(TAG)[::-1]


class Pauses(AsyncTime):
    """Notes the pauses between attempts, and does something in them instead of waiting."""

    def __init__(self, instead: Any = None) -> None:
        self.taken: list[float] = []
        self.instead = instead

    async def sleep_jittered(self, seconds: float) -> None:
        self.taken.append(seconds)
        if self.instead is not None:
            self.instead()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tokens.sqlite3"


@pytest.fixture
async def sqlite(path: Path) -> AsyncIterator[AsyncEngine]:
    made = async_engine(f"sqlite:///{path}")
    yield made
    await made.dispose()


@pytest.fixture
async def store(sqlite: AsyncEngine) -> AsyncSQLAlchemyTokenStore:
    made = AsyncSQLAlchemyTokenStore(sqlite)
    await made.create_schema()
    return made


def stored(path: Path, columns: str = "access_token, refresh_token, previous_refresh_token") -> list[Any]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute(f"SELECT {columns} FROM amo_crm_tokens ORDER BY user_id").fetchall()


def execute(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute(statement)
        db.commit()


async def test_tokens_are_decrypted_when_they_are_looked_at(
    store: AsyncSQLAlchemyTokenStore, sqlite: AsyncEngine
) -> None:
    """Reading a row decrypts nothing; looking at the access token does not decrypt the refresh token."""
    cipher = CountingCipher()
    store = AsyncSQLAlchemyTokenStore(sqlite, cipher=cipher)
    await store.put(token())
    row = await store.get("bob")
    assert row is not None
    assert cipher.decrypted == []
    assert row.pair.access_token == SECRETS[0]
    assert row.pair.access_token == SECRETS[0]
    assert cipher.decrypted == ["access_token"]


async def test_a_status_reads_no_token_column_and_needs_no_key(
    store: AsyncSQLAlchemyTokenStore, sqlite: AsyncEngine
) -> None:
    """``with_tokens=False`` and the walk of what is due work without the key, and leave the tokens where they are."""
    await AsyncSQLAlchemyTokenStore(sqlite, cipher=CountingCipher()).put(token())
    statements: list[str] = []
    event.listen(below(sqlite), "before_cursor_execute", lambda _c, _cur, sql, *_: statements.append(sql))
    row = await store.get("bob", with_tokens=False)
    due = await store.list_due(saved_before=NOW + timedelta(days=1))
    assert row is not None
    assert [row.revision, due[0].revision] == ["rev-1", "rev-1"]
    assert len(statements) == 2
    assert not any("access_token" in sql or "refresh_token" in sql for sql in statements)


async def test_what_is_stored_is_encrypted(store: AsyncSQLAlchemyTokenStore, sqlite: AsyncEngine, path: Path) -> None:
    """With a cipher no token can be read in the database, and each is its own ciphertext."""
    cipher = FernetCipher([FernetCipher.generate_key()])
    store = AsyncSQLAlchemyTokenStore(sqlite, cipher=cipher)
    await store.put(token())
    await store.commit(token(revision="rev-2"), over="rev-1", keep_previous=True)
    (values,) = stored(path)
    assert all(value.startswith(TAG) for value in values)
    assert not any(secret in value for secret in SECRETS for value in values)
    row = await store.get("bob")
    assert row is not None
    assert callable(row.previous_refresh_token)
    assert (row.pair.access_token, row.pair.refresh_token, row.previous_refresh_token()) == SECRETS


async def test_encrypted_tokens_without_a_cipher_name_the_cure(
    store: AsyncSQLAlchemyTokenStore, sqlite: AsyncEngine
) -> None:
    """A store that lost its cipher says what to give it, instead of handing out ciphertext."""
    await AsyncSQLAlchemyTokenStore(sqlite, cipher=FernetCipher([FernetCipher.generate_key()])).put(token())
    row = await store.get("bob")
    assert row is not None
    with pytest.raises(ConfigurationError, match="cipher=FernetCipher"):
        _ = row.pair.access_token


async def test_the_wrong_key_overwrites_nothing(
    store: AsyncSQLAlchemyTokenStore, sqlite: AsyncEngine, path: Path
) -> None:
    """With the wrong key tokens are unreadable, and readable again with the right one."""
    right = FernetCipher([FernetCipher.generate_key()])
    await AsyncSQLAlchemyTokenStore(sqlite, cipher=right).put(token())
    before = stored(path)
    wrong = AsyncSQLAlchemyTokenStore(sqlite, cipher=FernetCipher([FernetCipher.generate_key()]))
    row = await wrong.get("bob")
    assert row is not None
    with pytest.raises(ConfigurationError, match="add the key"):
        _ = row.pair.refresh_token
    with pytest.raises(ConfigurationError, match="add the key"):
        await wrong.reencrypt()
    assert stored(path) == before


async def test_plain_tokens_are_encrypted_at_their_next_write(
    store: AsyncSQLAlchemyTokenStore, sqlite: AsyncEngine, path: Path
) -> None:
    """A cipher may be added later: what is plain is read as it is until it is written."""
    await store.put(token())
    assert stored(path) == [SECRETS]
    store = AsyncSQLAlchemyTokenStore(sqlite, cipher=FernetCipher([FernetCipher.generate_key()]))
    row = await store.get("bob")
    assert row is not None
    assert row.pair.access_token == SECRETS[0]
    await store.put(row)
    assert all(value.startswith(TAG) for value in stored(path)[0])


async def test_a_value_copied_from_another_row_does_not_decrypt(
    store: AsyncSQLAlchemyTokenStore, sqlite: AsyncEngine, path: Path
) -> None:
    """Whoever can write to the table cannot give one user's token to another, nor move it between columns."""
    store = AsyncSQLAlchemyTokenStore(sqlite, cipher=FernetCipher([FernetCipher.generate_key()]))
    await store.put(token("bob"))
    await store.put(token("eve"))
    execute(
        path, "UPDATE amo_crm_tokens SET access_token = (SELECT access_token FROM amo_crm_tokens WHERE user_id = 'bob')"
    )
    execute(path, "UPDATE amo_crm_tokens SET refresh_token = access_token")
    eve, bob = await store.get("eve"), await store.get("bob")
    assert eve is not None
    assert bob is not None
    assert bob.pair.access_token == SECRETS[0]
    for look in (lambda: eve.pair.access_token, lambda: bob.pair.refresh_token):
        with pytest.raises(ConfigurationError, match="another user or column"):
            look()


async def test_a_plain_token_that_looks_encrypted_is_refused(store: AsyncSQLAlchemyTokenStore, path: Path) -> None:
    """What could not be told from ciphertext is not written."""
    pair = TokenPair(access_token=f"{TAG}example", refresh_token="example", expires_at=NOW)
    with pytest.raises(ConfigurationError, match="encrypted already"):
        await store.put(token(pair=pair))
    assert stored(path) == []


async def test_every_row_can_be_encrypted_anew(
    store: AsyncSQLAlchemyTokenStore, sqlite: AsyncEngine, path: Path
) -> None:
    """After ``reencrypt`` the old key is not needed any more, for plain rows as for encrypted ones."""
    old, new = FernetCipher.generate_key(), FernetCipher.generate_key()
    await store.put(token("user-0", previous_refresh_token=None))
    for number in range(1, 5):
        await AsyncSQLAlchemyTokenStore(sqlite, cipher=FernetCipher([old])).put(token(f"user-{number}"))
    assert await AsyncSQLAlchemyTokenStore(sqlite, cipher=FernetCipher([new, old])).reencrypt(batch=2) == 5
    store = AsyncSQLAlchemyTokenStore(sqlite, cipher=FernetCipher([new]))
    for number in range(5):
        row = await store.get(f"user-{number}")
        assert row is not None
        assert (row.pair.access_token, row.pair.refresh_token) == SECRETS[:2]
    assert all(str(value or TAG).startswith(TAG) for values in stored(path) for value in values)


async def test_encrypting_anew_spares_a_newer_pair(store: AsyncSQLAlchemyTokenStore, sqlite: AsyncEngine) -> None:
    """A pair that is committed while its row is being rewritten stays."""
    await store.put(token())
    new = TokenPair(access_token="example-newer", refresh_token="example", expires_at=NOW)

    class Committing(CountingCipher):
        def encrypt(self, value: str, *, user_id: str, column: str) -> str:
            if not self.decrypted:
                self.decrypted.append("once")
                execute(path, "UPDATE amo_crm_tokens SET revision = 'rev-2', access_token = 'example-newer'")
            return super().encrypt(value, user_id=user_id, column=column)

    path = Path(str(below(sqlite).url.database))
    assert await AsyncSQLAlchemyTokenStore(sqlite, cipher=Committing()).reencrypt() == 0
    row = await store.get("bob")
    assert row is not None
    assert row.pair.access_token == new.access_token


@pytest.mark.parametrize("server", ["sqlite", "postgresql", "mariadb"])
async def test_a_missing_table_names_the_cure(server: str, path: Path, request: pytest.FixtureRequest) -> None:
    """Before the schema is there every step says how to make it."""
    address = f"sqlite:///{path}" if server == "sqlite" else request.getfixturevalue(server)
    made = async_engine(address)
    table, states = token_table(MetaData(), "not_there"), state_table(MetaData(), "not_there_either")
    store = AsyncSQLAlchemyTokenStore(made, table=table, states=states)
    with pytest.raises(ConfigurationError, match="create_schema") as caught:
        await store.get("bob")
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    with pytest.raises(ConfigurationError, match="create_schema"):
        await store.put(token())
    with pytest.raises(ConfigurationError, match="create_schema"):
        await store.find_code("c", now=NOW)
    await made.dispose()


async def test_a_missing_column_names_the_cure(store: AsyncSQLAlchemyTokenStore, path: Path) -> None:
    """So does a table of an older release."""
    execute(path, "ALTER TABLE amo_crm_tokens DROP COLUMN rejected_at")
    with pytest.raises(ConfigurationError, match="lacks a table or column"):
        await store.get("bob")
    with pytest.raises(ConfigurationError, match="lacks a table or column"):
        await store.put(token())


@pytest.mark.parametrize("address", ["postgresql://nobody@127.0.0.1:1/none", "mysql://nobody@127.0.0.1:1/none"])
async def test_a_database_that_is_not_there_is_unavailable(address: str) -> None:
    """What drivers raise when they cannot connect becomes one error, without cause."""
    made = async_engine(address)
    with pytest.raises(StoreUnavailable) as caught:
        await AsyncSQLAlchemyTokenStore(made).get("bob")
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    await made.dispose()


async def test_a_schema_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    """After a few attempts the reason is passed on."""
    made = async_engine(f"sqlite:///{tmp_path}/no/such/folder")
    with pytest.raises(StoreUnavailable, match="OperationalError"):
        await AsyncSQLAlchemyTokenStore(made).create_schema()
    await made.dispose()
    await async_threads_ended()


async def test_an_exhausted_pool_is_unavailable(path: Path) -> None:
    """Waiting for a connection in vain is the store's failure, not the caller's."""
    made = async_engine(f"sqlite:///{path}", pool_size=1, max_overflow=0, pool_timeout=0.01)
    store = AsyncSQLAlchemyTokenStore(made)
    await store.create_schema()
    async with made.connect():
        with pytest.raises(StoreUnavailable, match="TimeoutError"):
            await store.get("bob")
    assert await store.get("bob") is None
    await made.dispose()


async def test_a_locked_database_is_tried_again(store: AsyncSQLAlchemyTokenStore, path: Path) -> None:
    """``database is locked`` undoes the step; it is repeated after a pause."""
    made = async_engine(f"sqlite:///{path}", connect_args={"timeout": 0})
    store = AsyncSQLAlchemyTokenStore(made)
    with closing(sqlite3.connect(path, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        pauses = store._database._time = Pauses(other.rollback)
        await store.put(token())
    assert len(pauses.taken) == 1
    assert stored(path) == [SECRETS]
    await made.dispose()


async def test_a_database_that_stays_locked_is_unavailable(path: Path) -> None:
    """After a few pauses the step is given up."""
    made = async_engine(f"sqlite:///{path}", connect_args={"timeout": 0})
    store = AsyncSQLAlchemyTokenStore(made)
    await store.create_schema()
    pauses = store._database._time = Pauses()
    with closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="OperationalError"):
            await store.put(token())
    assert 2 <= len(pauses.taken) <= 6
    await made.dispose()


async def test_a_step_that_waited_long_is_not_repeated(path: Path) -> None:
    """A database that took seconds to say no has done the waiting; five times that would be too long for a caller."""
    made = async_engine(f"sqlite:///{path}", connect_args={"timeout": 0})
    store = AsyncSQLAlchemyTokenStore(made)
    await store.create_schema()
    pauses = store._database._time = Pauses()
    pauses.monotonic = iter((0.0, 2.6, 5.2)).__next__
    with closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="busy timeout"):
            await store.put(token())
    assert len(pauses.taken) == 1
    await made.dispose()


def cut_off(made: Any, address: URL) -> None:
    """End the server's side of every connection that ``made`` keeps in its pool, as a restart does."""
    killer = engine(address, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with killer.connect() as connection:
        if killer.dialect.name == "postgresql":
            other = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid != pg_backend_pid()"
            connection.execute(text(other))
        else:
            find = "SELECT id FROM information_schema.processlist WHERE db = database() AND id != connection_id()"
            for (number,) in connection.execute(text(find)).all():
                connection.execute(text(f"KILL {number}"))


@pytest.mark.parametrize("server", ["postgresql", "mariadb"])
async def test_a_broken_connection_is_replaced(server: str, request: pytest.FixtureRequest) -> None:
    """After the database was restarted the first call works: a stale connection costs one more attempt."""
    address = request.getfixturevalue(server)
    made = async_engine(address)
    store = AsyncSQLAlchemyTokenStore(made)
    store._database._time = Pauses()
    await store.create_schema()
    await store.put(token())
    cut_off(made, address)
    assert await store.get("bob") is not None
    cut_off(made, address)
    row = await store.take_lease("bob", revision="rev-1", holder="a", until=NOW, now=NOW)
    assert row is not None
    cut_off(made, address)
    assert await store.note_failure("bob", revision="rev-1", holder="a", failure=Failure()) is True
    cut_off(made, address)
    assert await store.delete("bob") is True
    await made.dispose()


async def test_a_connection_that_breaks_again_is_given_up(postgresql: URL) -> None:
    """A broken connection costs one more attempt, not a row of them."""
    made = async_engine(postgresql)
    store = AsyncSQLAlchemyTokenStore(made)
    await store.create_schema()
    pauses = store._database._time = Pauses()
    event.listen(below(made), "before_cursor_execute", lambda *_: cut_off(made, postgresql))
    with pytest.raises(StoreUnavailable):
        await store.get("bob")
    assert len(pauses.taken) == 1
    await made.dispose()


@pytest.fixture
def users() -> Table:
    return Table("users", MetaData(), Column("id", Uuid, primary_key=True))


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
async def with_users(
    request: pytest.FixtureRequest, path: Path, users: Table
) -> AsyncIterator[tuple[AsyncEngine, AsyncSQLAlchemyTokenStore, str]]:
    address = f"sqlite:///{path}" if request.param == "sqlite" else request.getfixturevalue(request.param)
    made = async_engine(address)
    if request.param == "sqlite":
        event.listen(below(made), "connect", lambda connection, _: connection.execute("PRAGMA foreign_keys=ON"))
    table = token_table(users.metadata, "tokens_of_users", user_fk="users.id")
    known = uuid4()
    beside = engine(address)
    users.metadata.drop_all(beside)
    users.create(beside)
    with beside.begin() as connection:
        connection.execute(users.insert(), [{"id": known}])
    beside.dispose()
    store = AsyncSQLAlchemyTokenStore(made, table=table)
    await store.create_schema()
    yield made, store, str(known)
    await made.dispose()


async def test_a_user_who_cannot_be_looked_up_is_not_unknown(with_users: Any, path: Path) -> None:
    """The application's own table may be away for a moment, in a migration: a pair in hand waits for it."""
    made, store, known = with_users
    beside = engine(made.url)
    with beside.begin() as connection:
        connection.execute(text("DROP TABLE tokens_of_users"))
        connection.execute(text("DROP TABLE users"))
    beside.dispose()
    with pytest.raises(StoreUnavailable, match="lacks a table"):
        await store.check_user(known)


async def test_an_unknown_user_is_a_configuration_error(with_users: Any) -> None:
    """With a foreign key only users of the application are stored, and the check comes before the code is spent."""
    _, store, known = with_users
    await store.put(token(known))
    await store.check_user(known)
    for step in (store.put, lambda unknown: store.check_user(unknown.user_id)):
        with pytest.raises(ConfigurationError, match="no such user") as caught:
            await step(token(str(uuid4())))
        assert caught.value.__context__ is None


async def test_deleting_a_user_deletes_the_connection(with_users: Any, users: Table) -> None:
    """The foreign key cascades."""
    made, store, known = with_users
    await store.put(token(known.upper()))
    assert await store.get(known) is not None
    async with made.begin() as connection:
        await connection.execute(users.delete())
    assert await store.get(known) is None


async def test_sqlite_without_foreign_keys_is_warned_about_once(
    sqlite: AsyncEngine, users: Table, caplog: pytest.LogCaptureFixture
) -> None:
    """SQLite ignores foreign keys unless told otherwise; the log says how."""
    table = token_table(users.metadata, user_fk=users.c.id)
    store = AsyncSQLAlchemyTokenStore(sqlite, table=table)
    await store.create_schema()
    with caplog.at_level(logging.WARNING, logger="amocrm_userauth"):
        await store.put(token(str(uuid4())))
        await store.put(token(str(uuid4())))
    assert [record.getMessage() for record in caplog.records if "foreign_keys=ON" in record.getMessage()] != []
    assert len(caplog.records) == 1


async def test_a_constraint_of_the_application_is_reported(sqlite: AsyncEngine) -> None:
    """A row that the table keeps refusing ends in an error, not in a loop."""
    table = token_table(MetaData())
    table.append_constraint(CheckConstraint("failures < 3"))
    store = AsyncSQLAlchemyTokenStore(sqlite, table=table)
    await store.create_schema()
    with pytest.raises(StoreUnavailable, match="constraint"):
        await store.put(token(failures=4))


async def test_a_constraint_on_states_is_reported(sqlite: AsyncEngine) -> None:
    """The same holds for the table of states."""
    states = state_table(MetaData())
    states.append_constraint(CheckConstraint("claimant != 'mallory'"))
    store = AsyncSQLAlchemyTokenStore(sqlite, states=states)
    await store.create_schema()
    claim = {"nonce_hash": "n", "code_hash": "c", "user_hash": "u", "until": NOW, "expires_at": NOW, "now": NOW}
    with pytest.raises(StoreUnavailable, match="constraint"):
        await store.claim(claimant="mallory", **claim)


async def test_a_loose_column_gives_nobody_anothers_row(mariadb: URL) -> None:
    """Where the application's ids ignore case, the second of two lookalikes is refused and the first stays."""
    table = token_table(MetaData(), "loose_tokens", user_id_type=String(100, collation="utf8mb4_general_ci"))
    made = async_engine(mariadb)
    store = AsyncSQLAlchemyTokenStore(made, table=table)
    await store.create_schema()
    await store.put(token("bob"))
    with pytest.raises(StoreUnavailable, match="constraint"):
        await store.put(token("Bob", revision="rev-2"))
    assert await store.get("Bob") is None
    row = await store.get("bob")
    assert row is not None
    assert row.revision == "rev-1"
    await store.delete("bob")
    await made.dispose()


def rendered(error: BaseException) -> Iterator[str]:
    """Yield what renderers of tracebacks show of the library's own frames, with their local variables."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename == __file__:
        frames = frames.tb_next
    assert frames is not None
    yield "".join(traceback.TracebackException(type(error), error, frames, capture_locals=True).format())
    console = Console(file=io.StringIO(), width=400)
    console.print(Traceback.from_exception(type(error), error, frames, show_locals=True, locals_max_string=None))
    assert isinstance(console.file, io.StringIO)
    yield console.file.getvalue()


@pytest.mark.parametrize("encrypted", [True, False])
async def test_no_token_is_in_the_traceback_of_a_failure(
    store: AsyncSQLAlchemyTokenStore, sqlite: AsyncEngine, path: Path, encrypted: bool
) -> None:
    """Whatever fails, a rendered traceback with local variables shows no token and no key."""
    key = FernetCipher.generate_key()
    if encrypted:
        store = AsyncSQLAlchemyTokenStore(sqlite, cipher=FernetCipher([key]))
    await store.put(token())
    execute(path, "CREATE TRIGGER no BEFORE UPDATE ON amo_crm_tokens BEGIN SELECT RAISE(ABORT, 'no'); END")
    execute(path, "CREATE TRIGGER none BEFORE INSERT ON amo_crm_tokens WHEN 1 = missing() BEGIN SELECT 1; END")
    unstorable = TokenPair(access_token=TAG + SECRETS[0], refresh_token=SECRETS[1], expires_at=NOW)
    steps = [
        partial(store.take_lease, "bob", revision="rev-1", holder="a", until=NOW, now=NOW),
        partial(store.commit, token(revision="rev-2"), over="rev-1", keep_previous=True),
        partial(store.put, token()),
        partial(store.put, token("eve")),
        partial(store.put, token("eve", pair=unstorable)),
    ]
    for step in steps:
        with pytest.raises(AmoCRMUserAuthError) as caught:
            await step()
        assert caught.value.__context__ is None
        for shown in rendered(caught.value):
            assert "sqlalchemy" in shown
            assert [secret for secret in (*SECRETS, key) if secret in shown] == []


async def test_expired_states_are_swept(store: AsyncSQLAlchemyTokenStore, path: Path) -> None:
    """Each claim deletes some of what has expired, so the table does not grow."""
    for number in range(30):
        await store.remember_code(
            nonce_hash=f"old-{number}", code_hash="c", user_hash="u", expires_at=NOW, now=NOW - timedelta(1)
        )
    claim = {
        "code_hash": "c",
        "user_hash": "u",
        "claimant": "x",
        "until": NOW,
        "expires_at": NOW + timedelta(1),
        "now": NOW,
    }
    for number in range(3):
        await store.claim(nonce_hash=f"new-{number}", **claim)
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*) FROM amo_crm_states").fetchone() == (3,)


async def test_a_failing_sweep_does_not_fail_the_claim(store: AsyncSQLAlchemyTokenStore, path: Path) -> None:
    """Tidying up is not what the caller asked for."""
    await store.remember_code(nonce_hash="old", code_hash="c", user_hash="u", expires_at=NOW, now=NOW - timedelta(1))
    execute(path, "CREATE TRIGGER no BEFORE DELETE ON amo_crm_states BEGIN SELECT RAISE(ABORT, 'disk full'); END")
    record = await store.claim(
        nonce_hash="n", code_hash="c", user_hash="u", claimant="x", until=NOW, expires_at=NOW + timedelta(1), now=NOW
    )
    assert record.claimant == "x"


async def test_the_sweep_spares_a_record_that_was_renewed(
    store: AsyncSQLAlchemyTokenStore, sqlite: AsyncEngine, path: Path
) -> None:
    """What was expired when it was looked for, and is in use when it is to be deleted, stays."""
    await store.remember_code(nonce_hash="old", code_hash="c", user_hash="u", expires_at=NOW, now=NOW - timedelta(1))

    def renew(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("DELETE"):
            execute(path, "UPDATE amo_crm_states SET expires_at = '2099-01-01 00:00:00.000000'")

    event.listen(below(sqlite), "before_cursor_execute", renew)
    later = NOW + timedelta(1)
    await store.claim(
        nonce_hash="new", code_hash="d", user_hash="u", claimant="x", until=later, expires_at=later, now=NOW
    )
    assert [record.nonce_hash for record in await store.find_code("c", now=NOW)] == ["old"]


async def test_callers_of_one_connection_take_turns() -> None:
    """Where all share one connection nobody gets into the transaction of another, whichever store object they use."""
    made = async_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    one, other = AsyncSQLAlchemyTokenStore(made), AsyncSQLAlchemyTokenStore(made)
    turns = one._database._turns
    assert turns is not None
    assert turns is other._database._turns
    inside: list[int] = []

    async def work() -> int:
        inside.append(1)
        await AsyncTime().sleep(0.002)
        together = len(inside)
        inside.clear()
        return together

    assert await async_together([partial(turns.run, work)] * 6) == [1] * 6
    await made.dispose()


async def test_an_expired_record_gives_way(store: AsyncSQLAlchemyTokenStore) -> None:
    """A nonce whose record has expired is as good as new."""
    state = {"nonce_hash": "n", "user_hash": "u"}
    await store.remember_code(**state, code_hash="c", expires_at=NOW, now=NOW - timedelta(1))
    assert await store.remember_code(**state, code_hash="d", expires_at=NOW + timedelta(1), now=NOW) is True
    later = NOW + timedelta(2)
    record = await store.claim(
        **state, code_hash="e", claimant="x", until=later, expires_at=later, now=later - timedelta(1)
    )
    assert (record.code_hash, record.claimant) == ("e", "x")


async def test_stores_on_one_table_share_their_scope(sqlite: AsyncEngine) -> None:
    """What the process keeps per user is kept per table, however many store objects there are."""
    one, same = AsyncSQLAlchemyTokenStore(sqlite), AsyncSQLAlchemyTokenStore(sqlite)
    other = AsyncSQLAlchemyTokenStore(sqlite, table=token_table(MetaData(), "others", schema="crm"))
    assert one.shared_scope() == same.shared_scope() == (below(sqlite), "amo_crm_tokens")
    assert other.shared_scope() == (below(sqlite), "crm.others")


async def test_ids_are_what_the_column_holds(sqlite: AsyncEngine) -> None:
    """UUIDs and integers have one spelling each; what is none cannot be an id."""
    uuids = AsyncSQLAlchemyTokenStore(sqlite, table=token_table(MetaData(), user_id_type=Uuid))
    known = uuid4()
    assert {uuids.canonical_user_id(name) for name in (str(known), known.hex, str(known).upper())} == {str(known)}
    integers = AsyncSQLAlchemyTokenStore(sqlite, table=token_table(MetaData(), user_id_type=Integer()))
    assert [integers.canonical_user_id(name) for name in ("7", "007", "-7", "-0")] == ["7", "7", "-7", "0"]
    for store, names in (
        (uuids, ("bob", "", f"{{{known}}}", f"urn:uuid:{known}", f"{known} ", known.hex[:-1])),
        (integers, ("bob", "", "+7", " 7", "7 ", "1_0", "٧", "7.0", "2147483648", "-2147483649", "9" * 30)),
    ):
        for name in names:
            with pytest.raises(ValueError, match="user id"):
                store.canonical_user_id(name)
            with pytest.raises(ValueError, match="user id"):
                await store.get(name)


def test_scattered_memory_is_refused() -> None:
    """In memory every connection has a database of its own; the error says what to do."""
    for address in (
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///file::memory:?uri=true",
        "sqlite:///file:x?mode=memory&uri=true",
    ):
        with pytest.raises(ConfigurationError, match="StaticPool"):
            AsyncSQLAlchemyTokenStore(async_engine(address, poolclass=NullPool))
    shared = "sqlite:///file:x?mode=memory&cache=shared&uri=true"
    AsyncSQLAlchemyTokenStore(async_engine(shared, poolclass=NullPool))
    AsyncSQLAlchemyTokenStore(async_engine("sqlite://", poolclass=StaticPool))


def test_a_table_of_another_make_is_refused(sqlite: AsyncEngine) -> None:
    """A table that lacks columns is refused at once, with their names."""
    with pytest.raises(ConfigurationError, match="access_token"):
        AsyncSQLAlchemyTokenStore(sqlite, table=Table("t", MetaData(), Column("id", Integer)))
    with pytest.raises(ConfigurationError, match="nonce_hash"):
        AsyncSQLAlchemyTokenStore(sqlite, states=Table("t", MetaData(), Column("id", Integer)))


async def test_a_row_moves_between_stores(store: AsyncSQLAlchemyTokenStore) -> None:
    """What one store hands out another takes, tokens that are decrypted late included."""
    memory = AsyncMemoryTokenStore()
    await store.put(token())
    row = await store.get("bob")
    assert row is not None
    await memory.put(row)
    again = await memory.get("bob")
    assert again is not None
    assert again.pair == token().pair
