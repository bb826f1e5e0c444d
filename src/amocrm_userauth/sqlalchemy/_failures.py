"""What a database error means for the caller. Messages name the cause and a cure, never what was sent."""

import re
from dataclasses import dataclass, field

from sqlalchemy.exc import DBAPIError, MissingGreenlet
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from amocrm_userauth.errors import AmoCRMUserAuthError, ConfigurationError, StoreUnavailable

__all__ = ["Verdict", "judge"]

_NO_GREENLET = "the async store needs greenlet: pip install 'amocrm_userauth[sqlalchemy-async]'"


@dataclass(frozen=True, slots=True)
class Verdict:
    """``error`` is for the caller; ``again``: nothing was written; ``lost``: the connection broke, nobody knows."""

    error: AmoCRMUserAuthError
    again: bool = False
    lost: bool = False


@dataclass(frozen=True, slots=True)
class _Cause:
    """A well-known failure, recognised by SQLSTATE, by MariaDB's or MySQL's number, or by a driver's words.

    ``again``: the database has undone the step, which may be repeated.
    """

    what: str
    cure: str
    codes: frozenset[str | int] = frozenset()
    words: re.Pattern[str] | None = None
    again: bool = False
    kind: type[AmoCRMUserAuthError] = field(default=StoreUnavailable)

    def fits(self, codes: list[str | int], words: str) -> bool:
        return not self.codes.isdisjoint(codes) or (self.words is not None and self.words.search(words) is not None)


def _words(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


_UNKNOWN = _Cause("the database refused a step", "check the database, then try again")
_POOL = _Cause(
    "no connection of the engine's pool came free in time",
    "raise pool_size or max_overflow of create_engine(...), or run fewer callers at once (pool_timeout bounds their "
    "wait); look for code that keeps connections",
)
_ENCODING = _Cause(
    "the connection's character set cannot hold this text",
    "use UTF-8 in the engine's URL: ?charset=utf8mb4 on MariaDB and MySQL, ?client_encoding=utf8 on PostgreSQL",
    frozenset({"22021", "22P05", 1267, 1300, 1366}),
)
_UNREACHABLE = _Cause(
    "the database cannot be reached, or its connection broke",
    "check that it runs and that the engine's URL names it, then try again",
    frozenset({"08000", "08001", "08003", "08004", "08006", 1927, 2002, 2003, 2005, 2006, 2013, 2055, 4031}),
    _words(r"connection refused|failed to resolve|timeout expired|connection timeout|server closed the connection"),
)
_CAUSES = (
    _Cause(
        "the database lacks a table or column of the token store",
        "call amocrm_userauth.sqlalchemy.create_schema(engine) once (async: await store.create_schema()), or run the "
        "application's migrations",
        frozenset({"42P01", "42703", "3F000", "42S02", "42S22", 1146, 1054}),
        _words(r"no such table|no such column|has no column named"),
        kind=ConfigurationError,
    ),
    # Serialization failure, deadlock, record changed since last read.
    _Cause(
        "the database kept undoing the step, as others wrote the same rows",
        "try again; if it happens often, give the store an engine at READ COMMITTED",
        frozenset({"40001", "40P01", 1213, 1020}),
        again=True,
    ),
    _Cause(
        "a row stayed locked by another transaction",
        "find out what holds its locks for so long, then try again",
        frozenset({"55P03", 1205}),
        again=True,
    ),
    _Cause(
        "another connection keeps the write lock of SQLite",
        "raise the busy timeout (connect_args={'timeout': 30}), switch to write-ahead logging (PRAGMA "
        "journal_mode=WAL), and keep the application's transactions short",
        words=_words(r"database (table |schema )?is locked"),
        again=True,
    ),
    _Cause(
        "a statement ran into a time limit of the database",
        "see why it is slow, or raise statement_timeout (MariaDB: max_statement_time)",
        frozenset({"57014", 1969, 3024}),
    ),
    _Cause(
        "the database takes no more connections",
        "lower pool_size and max_overflow (they count for each process), put a pooler in between, or raise "
        "max_connections",
        frozenset({"53300", 1040, 1203, 1226}),
        _words(r"too many (clients|connections)|connection slots are reserved"),
    ),
    _Cause(
        "the database, or this connection to it, is read-only",
        "give the store an engine on the primary, not on a replica; for SQLite make the file and its folder writable, "
        "and leave mode=ro out",
        frozenset({"25006", 1290, 1792, 1836}),
        _words(r"readonly database"),
    ),
    _Cause(
        "the database has no room left",
        "free or add disk space (SQLite: also max_page_count), then try again",
        frozenset({"53100", 1021, 1114}),
        _words(r"disk is full|no space left"),
    ),
    _Cause(
        "the database is starting or stopping",
        "try again when it is up",
        frozenset({"57P01", "57P02", "57P03", 1053}),
        _words(r"database system is (starting|shutting|in recovery|not yet)"),
    ),
    _Cause(
        "the database refuses this user or password",
        "check user name and password in the engine's URL",
        frozenset({"28000", "28P01", 1045, 1698}),
        _words(r"password authentication failed|role \".*\" does not exist|no pg_hba"),
    ),
    _Cause(
        "this database user may not do that",
        "grant it SELECT, INSERT, UPDATE and DELETE on the store's tables",
        frozenset({"42501", 1044, 1142, 1143}),
    ),
    _Cause(
        "the database does not exist",
        "create it, or mend the engine's URL",
        frozenset({"3D000", 1049}),
        _words(r"unable to open database file|database \".*\" does not exist"),
    ),
    _Cause(
        "a value is too long for its column",
        "compare the table with that of token_table(...), and migrate it",
        frozenset({"22001", 1406}),
    ),
    _ENCODING,
    _UNREACHABLE,
)


def judge(error: Exception) -> Verdict:
    """Return what to make of whatever SQLAlchemy, the driver or the operating system raised."""
    if isinstance(error, AmoCRMUserAuthError):
        return Verdict(error)
    if isinstance(error, MissingGreenlet) or (isinstance(error, ValueError | ImportError) and "greenlet" in str(error)):
        return Verdict(ConfigurationError(_NO_GREENLET))
    orig = error.orig if isinstance(error, DBAPIError) else None
    codes = [] if orig is None else _codes(orig)
    lost = isinstance(error, DBAPIError) and error.connection_invalidated
    cause = _without_driver(error) if orig is None else _cause(codes, str(orig), lost=lost)
    label = " ".join((type(error).__name__, *map(str, codes)))
    message = f"the token store failed: {cause.what} ({label}); {cause.cure}"
    return Verdict(cause.kind(message), again=cause.again, lost=lost)


def _cause(codes: list[str | int], words: str, *, lost: bool) -> _Cause:
    found = next((cause for cause in _CAUSES if cause.fits(codes, words)), _UNKNOWN)
    return _UNREACHABLE if lost and found is _UNKNOWN else found


def _without_driver(error: Exception) -> _Cause:
    """Return what is meant by an exception that SQLAlchemy raised itself, or passed on as it came."""
    if isinstance(error, PoolTimeoutError):
        return _POOL
    if isinstance(error, UnicodeError):
        return _ENCODING
    return _UNREACHABLE if isinstance(error, OSError) else _UNKNOWN


def _codes(orig: BaseException) -> list[str | int]:
    """Return the SQLSTATE and the error number, where the driver tells them."""
    state = getattr(orig, "sqlstate", None) or getattr(orig, "pgcode", None)
    found: list[str | int] = [state] if isinstance(state, str) else []
    number = orig.args[0] if orig.args else None
    return [*found, number] if isinstance(number, int) else found
