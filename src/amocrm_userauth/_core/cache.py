"""Recently read tokens, so that a call need not ask the store: a bounded staleness for speed."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from amocrm_userauth._core.model import UserToken

__all__ = ["Cached", "TokenCache"]

_MAX_USERS = 100_000


@dataclass(frozen=True, slots=True)
class Cached:
    """A row and until when it may be served without another look; ``token`` is its access token, at hand."""

    row: UserToken
    good_until: datetime
    token: str = field(repr=False)


class TokenCache:
    """Rows by canonical user id. With a ttl of 0 it stays empty."""

    __slots__ = ("_clock", "_rows", "_ttl", "changes")

    def __init__(self, ttl: float, clock: Callable[[], datetime]) -> None:
        self._ttl = timedelta(seconds=ttl)
        self._clock = clock
        self._rows: dict[str, Cached] = {}
        self.changes = 0

    def find(self, user_id: str) -> Cached | None:
        """Return what may still be served."""
        try:
            cached = self._rows.get(user_id)
        except TypeError:  # no text at all; what follows says so
            return None
        return cached if cached is not None and self._clock() < cached.good_until else None

    def keep(self, row: UserToken, due: datetime, *, as_of: int) -> None:
        """Serve ``row`` for the ttl, but not past ``due``.

        Unless something was dropped since ``changes`` was ``as_of``: the row may have been read before that.
        """
        if not self._ttl or as_of != self.changes:
            return
        if len(self._rows) >= _MAX_USERS and row.user_id not in self._rows:
            self._rows.clear()
        self._rows[row.user_id] = Cached(row, min(self._clock() + self._ttl, due), row.pair.access_token)

    def drop(self, user_id: str) -> None:
        """Forget the user."""
        self.changes += 1
        self._rows.pop(user_id, None)
