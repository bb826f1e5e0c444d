"""With 100 000 users and as many states, every statement of a store finds its rows by an index."""

import gc
import json
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import pytest
from sqlalchemy import Engine, create_engine, event, text

from amocrm_userauth import RefreshReport, TokenPair, UserToken
from amocrm_userauth._core.model import Failure
from amocrm_userauth._pairs import Time
from amocrm_userauth._sync.keepalive import Walk
from amocrm_userauth.sqlalchemy import SQLAlchemyTokenStore
from tests.slow.kit import database

_COUNT = 100_000
_NOW = datetime(2026, 6, 1, tzinfo=UTC)
_USER = "user-050000"
_ROW = UserToken(
    user_id=_USER,
    pair=TokenPair(
        access_token="example-access",
        refresh_token="example-refresh",
        expires_at=_NOW,
        account_id="account-050000",
        amocrm_user_id="7",
        domain="example.amocrm.ru",
    ),
    revision="revision-050000",
    client_id="example-client",
    pair_saved_at=_NOW,
)
_NUMBERS = {"postgresql": "generate_series(0, {}) AS n(seq)", "mariadb": "(SELECT seq FROM seq_0_to_{}) AS n"}
_CAST = {"postgresql": "CAST(seq AS text)", "mariadb": "CAST(seq AS char)"}
_MINUTES_AGO = {
    "postgresql": "CAST(:now AS timestamptz) - seq * interval '1 minute'",
    "mariadb": "CAST(:now AS datetime) - interval seq minute",
}
_WHOLE = ("Seq Scan", '"access_type": "ALL"', '"access_type": "index"')
_SORTED = ('"Sort"', '"filesort"')
_STATE = {
    "user_hash": "u" * 64,
    "expires_at": _NOW - timedelta(minutes=10),
    "now": _NOW - timedelta(minutes=30),
}


@pytest.fixture(scope="module", params=["postgresql", "mariadb"])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SQLAlchemyTokenStore]:
    """A store with 100 000 users of as many accounts, whose pairs were saved a minute apart, and as many states."""
    with database(request.param, tmp_path_factory.mktemp("unused")) as url:
        engine = create_engine(url)
        made = SQLAlchemyTokenStore(engine)
        made.create_schema()
        made.put(replace(_ROW, user_id="template"))
        made.remember_code(nonce_hash="template", code_hash="c", **_STATE)
        _multiply(engine, request.param)
        yield made
        engine.dispose()


def _multiply(engine: Engine, kind: str) -> None:
    """Copy the row of each table, with keys and times of its own, and gather statistics."""
    ago, number = _MINUTES_AGO[kind], f"lpad({_CAST[kind]}, 6, '0')"
    new_id = "gen_random_uuid()" if kind == "postgresql" else "uuid()"
    own = {
        "amo_crm_tokens": {
            "id": new_id,
            "user_id": f"concat('user-', {number})",
            "revision": f"concat('revision-', {number})",
            "account_id": f"concat('account-', {number})",
            "pair_saved_at": ago,
        },
        "amo_crm_states": {
            "nonce_hash": f"concat('nonce-', {number})",
            "code_hash": f"concat('code-', {number})",
            "expires_at": ago,
        },
    }
    numbers = _NUMBERS[kind].format(_COUNT - 1)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for table, values in own.items():
            columns = _columns(connection, table)
            shown = ", ".join(values.get(name, f"t.{name}") for name in columns)
            into = f"INSERT INTO {table} ({', '.join(columns)})"
            connection.execute(text(f"{into} SELECT {shown} FROM {table} AS t CROSS JOIN {numbers}"), {"now": _NOW})
            connection.execute(text(f"ANALYZE {'TABLE ' if kind == 'mariadb' else ''}{table}"))


def _columns(connection: Any, table: str) -> list[str]:
    return list(connection.execute(text(f"SELECT * FROM {table} LIMIT 1")).keys())


class Plans:
    """How the database means to do each statement that a store sends it."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.seen: list[tuple[str, str]] = []

    def __enter__(self) -> Self:
        event.listen(self.engine, "before_cursor_execute", self._explain)
        return self

    def __exit__(self, *_: object) -> None:
        event.remove(self.engine, "before_cursor_execute", self._explain)

    def _explain(self, connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.lstrip().startswith("INSERT"):
            return
        how = "(FORMAT JSON)" if self.engine.dialect.name == "postgresql" else "FORMAT=JSON"
        cursor = connection.connection.cursor()
        cursor.execute(f"EXPLAIN {how} {statement}", parameters)
        plan = cursor.fetchone()[0]
        cursor.close()
        self.seen.append((statement, json.dumps(json.loads(plan) if isinstance(plan, str) else plan)))

    def assert_by_index(self, statements: int = 1, *, unsorted: bool = False) -> None:
        """So many statements were sent, and none reads a whole table or index (nor, ``unsorted``, sorts what it found)."""
        assert len(self.seen) >= statements, self.seen
        for statement, plan in self.seen:
            for word in _WHOLE + (_SORTED if unsorted else ()):
                assert word not in plan, (word, statement, plan)


def _plans(store: SQLAlchemyTokenStore) -> Plans:
    engine = store.shared_scope()[0]
    assert isinstance(engine, Engine)
    return Plans(engine)


def test_a_user_is_read_by_an_index(store: SQLAlchemyTokenStore) -> None:
    """With the tokens and without."""
    with _plans(store) as plans:
        assert store.get(_USER) is not None
        assert store.get(_USER, with_tokens=False) is not None
    plans.assert_by_index(2)


@pytest.mark.parametrize("rejected", [False, True])
def test_a_lease_is_taken_and_ended_by_an_index(store: SQLAlchemyTokenStore, *, rejected: bool) -> None:
    """Also the lease after a 401; a failure is noted the same way."""
    lease = {"revision": _ROW.revision, "holder": "example-holder", "until": _NOW + timedelta(seconds=90), "now": _NOW}
    failures = [Failure(), Failure(reauth_reason="revoked", reauth_at=_NOW)]
    with _plans(store) as plans:
        for failure in failures:
            leased = store.take_lease(_USER, rejected=rejected, **lease)
            assert leased is not None
            assert leased.lease_holder == "example-holder"
            assert store.note_failure(_USER, revision=_ROW.revision, holder="example-holder", failure=failure)
    plans.assert_by_index(6)


def test_a_pair_is_committed_by_an_index(store: SQLAlchemyTokenStore) -> None:
    """The update, and the look at the row after it; a reconnect and a disconnect too."""
    other = replace(_ROW, user_id="user-060000", revision="revision-060000")
    with _plans(store) as plans:
        new = replace(other, revision="example-new")
        assert store.commit(new, over=other.revision, keep_previous=False) is not None
        store.put(other)
        assert not store.delete(other.user_id, revision="another")
        assert store.delete(other.user_id)
        store.put(other)
    plans.assert_by_index(5)


@pytest.mark.parametrize("after", [None, (_NOW - timedelta(minutes=70_000), "user-070000")])
def test_a_page_of_who_is_due_is_read_by_an_index(
    store: SQLAlchemyTokenStore, after: tuple[datetime, str] | None
) -> None:
    """The first page and one in the middle: neither more rows nor an order of its own."""
    with _plans(store) as plans:
        page = store.list_due(saved_before=_NOW - timedelta(minutes=40_000), after=after, limit=100)
    assert len(page) == 100
    plans.assert_by_index(unsorted=True)


def test_a_page_reads_no_more_rows_than_it_has(store: SQLAlchemyTokenStore) -> None:
    """Also behind 70 000 users whose turn was before."""
    engine, place = _plans(store).engine, (_NOW - timedelta(minutes=30_000), "user-030000")
    read: list[int] = []

    def before(connection: Any, *_: Any) -> None:
        read.append(-_rows_read(connection))

    def after(connection: Any, *_: Any) -> None:
        read.append(_rows_read(connection))

    event.listen(engine, "before_cursor_execute", before)
    event.listen(engine, "after_cursor_execute", after)
    assert len(store.list_due(saved_before=_NOW, after=place, limit=100)) == 100
    event.remove(engine, "before_cursor_execute", before)
    event.remove(engine, "after_cursor_execute", after)
    assert 100 <= sum(read) < 300


def _rows_read(connection: Any) -> int:
    """Rows or index entries that this connection has read so far: MariaDB counts for itself, PostgreSQL in the transaction."""
    cursor = connection.connection.cursor()
    if connection.dialect.name == "postgresql":
        cursor.execute(
            "SELECT sum(pg_stat_get_xact_tuples_returned(oid)) FROM pg_class WHERE relname LIKE '%amo_crm_tokens%'"
        )
        counted = int(cursor.fetchone()[0])
    else:
        cursor.execute("SHOW SESSION STATUS WHERE Variable_name IN ('Handler_read_next', 'Handler_icp_attempts')")
        counted = sum(int(value) for _, value in cursor.fetchall())
    cursor.close()
    return counted


def test_a_login_is_found_by_an_index(store: SQLAlchemyTokenStore) -> None:
    """By its account."""
    with _plans(store) as plans:
        assert store.find_login(account_id="account-050001", amocrm_user_id="7") == ["user-050001"]
    plans.assert_by_index()


def test_states_are_found_claimed_and_swept_by_an_index(store: SQLAlchemyTokenStore) -> None:
    """By code, by nonce, and the expired ones by their time."""
    claim = {"nonce_hash": "nonce-000001", "code_hash": "code-000001", "claimant": "example", "until": _NOW, **_STATE}
    with _plans(store) as plans:
        assert len(store.find_code("code-000001", now=_STATE["now"])) == 1
        assert store.claim(**claim).claimant == "example"
        assert store.finish(nonce_hash="nonce-000001", claimant="example", outcome="connected")
        assert store.remember_code(nonce_hash="new", code_hash="code-new", **_STATE)
    plans.assert_by_index(5)
    assert any(statement.lstrip().startswith("DELETE") for statement, _ in plans.seen)


def test_a_table_without_its_index_would_be_found(store: SQLAlchemyTokenStore) -> None:
    """The same look at a statement that has no index to go by."""
    with _plans(store) as plans, plans.engine.connect() as connection:
        connection.execute(text("SELECT user_id FROM amo_crm_tokens WHERE domain = 'x' ORDER BY updated_at"))
    with pytest.raises(AssertionError, match=r"Seq Scan|ALL"):
        plans.assert_by_index()


class _Willing:
    """Refreshes everybody at once."""

    def refreshed_by_us(self, _user_id: str, _revision: str) -> bool:
        return True


@pytest.mark.long
def test_a_walk_over_100_000_users_holds_no_more_than_one_over_1_000(store: SQLAlchemyTokenStore) -> None:
    """It holds a page: what is in use after 99 000 users is what was after 1 000, within 64 KiB."""
    held: dict[int, int] = {}

    def look(report: RefreshReport) -> None:
        if report.refreshed in {1_000, 99_000}:
            gc.collect()
            held[report.refreshed] = tracemalloc.get_traced_memory()[0]

    settings: Any = None
    server: Any = _Willing()
    kind = {"store": store, "server": server, "settings": settings, "time": Time(), "on_progress": look}
    tracemalloc.start()
    report = Walk(bound=_NOW + timedelta(days=1), limit=None, concurrency=1, rate=None, **kind).go()
    tracemalloc.stop()
    assert report.refreshed >= _COUNT
    assert held[99_000] - held[1_000] < 64 * 1024, held
