"""What a store must offer: one atomic step a method, none of which spans a call to amoCRM."""

from datetime import datetime
from typing import Protocol

from amocrm_userauth._core.model import Failure, StateRecord, UserToken, check_user_id

__all__ = ["AsyncStateStore", "AsyncStore", "AsyncTokenStore"]


class AsyncTokenStore(Protocol):
    """Keeps one row per user and hands out the right to refresh it.

    Subclass it (then the methods with a body are given) or match its shape. Every method is one atomic step: it
    happens wholly or not at all, also against other processes. User ids compare exactly, character by character; a
    row is handed out only if its id equals the asked one. Anything that fails below is raised as
    ``StoreUnavailable`` (or ``ConfigurationError`` where only a developer can help). All datetimes are aware UTC.
    The synchronous service calls its store from several threads at once. The conformance suite is
    ``amocrm_userauth.testing.AsyncStoreContract``.
    """

    async def get(self, user_id: str, *, with_tokens: bool = True) -> UserToken | None:
        """Return the user's row, or ``None``.

        With ``with_tokens=False`` the pair's tokens may be ``""``, so that the columns need not be read.
        """
        ...

    async def put(self, token: UserToken) -> None:
        """Insert or replace the whole row of ``token.user_id``: the last writer wins.

        A lease, a doubt, a mark or a cool-down of the replaced row ends with it (``token`` carries none).
        """
        ...

    async def delete(self, user_id: str, *, revision: str | None = None) -> bool:
        """Delete the user's row (only if it is at ``revision``, where given); say whether there was one."""
        ...

    async def take_lease(
        self, user_id: str, *, revision: str, holder: str, until: datetime, now: datetime, rejected: bool = False
    ) -> UserToken | None:
        """Give ``holder`` the right to spend this revision's refresh token until ``until``, if nobody has it.

        Granted only if the row is at ``revision`` and its lease is free, run out (``lease_until <= now``), or already
        ``holder``'s. Taking over another's run-out lease sets ``in_doubt``. With ``rejected`` a granted lease notes
        ``rejected_at = now``. Returns the row as it is afterwards: granted if its ``lease_holder`` is ``holder``.
        ``None`` without a row.
        """
        ...

    async def commit(self, token: UserToken, *, over: str, keep_previous: bool) -> UserToken | None:
        """Replace the pair of revision ``over`` by that of ``token``; the lease does not matter, the revision does.

        Writes ``pair``, ``revision``, ``client_id`` and ``pair_saved_at``. ``token.previous_refresh_token`` is the
        token that was spent: it is stored if ``keep_previous`` or if the stored row is in doubt, else ``None`` is.
        Ends lease, doubt, failures, cool-down and mark; ``code_hash`` and ``rejected_at`` stay. A row at another
        revision is left alone. Returns the row as it is afterwards (its ``revision`` tells), ``None`` without one.
        """
        ...

    async def note_failure(self, user_id: str, *, revision: str, holder: str, failure: Failure) -> bool:
        """End ``holder``'s lease on ``revision`` and write ``failure``; change nothing if it is not theirs (any more).

        Says whether it was written.
        """
        ...

    async def list_due(
        self, *, saved_before: datetime, after: tuple[datetime, str] | None = None, limit: int = 100
    ) -> list[UserToken]:
        """Return one page of unmarked rows whose pair was saved before ``saved_before``, oldest first.

        Ordered by ``(pair_saved_at, user_id)``; ``after`` is that key of the last row seen. Tokens may be ``""``.
        """
        ...

    async def find_login(self, *, account_id: str, amocrm_user_id: str) -> list[str]:
        """Return the user ids whose pair belongs to this amoCRM login (its user in that account)."""
        ...

    async def check_user(self, user_id: str) -> None:
        """Raise ``ConfigurationError`` if this user cannot be stored (the application's table does not know them)."""

    def canonical_user_id(self, user_id: str) -> str:
        """Return the one spelling of ``user_id`` that the store uses. Raises ``ValueError`` if it cannot be an id."""
        return check_user_id(user_id)

    def shared_scope(self) -> tuple[object, str]:
        """Return what store objects on the same data share in this process: an object (weakly held) and a name."""
        return (self, "")


class AsyncStateStore(Protocol):
    """Remembers nonces and codes (only their hashes), so that each is accepted once."""

    async def remember_code(
        self, *, nonce_hash: str, code_hash: str, user_hash: str, expires_at: datetime, now: datetime
    ) -> bool:
        """Record that this code came with this nonce, as ``recorded``; the first code of a nonce stands.

        Says whether the nonce's record now holds this code and this user (so a repeated call is true again).
        """
        ...

    async def find_code(self, code_hash: str, *, now: datetime) -> list[StateRecord]:
        """Return every unexpired record of this code."""
        ...

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
        """Claim the nonce for this code and user, if it is new, ``recorded``, ``retry``, or its claim ran out.

        An existing record is claimed only if its code and user are the same. Returns the record as it is afterwards:
        granted if it is ``claimed`` by ``claimant``. Deletes some expired records on the way.
        """
        ...

    async def finish(self, *, nonce_hash: str, claimant: str, outcome: str) -> bool:
        """End ``claimant``'s claim with ``outcome``; change nothing if it is not theirs. Says whether it was."""
        ...


class AsyncStore(AsyncTokenStore, AsyncStateStore, Protocol):
    """What a service is given as ``store``: both protocols in one object."""
