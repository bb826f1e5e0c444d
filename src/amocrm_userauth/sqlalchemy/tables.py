"""The two tables, for the application's own ``MetaData`` (its Alembic then makes the migrations) or for ours."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, final

from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    DateTime,
    Engine,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
)
from sqlalchemy.dialects.mysql import DATETIME as MYSQL_DATETIME
from sqlalchemy.exc import DatabaseError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.types import NullType, TypeDecorator, TypeEngine

from amocrm_userauth.errors import ConfigurationError

if TYPE_CHECKING:
    from sqlalchemy import Dialect
    from sqlalchemy.sql.compiler import TypeCompiler

__all__ = ["ExactText", "SecretText", "UtcDateTime", "create_schema", "state_table", "token_table"]

_ID = 255
_HASH = 128
_WORD = 64
# InnoDB has transactions and row locks; utf8mb4 holds every character. Both names of the dialect read their own.
_OPTIONS: dict[str, Any] = {
    f"{dialect}_{option}": value
    for dialect in ("mysql", "mariadb")
    for option, value in (("engine", "InnoDB"), ("charset", "utf8mb4"))
}


@final
class UtcDateTime(TypeDecorator[datetime]):
    """A moment, to the microsecond: aware UTC in Python, whatever the database makes of it."""

    impl: TypeEngine[Any] | type[TypeEngine[Any]] = DateTime(timezone=True)
    cache_ok: bool | None = True

    def load_dialect_impl(self, dialect: "Dialect") -> TypeEngine[Any]:
        """Keep microseconds on MariaDB and MySQL, whose plain DATETIME rounds to seconds."""
        if dialect.name in {"mysql", "mariadb"}:
            return dialect.type_descriptor(MYSQL_DATETIME(fsp=6))
        return dialect.type_descriptor(DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: "Dialect") -> datetime | None:
        """Write UTC. Raises ``ValueError`` for a naive datetime, which names no moment."""
        if value is None:
            return None
        if value.tzinfo is None:
            msg = "a datetime must be aware"
            raise ValueError(msg)
        value = value.astimezone(UTC)
        return value if dialect.name == "postgresql" else value.replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: "Dialect") -> datetime | None:  # noqa: ARG002
        """Read UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


@final
class ExactText(TypeDecorator[str]):
    """Text that equals only itself, character by character: neither case nor accents nor trailing spaces are lost.

    MariaDB's and MySQL's default collations find ``bob`` for ``'Bob '``. Ordered by code point in every database.
    """

    impl: TypeEngine[Any] | type[TypeEngine[Any]] = String
    cache_ok: bool | None = True

    def __init__(self, length: int) -> None:
        """Hold up to ``length`` characters."""
        super().__init__(length)
        self.length = length

    def load_dialect_impl(self, dialect: "Dialect") -> TypeEngine[Any]:
        """Ask PostgreSQL for its bytewise collation."""
        collation = "C" if dialect.name == "postgresql" else None
        return dialect.type_descriptor(String(self.length, collation=collation))


@final
class SecretText(TypeDecorator[str]):
    """A token, encrypted or not: whatever logs statements, parameters and rows (``echo=True``) shows stars for it."""

    impl: TypeEngine[Any] | type[TypeEngine[Any]] = Text
    cache_ok: bool | None = True

    def process_bind_param(self, value: str | None, dialect: "Dialect") -> str | None:  # noqa: ARG002
        """Send the text itself."""
        return None if value is None else _Unshown(value)

    def process_result_value(self, value: str | None, dialect: "Dialect") -> str | None:  # noqa: ARG002
        """Read the text itself; ``str(value)`` gives it without the cloak."""
        return None if value is None else _Unshown(value)


class _Unshown(str):
    """Text that is all there, but does not show itself."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


# Decided at the time of the DDL: only a connected dialect knows whether "mysql" is MariaDB.
@compiles(ExactText, "mysql")
@compiles(ExactText, "mariadb")
def _exact_text(type_: ExactText, compiler: "TypeCompiler", **_: object) -> str:
    collation = "utf8mb4_nopad_bin" if getattr(compiler.dialect, "is_mariadb", False) else "utf8mb4_0900_bin"
    return f"VARCHAR({type_.length}) CHARACTER SET utf8mb4 COLLATE {collation}"


def token_table(
    metadata: MetaData,
    name: str = "amo_crm_tokens",
    *,
    schema: str | None = None,
    user_id_type: TypeEngine[Any] | type[TypeEngine[Any]] | None = None,
    user_fk: str | Column[Any] | None = None,
) -> Table:
    """Return the table of connections, one row per user, as part of ``metadata``.

    Args:
        metadata: the application's, so that its migrations include the table, or a new one.
        name: the table's name; a second integration is a second table.
        schema: the database schema, if it is not the default one.
        user_id_type: ``Uuid``, ``Integer``, ``BigInteger`` or a text type. Default: the type of ``user_fk``'s column if
            that is known, else text of up to 255 characters that compares bytewise.
        user_fk: the primary key of the application's users, as a column or as ``"users.id"``. Deleting a user then
            deletes the connection, and a connection for an unknown user is refused.

    Raises:
        ConfigurationError: ``user_fk`` names a column whose type is not known; give ``user_id_type``.

    """
    references = [] if user_fk is None else [ForeignKey(user_fk, ondelete="CASCADE")]
    return Table(
        name,
        metadata,
        Column("id", Uuid(), primary_key=True),
        Column("user_id", _user_id_type(metadata, user_id_type, user_fk), *references, nullable=False),
        Column("access_token", SecretText, nullable=False),
        Column("refresh_token", SecretText, nullable=False),
        Column("previous_refresh_token", SecretText),
        Column("token_type", String(_WORD), nullable=False),
        Column("code_hash", ExactText(_HASH), nullable=False),
        Column("client_id", ExactText(_HASH), nullable=False),
        Column("expires_at", UtcDateTime, nullable=False),
        Column("account_id", ExactText(_WORD), nullable=False),
        Column("amocrm_user_id", ExactText(_WORD), nullable=False),
        Column("domain", String(_ID), nullable=False),
        Column("api_domain", String(_ID), nullable=False),
        Column("scopes", Text, nullable=False),
        Column("revision", ExactText(_WORD), nullable=False),
        Column("in_doubt", Boolean, nullable=False),
        Column("pair_saved_at", UtcDateTime, nullable=False),
        Column("lease_holder", ExactText(_HASH)),
        Column("lease_until", UtcDateTime),
        Column("failures", Integer, nullable=False),
        Column("retry_at", UtcDateTime),
        Column("failure", String(_ID), nullable=False),
        Column("reauth_reason", String(_WORD)),
        Column("reauth_at", UtcDateTime),
        Column("rejected_at", UtcDateTime),
        Column("created_at", UtcDateTime, nullable=False),
        Column("updated_at", UtcDateTime, nullable=False),
        UniqueConstraint("user_id", name=f"uq_{name}_user_id"),
        Index(f"ix_{name}_due", "pair_saved_at", "user_id"),
        Index(f"ix_{name}_account_id", "account_id"),
        schema=schema,
        **_OPTIONS,
    )


def state_table(metadata: MetaData, name: str = "amo_crm_states", *, schema: str | None = None) -> Table:
    """Return the table of used nonces and codes, which holds hashes only, as part of ``metadata``."""
    return Table(
        name,
        metadata,
        Column("nonce_hash", ExactText(_HASH), primary_key=True),
        Column("code_hash", ExactText(_HASH), nullable=False),
        Column("user_hash", ExactText(_HASH), nullable=False),
        Column("outcome", ExactText(_WORD), nullable=False),
        Column("claimant", ExactText(_HASH), nullable=False),
        Column("claim_until", UtcDateTime),
        Column("expires_at", UtcDateTime, nullable=False),
        Index(f"ix_{name}_code_hash", "code_hash"),
        Index(f"ix_{name}_expires_at", "expires_at"),
        schema=schema,
        **_OPTIONS,
    )


def create_schema(bind: "Engine | Connection", *, table: Table | None = None, states: Table | None = None) -> None:
    """Create the two tables where they are missing; what is there is left as it is.

    For applications without migrations, and for tests. With an async engine use ``await store.create_schema()``, or
    ``await connection.run_sync(create_schema)``. A table that ``table`` refers to must exist already.
    """
    if not _is_sync(bind):
        msg = "create_schema needs an Engine or a Connection; with an async engine use await store.create_schema()"
        raise ConfigurationError(msg)
    table = token_table(MetaData()) if table is None else table
    states = state_table(MetaData()) if states is None else states
    for wanted in (table, states):
        try:
            wanted.create(bind, checkfirst=True)
        except DatabaseError:
            if isinstance(bind, Connection):
                raise  # its transaction may be over
            # Another process may have made it between the look and the step. If it was something else, say it again.
            wanted.create(bind, checkfirst=True)


def _is_sync(bind: object) -> bool:
    return isinstance(bind, (Engine, Connection))


def _user_id_type(
    metadata: MetaData, given: TypeEngine[Any] | type[TypeEngine[Any]] | None, user_fk: str | Column[Any] | None
) -> TypeEngine[Any]:
    if given is not None:
        return given() if isinstance(given, type) else given
    if user_fk is None:
        return ExactText(_ID)
    if isinstance(user_fk, str):
        target, _, column = user_fk.rpartition(".")
        user_fk = metadata.tables[target].columns.get(column) if target in metadata.tables else None
    if user_fk is None or isinstance(user_fk.type, NullType):
        msg = "the type of user_fk's column is not known here; give token_table(..., user_id_type=...)"
        raise ConfigurationError(msg)
    return user_fk.type
