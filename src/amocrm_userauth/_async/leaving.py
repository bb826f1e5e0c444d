"""What a disconnect leaves behind: a mark, so that no process saves a connection that the user has left."""

import hashlib
from datetime import timedelta
from secrets import token_hex

from amocrm_userauth._async.ports import AsyncStateStore
from amocrm_userauth._core.settings import Settings

__all__ = ["AsyncDepartures"]

# longer than a connection may wait to be saved, by much more than clocks differ
_KEPT = timedelta(hours=2)


class AsyncDepartures:
    """The marks of disconnects, kept among the codes for longer than a connection may wait to be saved.

    A new connection is written without a condition: the last one wins. One that could not be written at once may be
    tried again by a process that knows nothing of a disconnect elsewhere, so it compares the marks of then and now.
    """

    def __init__(self, store: AsyncStateStore, settings: Settings) -> None:
        self._store = store
        self._settings = settings

    async def note(self, user_id: str) -> None:
        """Leave a mark. Comes before the row is deleted: whoever does not see it yet has its row deleted."""
        now = self._settings.clock()
        await self._store.remember_code(
            nonce_hash=hashlib.sha256(f"left\0{token_hex(16)}".encode()).hexdigest(),
            code_hash=_mark(user_id),
            user_hash="",
            expires_at=now + _KEPT,
            now=now,
        )

    async def seen(self, user_id: str) -> frozenset[str]:
        """Return the marks that this user's disconnects have left."""
        records = await self._store.find_code(_mark(user_id), now=self._settings.clock())
        return frozenset(record.nonce_hash for record in records)


def _mark(user_id: str) -> str:
    return hashlib.sha256(b"left\0" + user_id.encode()).hexdigest()
