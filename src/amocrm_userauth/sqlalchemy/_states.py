"""The statements on the table of nonces and codes, built once. Parameters are called ``p_`` and the column's name."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Integer, Table, and_, bindparam, delete, insert, or_, select, update

from amocrm_userauth._core.model import StateRecord
from amocrm_userauth.errors import ConfigurationError

__all__ = ["States", "values"]

_COLUMNS = ("nonce_hash", "code_hash", "user_hash", "outcome", "claimant", "claim_until", "expires_at")
_SWEEP = 20


class States:
    """Everything that is ever said to one table of nonces and codes."""

    def __init__(self, table: Table) -> None:
        """Build the statements. Raises ``ConfigurationError`` if ``table`` is not one of ``state_table``'s."""
        missing = set(_COLUMNS) - set(table.c.keys())
        if missing:
            msg = f"the table {table.fullname} lacks {', '.join(sorted(missing))}; make it with state_table(...)"
            raise ConfigurationError(msg)
        c = table.c
        bind = {name: bindparam(f"p_{name}", type_=c[name].type) for name in _COLUMNS}
        now = bindparam("p_now", type_=c.expires_at.type)
        this = c.nonce_hash == bind["nonce_hash"]
        expired = c.expires_at <= now
        ran_out = and_(c.outcome == "claimed", or_(c.claim_until.is_(None), c.claim_until <= now))
        same = and_(c.code_hash == bind["code_hash"], c.user_hash == bind["user_hash"])
        fresh = {name: bind[name] for name in _COLUMNS[1:]}

        self.find = select(*(c[name] for name in _COLUMNS)).where(this)
        self.find_code = select(*(c[name] for name in _COLUMNS)).where(c.code_hash == bind["code_hash"], ~expired)
        self.insert = insert(table).values({name: bind[name] for name in _COLUMNS})
        self.replace_expired = update(table).where(this, expired).values(fresh)
        self.claim = (
            update(table)
            .where(this, or_(expired, and_(same, or_(c.outcome.in_(("recorded", "retry")), ran_out))))
            .values(fresh)
        )
        self.finish = (
            update(table)
            .where(this, c.outcome == "claimed", c.claimant == bind["claimant"])
            .values(outcome=bind["outcome"], claimant="", claim_until=None)
        )
        self.expired = (
            select(c.nonce_hash).where(expired).order_by(c.expires_at).limit(bindparam("p_limit", _SWEEP, Integer()))
        )
        gone = c.nonce_hash.in_(bindparam("p_gone", type_=c.nonce_hash.type, expanding=True))
        self.sweep = delete(table).where(gone, expired)

    @staticmethod
    def every(rows: Sequence[Sequence[Any]]) -> list[StateRecord]:
        """Return what the rows say."""
        return [record for record in map(States.record, rows) if record is not None]

    @staticmethod
    def record(row: Sequence[Any] | None) -> StateRecord | None:
        """Return what a row says."""
        if row is None:
            return None
        nonce_hash, code_hash, user_hash, outcome, claimant, claim_until, expires_at = row
        return StateRecord(
            nonce_hash=nonce_hash,
            code_hash=code_hash,
            user_hash=user_hash,
            outcome=outcome,
            claimant=claimant,
            claim_until=claim_until,
            expires_at=expires_at,
        )


def values(record: StateRecord, now: datetime) -> dict[str, object]:
    """Return the parameters that write ``record`` at the time ``now``."""
    return {**{f"p_{name}": getattr(record, name) for name in _COLUMNS}, "p_now": now}
