"""The store for tests, demos and single-process scripts: everything is gone when the process ends."""

import threading
from dataclasses import replace
from datetime import datetime
from itertools import islice

from amocrm_userauth._async.ports import AsyncStateStore, AsyncTokenStore
from amocrm_userauth._core.model import Failure, StateRecord, UserToken

__all__ = ["AsyncMemoryTokenStore"]

_SWEEP = 8


class AsyncMemoryTokenStore(AsyncTokenStore, AsyncStateStore):
    """Keeps tokens and states in this process's memory, for any number of threads and event loops.

    Everything is lost with the process, and other processes see none of it: use it in tests, demos and scripts, and a
    database wherever a connection has to last.
    """

    def __init__(self) -> None:
        """Start empty."""
        # Held for dictionary work only, never across an await: so it may be a lock of threads in both worlds.
        self._lock = threading.Lock()
        self._rows: dict[str, UserToken] = {}
        self._states: dict[str, StateRecord] = {}

    async def get(self, user_id: str, *, with_tokens: bool = True) -> UserToken | None:  # noqa: ARG002 - costs nothing
        """Return the user's row, or ``None``."""
        return self._rows.get(self.canonical_user_id(user_id))

    async def put(self, token: UserToken) -> None:
        """Insert or replace the whole row of ``token.user_id``."""
        user_id = self.canonical_user_id(token.user_id)
        with self._lock:
            self._rows[user_id] = token

    async def delete(self, user_id: str, *, revision: str | None = None) -> bool:
        """Delete the user's row (only if it is at ``revision``, where given); say whether there was one."""
        user_id = self.canonical_user_id(user_id)
        with self._lock:
            row = self._rows.get(user_id)
            if row is None or revision not in {None, row.revision}:
                return False
            del self._rows[user_id]
            return True

    async def take_lease(
        self, user_id: str, *, revision: str, holder: str, until: datetime, now: datetime, rejected: bool = False
    ) -> UserToken | None:
        """Give ``holder`` the lease on ``revision`` until ``until``, if nobody else has it; return the row."""
        user_id = self.canonical_user_id(user_id)
        with self._lock:
            row = self._rows.get(user_id)
            if row is None or row.revision != revision:
                return row
            taken = row.lease_holder not in {None, holder}
            if taken and row.lease_until is not None and row.lease_until > now:
                return row
            self._rows[user_id] = replace(
                row,
                lease_holder=holder,
                lease_until=until,
                in_doubt=row.in_doubt or taken,
                rejected_at=now if rejected else row.rejected_at,
            )
            return self._rows[user_id]

    async def commit(self, token: UserToken, *, over: str, keep_previous: bool) -> UserToken | None:
        """Replace the pair of revision ``over`` by that of ``token``; return the row as it is afterwards."""
        user_id = self.canonical_user_id(token.user_id)
        with self._lock:
            row = self._rows.get(user_id)
            if row is None or row.revision != over:
                return row
            self._rows[user_id] = UserToken(
                user_id=user_id,
                pair=token.pair,
                revision=token.revision,
                client_id=token.client_id,
                pair_saved_at=token.pair_saved_at,
                previous_refresh_token=token.previous_refresh_token if keep_previous or row.in_doubt else None,
                code_hash=row.code_hash,
                rejected_at=row.rejected_at,
            )
            return self._rows[user_id]

    async def note_failure(self, user_id: str, *, revision: str, holder: str, failure: Failure) -> bool:
        """End ``holder``'s lease on ``revision`` and write ``failure``; say whether that was done."""
        user_id = self.canonical_user_id(user_id)
        with self._lock:
            row = self._rows.get(user_id)
            if row is None or row.revision != revision or row.lease_holder != holder:
                return False
            marked = failure if failure.reauth_reason is not None else row
            self._rows[user_id] = replace(
                row,
                lease_holder=None,
                lease_until=None,
                in_doubt=row.in_doubt or failure.in_doubt,
                failures=failure.failures,
                retry_at=failure.retry_at,
                failure=failure.failure,
                reauth_reason=marked.reauth_reason,
                reauth_at=marked.reauth_at,
            )
            return True

    async def list_due(
        self, *, saved_before: datetime, after: tuple[datetime, str] | None = None, limit: int = 100
    ) -> list[UserToken]:
        """Return one page of unmarked rows whose pair was saved before ``saved_before``, oldest first."""
        with self._lock:
            every = list(self._rows.values())
        rows = [row for row in every if row.reauth_reason is None and row.pair_saved_at < saved_before]
        rows.sort(key=_due_key)
        return [row for row in rows if after is None or _due_key(row) > after][:limit]

    async def find_login(self, *, account_id: str, amocrm_user_id: str) -> list[str]:
        """Return the user ids whose pair belongs to this amoCRM login."""
        with self._lock:
            rows = list(self._rows.values())
        login = (account_id, amocrm_user_id)
        return [row.user_id for row in rows if (row.pair.account_id, row.pair.amocrm_user_id) == login]

    async def check_user(self, user_id: str) -> None:
        """Raise ``ValueError`` if this cannot be a user id; every other user can be stored."""
        self.canonical_user_id(user_id)

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
        with self._lock:
            self._sweep(now)
            known = self._states.setdefault(nonce_hash, fresh)
            if known.expires_at <= now:
                known = self._states[nonce_hash] = fresh
        return (known.code_hash, known.user_hash) == (code_hash, user_hash)

    async def find_code(self, code_hash: str, *, now: datetime) -> list[StateRecord]:
        """Return every unexpired record of this code."""
        with self._lock:
            # no comprehension in here: on CPython 3.13 an interrupt within it leaves the lock taken
            every = list(self._states.values())
        return [known for known in every if known.code_hash == code_hash and known.expires_at > now]

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
        claimed = StateRecord(
            nonce_hash=nonce_hash,
            code_hash=code_hash,
            user_hash=user_hash,
            outcome="claimed",
            claimant=claimant,
            claim_until=until,
            expires_at=expires_at,
        )
        with self._lock:
            self._sweep(now)
            known = self._states.get(nonce_hash)
            if known is None or _may_claim(known, claimed, now):
                self._states[nonce_hash] = known = claimed
            return known

    async def finish(self, *, nonce_hash: str, claimant: str, outcome: str) -> bool:
        """End ``claimant``'s claim with ``outcome``; say whether that was done."""
        with self._lock:
            known = self._states.get(nonce_hash)
            if known is None or known.outcome != "claimed" or known.claimant != claimant:
                return False
            self._states[nonce_hash] = replace(known, outcome=outcome, claimant="", claim_until=None)
            return True

    def _sweep(self, now: datetime) -> None:
        # Records come in about the order in which they expire, so the oldest few are the ones to look at.
        for nonce_hash in [known.nonce_hash for known in islice(self._states.values(), _SWEEP)]:
            if self._states[nonce_hash].expires_at <= now:
                del self._states[nonce_hash]


def _due_key(row: UserToken) -> tuple[datetime, str]:
    return (row.pair_saved_at, row.user_id)


def _may_claim(known: StateRecord, wanted: StateRecord, now: datetime) -> bool:
    if known.expires_at <= now:
        return True
    if (known.code_hash, known.user_hash) != (wanted.code_hash, wanted.user_hash):
        return False
    ran_out = known.outcome == "claimed" and (known.claim_until is None or known.claim_until <= now)
    return ran_out or known.outcome in {"recorded", "retry"}
