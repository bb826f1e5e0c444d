"""What a database error means for the caller. Messages name the error's type and a cure, never what was sent."""

from dataclasses import dataclass

from sqlalchemy.exc import DBAPIError, MissingGreenlet

from amocrm_userauth.errors import AmoCRMUserAuthError, ConfigurationError, StoreUnavailable

__all__ = ["Verdict", "judge"]

# SQLSTATE (PostgreSQL), SQLSTATE or error number (MariaDB, MySQL); SQLite says it in words.
_NO_SCHEMA = {"42P01", "42703", "3F000", "42S02", "42S22", 1146, 1054}
_NO_SCHEMA_WORDS = ("no such table", "no such column", "has no column named")
# Serialization failure, deadlock, lock wait timeout, record changed since last read: rolled back, may be repeated.
_ROLLED_BACK = {"40001", "40P01", 1213, 1205, 1020}
_BUSY_WORDS = ("database is locked", "database table is locked", "database schema is locked")

_CURE = (
    "call amocrm_userauth.sqlalchemy.create_schema(engine) once (async: await store.create_schema()), or run the "
    "application's migrations"
)
_NO_GREENLET = "the async store needs greenlet: pip install 'amocrm_userauth[sqlalchemy-async]'"


@dataclass(frozen=True, slots=True)
class Verdict:
    """``error`` is for the caller; ``again``: nothing was written; ``lost``: the connection broke, nobody knows."""

    error: AmoCRMUserAuthError
    again: bool = False
    lost: bool = False


def judge(error: Exception) -> Verdict:
    """Return what to make of whatever SQLAlchemy, the driver or the operating system raised."""
    if isinstance(error, AmoCRMUserAuthError):
        return Verdict(error)
    if isinstance(error, MissingGreenlet) or (isinstance(error, ValueError | ImportError) and "greenlet" in str(error)):
        return Verdict(ConfigurationError(_NO_GREENLET))
    orig = error.orig if isinstance(error, DBAPIError) else None
    name = type(error).__name__
    if orig is None:
        return Verdict(StoreUnavailable(f"the token store failed ({name}); check the database, then try again"))
    codes, words = _codes(orig), str(orig)
    label = " ".join((name, *map(str, codes)))
    if _NO_SCHEMA.intersection(codes) or any(text in words for text in _NO_SCHEMA_WORDS):
        return Verdict(
            ConfigurationError(f"the database lacks a table or column of the token store ({label}); {_CURE}")
        )
    message = f"the token store failed ({label}); check the database, then try again"
    again = bool(_ROLLED_BACK.intersection(codes)) or any(text in words for text in _BUSY_WORDS)
    lost = isinstance(error, DBAPIError) and error.connection_invalidated
    return Verdict(StoreUnavailable(message), again=again, lost=lost)


def _codes(orig: BaseException) -> list[str | int]:
    """Return the SQLSTATE and the error number, where the driver tells them."""
    state = getattr(orig, "sqlstate", None) or getattr(orig, "pgcode", None)
    found: list[str | int] = [state] if isinstance(state, str) else []
    number = orig.args[0] if orig.args else None
    return [*found, number] if isinstance(number, int) else found
