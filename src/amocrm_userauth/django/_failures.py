"""What a database error means for the caller. Messages name the error's type and a cure, never what was sent."""

from dataclasses import dataclass

from django.core.exceptions import ImproperlyConfigured, SynchronousOnlyOperation
from django.db import DatabaseError, InterfaceError
from django.utils.connection import ConnectionDoesNotExist

from amocrm_userauth.errors import AmoCRMUserAuthError, ConfigurationError, StoreUnavailable

__all__ = ["Verdict", "judge"]

# SQLSTATE (PostgreSQL), error number (MariaDB, MySQL); SQLite says it in words.
_NO_SCHEMA = {"42P01", "42703", "3F000", 1146, 1054}
_NO_SCHEMA_WORDS = ("no such table", "no such column", "has no column named")
# Another transaction holds what is asked for: lock not available, lock wait timeout.
_HELD = {"55P03", 1205}
_HELD_WORDS = ("database is locked", "table is locked", "schema is locked")
# Serialization failure, deadlock, record changed since last read: rolled back, may be repeated.
_ROLLED_BACK = {"40001", "40P01", 1213, 1020}

_SCHEMA_CURE = "run manage.py migrate"
_HELD_CURE = (
    "another transaction holds the connection's row or the database's write lock, perhaps that of this very request: "
    "call amoCRM before the request writes, after it has committed (transaction.on_commit), or in a view under "
    "transaction.non_atomic_requests; do not lock rows of AmoCRMToken; give SQLite write-ahead logging "
    "('OPTIONS': {'init_command': 'PRAGMA journal_mode=WAL'}), without which even a request that reads is in the way"
)
_ASYNC_CURE = (
    "user_auth() and its store are synchronous: in async code call them with sync_to_async(..., thread_sensitive=False)"
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """``error`` is for the caller; ``again``: nothing was written, so it may be repeated."""

    error: AmoCRMUserAuthError
    again: bool = False


def judge(error: Exception) -> Verdict:
    """Return what to make of whatever Django, the driver or the operating system raised."""
    if isinstance(error, (DatabaseError, InterfaceError)):
        return _judge_database(error)
    if isinstance(error, AmoCRMUserAuthError):
        return Verdict(error)
    if isinstance(error, SynchronousOnlyOperation):
        return Verdict(ConfigurationError(_ASYNC_CURE))
    if isinstance(error, (ImproperlyConfigured, ConnectionDoesNotExist)):
        return Verdict(ConfigurationError("settings.DATABASES does not hold the token store's database"))
    return Verdict(_unavailable(type(error).__name__))


def _judge_database(error: DatabaseError | InterfaceError) -> Verdict:
    codes, words = _codes(error), str(error)
    label = " ".join((type(error).__name__, *map(str, codes)))
    if _NO_SCHEMA.intersection(codes) or any(text in words for text in _NO_SCHEMA_WORDS):
        message = f"the database lacks a table or column of the token store ({label}); {_SCHEMA_CURE}"
        return Verdict(ConfigurationError(message))
    if _HELD.intersection(codes) or any(text in words for text in _HELD_WORDS):
        return Verdict(StoreUnavailable(f"the token store was kept waiting ({label}): {_HELD_CURE}"), again=True)
    return Verdict(_unavailable(label), again=bool(_ROLLED_BACK.intersection(codes)))


def _unavailable(label: str) -> StoreUnavailable:
    return StoreUnavailable(f"the token store failed ({label}); check the database, then try again")


def _codes(error: BaseException) -> list[str | int]:
    """Return the SQLSTATE and the error number, where the driver tells them."""
    cause = error.__cause__ or error
    state = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
    found: list[str | int] = [state] if isinstance(state, str) else []
    number = cause.args[0] if cause.args else None
    return [*found, number] if isinstance(number, int) else found
