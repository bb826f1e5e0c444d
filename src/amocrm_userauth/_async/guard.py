"""A store of any make, whose failures are ours: nothing of a driver's exception leaks out."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TypeVar

from amocrm_userauth._async.ports import AsyncStore
from amocrm_userauth._core.model import Failure, StateRecord, UserToken, check_user_id
from amocrm_userauth.errors import AmoCRMUserAuthError, StoreUnavailable

__all__ = ["AsyncGuard"]

T = TypeVar("T")


class AsyncGuard(AsyncStore):
    """Passes every call on. Whatever the store raises, other than an error of ours, becomes ``StoreUnavailable``."""

    def __init__(self, store: AsyncStore) -> None:
        self._store = store

    async def _call(self, step: Callable[[], Awaitable[T]], user_id: str = "") -> T:
        try:
            return await step()
        except AmoCRMUserAuthError as error:
            failure = error
        except Exception as error:  # noqa: BLE001 - its text may hold what was stored
            failure = StoreUnavailable(f"the token store raised {type(error).__name__}", user_id=user_id)
        failure.user_id = failure.user_id or user_id
        raise failure from None

    async def get(self, user_id: str, *, with_tokens: bool = True) -> UserToken | None:
        """See the protocol."""
        row = await self._call(lambda: self._store.get(user_id, with_tokens=with_tokens), user_id)
        return _own(row, user_id)

    async def put(self, token: UserToken) -> None:
        """See the protocol."""
        await self._call(lambda: self._store.put(token), token.user_id)

    async def delete(self, user_id: str, *, revision: str | None = None) -> bool:
        """See the protocol."""
        return await self._call(lambda: self._store.delete(user_id, revision=revision), user_id)

    async def take_lease(
        self, user_id: str, *, revision: str, holder: str, until: datetime, now: datetime, rejected: bool = False
    ) -> UserToken | None:
        """See the protocol."""
        row = await self._call(
            lambda: self._store.take_lease(
                user_id, revision=revision, holder=holder, until=until, now=now, rejected=rejected
            ),
            user_id,
        )
        return _own(row, user_id)

    async def commit(self, token: UserToken, *, over: str, keep_previous: bool) -> UserToken | None:
        """See the protocol."""
        row = await self._call(lambda: self._store.commit(token, over=over, keep_previous=keep_previous), token.user_id)
        return _own(row, token.user_id)

    async def note_failure(self, user_id: str, *, revision: str, holder: str, failure: Failure) -> bool:
        """See the protocol."""
        return await self._call(
            lambda: self._store.note_failure(user_id, revision=revision, holder=holder, failure=failure), user_id
        )

    async def list_due(
        self, *, saved_before: datetime, after: tuple[datetime, str] | None = None, limit: int = 100
    ) -> list[UserToken]:
        """See the protocol."""
        return await self._call(lambda: self._store.list_due(saved_before=saved_before, after=after, limit=limit))

    async def find_login(self, *, account_id: str, amocrm_user_id: str) -> list[str]:
        """See the protocol."""
        return await self._call(lambda: self._store.find_login(account_id=account_id, amocrm_user_id=amocrm_user_id))

    async def check_user(self, user_id: str) -> None:
        """See the protocol."""
        await self._call(lambda: self._store.check_user(user_id), user_id)

    def canonical_user_id(self, user_id: str) -> str:
        """Return the store's one spelling of ``user_id``; ``ValueError`` if it cannot be an id."""
        return self._store.canonical_user_id(check_user_id(user_id))

    def shared_scope(self) -> tuple[object, str]:
        """See the protocol."""
        return self._store.shared_scope()

    async def remember_code(
        self, *, nonce_hash: str, code_hash: str, user_hash: str, expires_at: datetime, now: datetime
    ) -> bool:
        """See the protocol."""
        return await self._call(
            lambda: self._store.remember_code(
                nonce_hash=nonce_hash, code_hash=code_hash, user_hash=user_hash, expires_at=expires_at, now=now
            )
        )

    async def find_code(self, code_hash: str, *, now: datetime) -> list[StateRecord]:
        """See the protocol."""
        return await self._call(lambda: self._store.find_code(code_hash, now=now))

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
        """See the protocol."""
        return await self._call(
            lambda: self._store.claim(
                nonce_hash=nonce_hash,
                code_hash=code_hash,
                user_hash=user_hash,
                claimant=claimant,
                until=until,
                expires_at=expires_at,
                now=now,
            )
        )

    async def finish(self, *, nonce_hash: str, claimant: str, outcome: str) -> bool:
        """See the protocol."""
        return await self._call(lambda: self._store.finish(nonce_hash=nonce_hash, claimant=claimant, outcome=outcome))


def _own(row: UserToken | None, user_id: str) -> UserToken | None:
    return row if row is None or row.user_id == user_id else None
