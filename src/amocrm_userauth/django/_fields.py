"""Columns that mean the same on every database and under every setting of the site."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeAlias, final
from zoneinfo import ZoneInfo

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils import timezone

__all__ = ["ExactCharField", "SecretTextField", "Unshown", "UtcDateTimeField"]


if TYPE_CHECKING:
    _DateTimeField: TypeAlias = models.DateTimeField[Any, Any]
    _CharField: TypeAlias = models.CharField[Any, Any]
    _TextField: TypeAlias = models.TextField[Any, Any]
else:  # not subscriptable when it runs
    _DateTimeField, _CharField, _TextField = models.DateTimeField, models.CharField, models.TextField


class UtcDateTimeField(_DateTimeField):
    """A moment: aware UTC in Python, stored as UTC, whatever ``USE_TZ`` and ``TIME_ZONE`` say."""

    def get_prep_value(self, value: Any) -> Any:
        """Return UTC; a naive value, such as a filter of the admin makes, is in the site's time zone."""
        moment = self.to_python(value)
        if not isinstance(moment, datetime):
            return moment
        if timezone.is_naive(moment):
            moment = moment.replace(tzinfo=timezone.get_default_timezone())
        return moment.astimezone(UTC)

    def get_db_prep_value(self, value: Any, connection: BaseDatabaseWrapper, prepared: bool = False) -> Any:  # noqa: FBT001, FBT002 - Django's
        """Return what the driver is given: databases without time zones get naive UTC."""
        moment = value if prepared else self.get_prep_value(value)
        if isinstance(moment, datetime) and connection.vendor != "postgresql":
            moment = moment.replace(tzinfo=None)
        return connection.ops.adapt_datetimefield_value(moment)

    def from_db_value(self, value: datetime | None, _: object, connection: BaseDatabaseWrapper) -> datetime | None:
        """Return aware UTC, undoing what the connection made of it."""
        if value is None:
            return None
        if connection.vendor != "postgresql":
            return value.replace(tzinfo=UTC)
        if timezone.is_naive(value):
            value = value.replace(tzinfo=ZoneInfo(connection.timezone_name))
        return value.astimezone(UTC)


class ExactCharField(_CharField):
    """Text that equals only itself, byte by byte: MariaDB's default collation finds ``bob`` for ``'Bob '``."""

    def db_type(self, connection: BaseDatabaseWrapper) -> str | None:
        """Return the column's type, which on MariaDB and MySQL names a character set that has the collation."""
        kind = super().db_type(connection)
        return f"{kind} CHARACTER SET utf8mb4" if connection.vendor == "mysql" else kind

    def db_parameters(self, connection: BaseDatabaseWrapper) -> dict[str, str | None]:
        """Return the column's parameters, with the bytewise collation of this database."""
        return {**super().db_parameters(connection), "collation": _bytewise(connection)}


def _bytewise(connection: BaseDatabaseWrapper) -> str | None:
    if connection.vendor == "postgresql":
        return "C"
    if connection.vendor == "mysql":
        return "utf8mb4_nopad_bin" if getattr(connection, "mysql_is_mariadb", False) else "utf8mb4_0900_bin"
    return None


class SecretTextField(_TextField):
    """A token, encrypted or not. What is read does not show itself in tracebacks and reprs."""

    def from_db_value(self, value: str | None, *_: object) -> str | None:
        """Cloak what was read."""
        return None if value is None else Unshown(value)


@final
class Unshown(str):
    """Text that is all there, but does not show itself."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"
