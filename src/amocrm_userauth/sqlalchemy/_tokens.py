"""The statements on the table of connections, built once. Parameters are called ``p_`` and the column's name."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    BindParameter,
    Column,
    ColumnElement,
    ForeignKey,
    Integer,
    Select,
    Table,
    Update,
    and_,
    bindparam,
    case,
    column,
    delete,
    false,
    insert,
    literal,
    null,
    or_,
    select,
    true,
    tuple_,
    update,
)
from sqlalchemy import table as lightweight_table
from sqlalchemy.exc import NoReferencedColumnError, NoReferencedTableError

from amocrm_userauth._core.model import Failure, UserToken
from amocrm_userauth.crypto import TokenCipher
from amocrm_userauth.errors import ConfigurationError
from amocrm_userauth.sqlalchemy._exactly import exactly
from amocrm_userauth.sqlalchemy._token_values import PLAIN, TOKENS, NewToken, Rewritten, token_of
from amocrm_userauth.sqlalchemy._user_ids import UserIds

__all__ = ["Tokens"]

_PAIR = ("access_token", "refresh_token", *PLAIN[1:10], "pair_saved_at", "updated_at")
_CLEARED = {"failures": 0, "failure": ""}


class Tokens:
    """Everything that is ever said to one table of connections."""

    def __init__(self, table: Table, cipher: TokenCipher | None) -> None:
        """Build the statements. Raises ``ConfigurationError`` if ``table`` is not one of ``token_table``'s."""
        missing = {"id", "created_at", "updated_at", *PLAIN, *TOKENS} - set(table.c.keys())
        if missing:
            msg = f"the table {table.fullname} lacks {', '.join(sorted(missing))}; make it with token_table(...)"
            raise ConfigurationError(msg)
        self.cipher = cipher
        self.ids = UserIds(table)
        self.name = table.fullname
        c = table.c
        own = c.user_id == _bind(c.user_id)
        mine = and_(own, exactly(c.user_id, _bind(c.user_id))) if self.ids.is_text else own
        over = and_(mine, c.revision == bindparam("p_over", type_=c.revision.type))
        self._build_reads(table, own)
        self._build_writes(table, mine, over)

    def _build_reads(self, table: Table, own: ColumnElement[bool]) -> None:
        c = table.c
        plain = [c[name] for name in PLAIN]
        self.peek = select(*plain).where(own)
        self.get = select(*plain, *(c[name] for name in TOKENS)).where(own)
        due = and_(c.reauth_reason.is_(None), c.pair_saved_at < bindparam("p_before", type_=c.pair_saved_at.type))
        page = select(*plain).where(due).order_by(c.pair_saved_at, c.user_id).limit(_limit())
        self.due = page
        # Said twice: MariaDB finds its way into the index by the first, PostgreSQL by the second.
        self.due_after = page.where(
            c.pair_saved_at >= _bind(c.pair_saved_at),
            tuple_(c.pair_saved_at, c.user_id) > tuple_(_bind(c.pair_saved_at), _bind(c.user_id)),
        )
        login = and_(c.account_id == _bind(c.account_id), c.amocrm_user_id == _bind(c.amocrm_user_id))
        self.logins = select(c.user_id).where(login).order_by(c.user_id)
        self.first = select(*plain, *(c[name] for name in TOKENS)).order_by(c.user_id).limit(_limit())
        self.next = self.first.where(c.user_id > _bind(c.user_id))
        self.known = _known_user(c.user_id)

    def _build_writes(self, table: Table, mine: ColumnElement[bool], over: ColumnElement[bool]) -> None:
        c = table.c
        written = (*PLAIN[1:], *TOKENS, "updated_at")
        self.insert = insert(table).values({name: _bind(c[name]) for name in ("id", "user_id", "created_at", *written)})
        self.replace = update(table).where(mine).values({name: _bind(c[name]) for name in written})
        self.delete = delete(table).where(mine)
        self.delete_revision = delete(table).where(over)
        self.take_lease = _take_lease(table, over, rejected=False)
        self.take_lease_rejected = _take_lease(table, over, rejected=True)
        self.commit = _commit(table, over)
        self.note_failure = _note_failure(table, over, mark=False)
        self.note_refusal = _note_failure(table, over, mark=True)
        self.rewrite = update(table).where(over).values({name: _bind(c[name]) for name in TOKENS})

    def canonical(self, user_id: object) -> str:
        """Return the one spelling of ``user_id``. Raises ``ValueError`` if it cannot be an id."""
        return self.ids.canonical(user_id)

    def key(self, user_id: str) -> dict[str, object]:
        """Return the parameter that names the user. Raises ``ValueError`` if this cannot be an id."""
        return {"p_user_id": self.ids.native(self.ids.canonical(user_id))}

    def new(self, token: UserToken, **extra: object) -> NewToken:
        """Return the parameters that write ``token``."""
        user_id = self.canonical(token.user_id)
        return NewToken(token, user_id, self.ids.native(user_id), self.cipher, **extra)

    def rewritten(self, token: UserToken) -> Rewritten:
        """Return the parameters that encrypt ``token`` anew."""
        return Rewritten(token, self.ids.native(token.user_id), self.cipher)

    def own(self, row: Sequence[Any] | None, user_id: str) -> UserToken | None:
        """Return what the row says if it is exactly this user's: a collation may have found somebody else's."""
        if row is None or str(row[0]) != user_id:
            return None
        return token_of(row, user_id, self.cipher)

    def every(self, rows: Sequence[Sequence[Any]]) -> list[UserToken]:
        """Return what the rows say."""
        return [token_of(row, str(row[0]), self.cipher) for row in rows]

    def failure_values(self, key: dict[str, object], revision: str, holder: str, failure: Failure) -> dict[str, object]:
        """Return the parameters of ``note_failure`` and ``note_refusal``."""
        values: dict[str, object] = {
            **key,
            "p_over": revision,
            "p_lease_holder": holder,
            "p_in_doubt": failure.in_doubt,
            "p_failures": failure.failures,
            "p_retry_at": failure.retry_at,
            "p_failure": failure.failure,
        }
        if failure.reauth_reason is not None:
            values |= {"p_reauth_reason": failure.reauth_reason, "p_reauth_at": failure.reauth_at}
        return values


def _bind(of: Column[Any]) -> BindParameter[Any]:
    return bindparam(f"p_{of.name}", type_=of.type)


def _limit() -> BindParameter[int]:
    return bindparam("p_limit", type_=Integer())


# MySQL evaluates assignments from left to right and sees those made already. Hence ordered_values, in which whatever
# is computed from an old value comes before that value's own assignment.


def _take_lease(table: Table, over: ColumnElement[bool], *, rejected: bool) -> Update:
    c = table.c
    now = bindparam("p_now", type_=c.lease_until.type)
    anothers = and_(c.lease_holder.is_not(None), c.lease_holder != _bind(c.lease_holder))
    free = or_(c.lease_holder.is_(None), c.lease_holder == _bind(c.lease_holder))
    ran_out = or_(c.lease_until.is_(None), c.lease_until <= now)
    values: list[tuple[Column[Any], Any]] = [
        (c.in_doubt, case((anothers, true()), else_=c.in_doubt)),
        (c.lease_holder, _bind(c.lease_holder)),
        (c.lease_until, _bind(c.lease_until)),
        (c.updated_at, now),
    ]
    if rejected:
        values.append((c.rejected_at, now))
    return update(table).where(over, or_(free, ran_out)).ordered_values(*values)


def _commit(table: Table, over: ColumnElement[bool]) -> Update:
    c = table.c
    keep = or_(c.in_doubt, bindparam("p_keep", type_=c.in_doubt.type))
    return (
        update(table)
        .where(over)
        .ordered_values(
            (c.previous_refresh_token, case((keep, _bind(c.previous_refresh_token)), else_=null())),
            *((c[name], _bind(c[name])) for name in _PAIR),
            (c.in_doubt, false()),
            *((c[name], null()) for name in ("lease_holder", "lease_until", "retry_at", "reauth_reason", "reauth_at")),
            *((c[name], literal(value, c[name].type)) for name, value in _CLEARED.items()),
        )
    )


def _note_failure(table: Table, over: ColumnElement[bool], *, mark: bool) -> Update:
    c = table.c
    values: list[tuple[Column[Any], Any]] = [
        (c.in_doubt, or_(c.in_doubt, _bind(c.in_doubt))),
        (c.lease_holder, null()),
        (c.lease_until, null()),
        *((c[name], _bind(c[name])) for name in ("failures", "retry_at", "failure")),
    ]
    if mark:
        values += [(c[name], _bind(c[name])) for name in ("reauth_reason", "reauth_at")]
    return update(table).where(over, c.lease_holder == _bind(c.lease_holder)).ordered_values(*values)


def _known_user(user_id: Column[Any]) -> Select[Any] | None:
    """Return what asks the application's table for a user, if the connection refers to one."""
    for reference in user_id.foreign_keys:
        target = _target(reference, user_id)
        return select(literal(1)).select_from(target.table).where(target == _bind(user_id))
    return None


def _target(reference: ForeignKey, user_id: Column[Any]) -> ColumnElement[Any]:
    try:
        return reference.column
    except (NoReferencedTableError, NoReferencedColumnError):  # in another MetaData: its name has to do
        path, _, name = reference.target_fullname.rpartition(".")
        schema, _, name_of_table = path.rpartition(".")
        return lightweight_table(name_of_table, column(name, user_id.type), schema=schema or None).c[name]
