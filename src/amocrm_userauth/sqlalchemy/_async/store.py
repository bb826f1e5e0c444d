"""The store on SQLAlchemy Core: each method one short transaction, built around one conditional write."""

from __future__ import annotations

import logging
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from sqlalchemy import MetaData, Table, text

from amocrm_userauth._async.ports import AsyncStateStore, AsyncTokenStore
from amocrm_userauth._core.model import Failure, StateRecord, UserToken
from amocrm_userauth.errors import ConfigurationError, StoreUnavailable
from amocrm_userauth.sqlalchemy._async.database import AsyncDatabase
from amocrm_userauth.sqlalchemy._engines import async_check_engine
from amocrm_userauth.sqlalchemy._states import States, values
from amocrm_userauth.sqlalchemy._tokens import Tokens
from amocrm_userauth.sqlalchemy.tables import create_schema, state_table, token_table

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from sqlalchemy import Executable
    from sqlalchemy.ext.asyncio import AsyncEngine

    from amocrm_userauth.crypto import TokenCipher

__all__ = ["AsyncSQLAlchemyTokenStore"]

_log = logging.getLogger("amocrm_userauth.sqlalchemy")
_ROUNDS = 5


class AsyncSQLAlchemyTokenStore(AsyncTokenStore, AsyncStateStore):
    """Keeps tokens and states in the application's database: SQLite, PostgreSQL, MariaDB or MySQL.

    It takes connections from the engine's pool for one short transaction at a time, never while amoCRM is asked.
    Conflicts that the database resolves by giving up one side (deadlocks, ``database is locked``) are repeated a few
    times; what remains is ``StoreUnavailable``.

    Args:
        engine: the application's engine; the store does not dispose of it.
        cipher: encrypts the tokens, such as ``FernetCipher([key])``; without one they are stored as plain text.
        table: made by ``token_table``. Default: ``amo_crm_tokens``, with text ids and no foreign key.
        states: made by ``state_table``. Default: ``amo_crm_states``.

    Raises:
        ConfigurationError: the engine is of the other world (async or not), or an SQLite in memory of which every
            thread would see its own.

    """

    def __init__(
        self,
        engine: AsyncEngine,
        *,
        cipher: TokenCipher | None = None,
        table: Table | None = None,
        states: Table | None = None,
    ) -> None:
        """Build the statements; connects to nothing."""
        self._below = async_check_engine(engine)
        self._database = AsyncDatabase(engine, self._below)
        self._table = token_table(MetaData()) if table is None else table
        self._states_table = state_table(MetaData()) if states is None else states
        self._tokens = Tokens(self._table, cipher)
        self._states = States(self._states_table)
        self._foreign_keys_unchecked = self._tokens.known is not None and self._below.dialect.name == "sqlite"

    async def create_schema(self) -> None:
        """Create the tables where they are missing; for applications without migrations."""
        make = partial(create_schema, table=self._table, states=self._states_table)
        for _ in range(2):  # for each table another process may be a moment earlier
            with suppress(StoreUnavailable):
                await self._database.make(make)
                return
        await self._database.make(make)

    async def get(self, user_id: str, *, with_tokens: bool = True) -> UserToken | None:
        """Return the user's row, or ``None``. It needs a key only when a token is looked at."""
        tokens = self._tokens
        user_id = tokens.canonical(user_id)
        statement = tokens.get if with_tokens else tokens.peek
        return tokens.own(await self._database.first(statement, {"p_user_id": tokens.ids.native(user_id)}), user_id)

    async def put(self, token: UserToken) -> None:
        """Insert or replace the whole row of ``token.user_id``.

        If the answer to a commit is lost it is not repeated: that could undo a disconnect made in between.
        """
        new = self._tokens.new(token)
        for _ in range(_ROUNDS):
            if await self._database.count(self._tokens.replace, new, again_if_lost=False):
                return
            await self._warn_about_foreign_keys()
            if await self._database.insert(self._tokens.insert, new, again_if_lost=False):
                return
            await self.check_user(new.user_id)
        msg = "the table refuses the new row (IntegrityError); see whether a constraint was added to it"
        raise StoreUnavailable(msg, user_id=new.user_id)

    async def delete(self, user_id: str, *, revision: str | None = None) -> bool:
        """Delete the user's row (only if it is at ``revision``, where given); say whether there was one."""
        key = self._tokens.key(user_id)
        if revision is None:
            return await self._database.count(self._tokens.delete, lambda: key, again_if_lost=False)
        return await self._database.count(
            self._tokens.delete_revision, lambda: {**key, "p_over": revision}, again_if_lost=False
        )

    async def take_lease(
        self, user_id: str, *, revision: str, holder: str, until: datetime, now: datetime, rejected: bool = False
    ) -> UserToken | None:
        """Give ``holder`` the lease on ``revision`` until ``until``, if nobody else has it; return the row."""
        user_id = self._tokens.canonical(user_id)
        lease = {
            **self._tokens.key(user_id),
            "p_over": revision,
            "p_lease_holder": holder,
            "p_lease_until": until,
            "p_now": now,
        }
        statement = self._tokens.take_lease_rejected if rejected else self._tokens.take_lease
        return await self._write_and_get(statement, lambda: lease, user_id)

    async def commit(self, token: UserToken, *, over: str, keep_previous: bool) -> UserToken | None:
        """Replace the pair of revision ``over`` by that of ``token``; return the row as it is afterwards."""
        new = self._tokens.new(token, p_over=over, p_keep=keep_previous)
        return await self._write_and_get(self._tokens.commit, new, new.user_id)

    async def note_failure(self, user_id: str, *, revision: str, holder: str, failure: Failure) -> bool:
        """End ``holder``'s lease on ``revision`` and write ``failure``; say whether that was done."""
        noted = self._tokens.failure_values(self._tokens.key(user_id), revision, holder, failure)
        statement = self._tokens.note_failure if failure.reauth_reason is None else self._tokens.note_refusal
        return await self._database.count(statement, lambda: noted, again_if_lost=False)

    async def list_due(
        self, *, saved_before: datetime, after: tuple[datetime, str] | None = None, limit: int = 100
    ) -> list[UserToken]:
        """Return one page of unmarked rows whose pair was saved before ``saved_before``, oldest first."""
        page: dict[str, object] = {"p_before": saved_before, "p_limit": limit}
        if after is None:
            return self._tokens.every(await self._database.all(self._tokens.due, page))
        page |= {**self._tokens.key(after[1]), "p_pair_saved_at": after[0]}
        return self._tokens.every(await self._database.all(self._tokens.due_after, page))

    async def find_login(self, *, account_id: str, amocrm_user_id: str) -> list[str]:
        """Return the user ids whose pair belongs to this amoCRM login."""
        login: dict[str, object] = {"p_account_id": account_id, "p_amocrm_user_id": amocrm_user_id}
        return [str(row[0]) for row in await self._database.all(self._tokens.logins, login)]

    async def check_user(self, user_id: str) -> None:
        """Raise ``ConfigurationError`` if the application's table, where one is referred to, lacks this user."""
        key = self._tokens.key(user_id)
        if self._tokens.known is None:
            return
        try:
            row = await self._database.first(self._tokens.known, key)
        except ConfigurationError as error:
            # nothing is known of the user then, and a pair in hand must not be given up for that
            failure = StoreUnavailable(str(error), user_id=user_id)
        else:
            if row is not None:
                return
            msg = "the application's table has no such user; connect only users that are stored there"
            raise ConfigurationError(msg, user_id=user_id)
        raise failure

    def canonical_user_id(self, user_id: str) -> str:
        """Return the one spelling of ``user_id`` that the table uses. Raises ``ValueError`` if it cannot be an id."""
        return self._tokens.canonical(user_id)

    def shared_scope(self) -> tuple[object, str]:
        """Return the engine and the table's name: what stores on the same rows have in common in this process."""
        return (self._below, self._tokens.name)

    async def reencrypt(self, *, batch: int = 100) -> int:
        """Write every row's tokens anew with the cipher's current key; return how many rows were written.

        Safe while the service runs: a row that gets a new pair meanwhile is left alone, it has the new key already.
        Raises ``ConfigurationError`` at the first row that no key fits; nothing of it is overwritten.
        """
        written, page = 0, self._tokens.every(await self._database.all(self._tokens.first, {"p_limit": batch}))
        while page:
            for token in page:
                written += await self._database.count(self._tokens.rewrite, self._tokens.rewritten(token))
            place = {**self._tokens.key(page[-1].user_id), "p_limit": batch}
            page = self._tokens.every(await self._database.all(self._tokens.next, place))
        return written

    async def remember_code(
        self, *, nonce_hash: str, code_hash: str, user_hash: str, expires_at: datetime, now: datetime
    ) -> bool:
        """Record that this code came with this nonce; the first code of a nonce stands."""
        fresh = StateRecord(
            nonce_hash=nonce_hash,
            code_hash=code_hash,
            user_hash=user_hash,
            outcome="recorded",
            expires_at=expires_at,
        )
        known = await self._state(self._states.replace_expired, fresh, now)
        return (known.code_hash, known.user_hash) == (code_hash, user_hash)

    async def find_code(self, code_hash: str, *, now: datetime) -> list[StateRecord]:
        """Return every unexpired record of this code."""
        wanted = {"p_code_hash": code_hash, "p_now": now}
        return self._states.every(await self._database.all(self._states.find_code, wanted))

    async def claim(
        self,
        *,
        nonce_hash: str,
        code_hash: str,
        user_hash: str,
        claimant: str,
        until: datetime,
        expires_at: datetime,
        now: datetime,
    ) -> StateRecord:
        """Claim the nonce for this code and user, if it is new, ``recorded``, ``retry``, or its claim ran out."""
        wanted = StateRecord(
            nonce_hash=nonce_hash,
            code_hash=code_hash,
            user_hash=user_hash,
            outcome="claimed",
            claimant=claimant,
            claim_until=until,
            expires_at=expires_at,
        )
        known = await self._state(self._states.claim, wanted, now)
        with suppress(StoreUnavailable):  # tidying up is no reason to fail
            await self._sweep(now)
        return known

    async def finish(self, *, nonce_hash: str, claimant: str, outcome: str) -> bool:
        """End ``claimant``'s claim with ``outcome``; say whether that was done."""
        done: dict[str, object] = {"p_nonce_hash": nonce_hash, "p_claimant": claimant, "p_outcome": outcome}
        return await self._database.count(self._states.finish, lambda: done, again_if_lost=False)

    async def _state(self, take: Executable, wanted: StateRecord, now: datetime) -> StateRecord:
        """Return the nonce's record after ``take`` (a conditional update) or, if there was none, the insertion."""
        key: dict[str, object] = {"p_nonce_hash": wanted.nonce_hash}
        wanted_values = values(wanted, now)
        for _ in range(_ROUNDS):
            known = await self._database.write_and_read(
                take, lambda: wanted_values, self._states.find, key, self._states.record
            )
            if known is not None:
                return known
            if await self._database.insert(self._states.insert, lambda: wanted_values):
                return wanted
        msg = "the table of states refuses the new row (IntegrityError); see whether a constraint was added to it"
        raise StoreUnavailable(msg)

    async def _sweep(self, now: datetime) -> None:
        rows = await self._database.all(self._states.expired, {"p_now": now})
        if rows:
            gone = {"p_gone": [row[0] for row in rows], "p_now": now}
            await self._database.count(self._states.sweep, lambda: gone, again=False)

    async def _write_and_get(
        self, write: Executable, parameters: Callable[[], dict[str, object]], user_id: str
    ) -> UserToken | None:
        tokens = self._tokens
        own = partial(tokens.own, user_id=user_id)
        return await self._database.write_and_read(write, parameters, tokens.get, tokens.key(user_id), own)

    async def _warn_about_foreign_keys(self) -> None:
        if not self._foreign_keys_unchecked:
            return
        self._foreign_keys_unchecked = False
        row = await self._database.first(text("PRAGMA foreign_keys"), {})
        if row is not None and not row[0]:
            _log.warning(
                "SQLite does not enforce foreign keys here: send PRAGMA foreign_keys=ON on every new connection, "
                "or connections of deleted users remain"
            )
