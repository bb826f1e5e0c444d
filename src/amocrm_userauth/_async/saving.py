"""A pair in hand is not dropped: it is saved, again and again, and kept in this process until it is."""

import logging
import os
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from typing import TypeVar

from amocrm_userauth._async.leaving import AsyncDepartures
from amocrm_userauth._async.ports import AsyncStore
from amocrm_userauth._core.events import Event, Recovered, SaveFailed
from amocrm_userauth._core.model import UserToken
from amocrm_userauth._pairs import AsyncFlights, AsyncTime
from amocrm_userauth.errors import AmoCRMUserAuthError, ConfigurationError, NotConnected, TokenNotSaved

__all__ = ["AsyncSaver", "AsyncScope", "Outcome", "Unsaved"]

T = TypeVar("T")
Outcome = UserToken | AmoCRMUserAuthError | None
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 2.0
_log = logging.getLogger("amocrm_userauth")


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsaved:
    """A pair that is not known to be stored. ``over``: the revision that it replaces, ``None`` for a new connection.

    Of a new connection, ``before`` is the code hash of the row that it found (``None``: there was none),
    ``departures`` the marks that it found; it may be saved until ``save_until``, and only if no other user has this
    login, where it has to be ``alone``. Callers may be served from a pair
    until ``serve_until`` (its lease), if its spend was undoubted. Both are times on the holder's clock.
    """

    token: UserToken
    over: str | None
    before: str | None = None
    departures: frozenset[str] = frozenset()
    save_until: float = inf
    alone: bool = False
    keep_previous: bool = False
    serve_until: float
    process: int = field(default_factory=os.getpid)


@dataclass(slots=True)
class AsyncScope:
    """What service objects on the same store share in this process."""

    flights: AsyncFlights[Outcome] = field(default_factory=AsyncFlights[Outcome])
    unsaved: dict[str, Unsaved] = field(default_factory=dict[str, Unsaved])
    saving: set[str] = field(default_factory=set[str])
    rescue_at: float = 0.0

    def waiting(self, user_id: str, now: float) -> Unsaved | None:
        """Return the pair that waits to be saved, unless somebody is at it. ``now`` is on the holder's clock."""
        unsaved = self.unsaved.get(user_id)
        if unsaved is None or user_id in self.saving:
            return None
        if unsaved.over is None and unsaved.process != os.getpid():
            self.unsaved.pop(user_id, None)  # after a fork a new connection is the parent's to save
            return None
        if now >= unsaved.save_until:
            self.unsaved.pop(user_id, None)
            _log.error("a new connection could not be saved; its user must connect again", extra={"user_id": user_id})
            return None
        return unsaved

    @staticmethod
    def of(store: AsyncStore) -> "AsyncScope":
        """Return the scope of ``store``'s data; one of its own for an object that cannot be held weakly."""
        owner, name = store.shared_scope()
        try:
            scopes = _scopes.setdefault(owner, {})
        except TypeError:
            return AsyncScope()
        return scopes.setdefault(name, AsyncScope())


_scopes: "weakref.WeakKeyDictionary[object, dict[str, AsyncScope]]" = weakref.WeakKeyDictionary()


class AsyncSaver:
    """Writes fresh pairs. ``tell`` is called with events."""

    def __init__(
        self,
        store: AsyncStore,
        scope: AsyncScope,
        departures: AsyncDepartures,
        *,
        budget: float,
        time: AsyncTime,
        tell: Callable[[Event], None],
    ) -> None:
        self._store = store
        self._scope = scope
        self._departures = departures
        self._budget = budget
        self._time = time
        self._tell = tell

    async def save(self, unsaved: Unsaved) -> UserToken | None:
        """Write the pair, however often that takes within the budget; return the row as it is afterwards.

        Raises:
            TokenNotSaved: it is kept in this process, and :meth:`rescue` tries again.
            NotConnected: the user disconnected meanwhile.
            ConfigurationError: the database does not know the user.

        """
        user_id = unsaved.token.user_id
        waiting = self._scope.unsaved.get(user_id)
        if unsaved.over is None or waiting is None or waiting.over is not None:
            self._scope.unsaved[user_id] = unsaved  # a new connection that waits replaces whatever a refresh brings
        self._scope.saving.add(user_id)
        try:
            return await self._persist(unsaved)
        finally:
            self._scope.saving.discard(user_id)

    async def _persist(self, unsaved: Unsaved) -> UserToken | None:
        user_id = unsaved.token.user_id
        give_up = self._time.monotonic() + self._budget
        row = await self._attempt(unsaved)
        if not isinstance(row, TokenNotSaved):
            self._saved(unsaved, recovered=False)
            return row
        _log.error("a fresh token pair could not be saved yet", extra={"user_id": user_id})
        self._tell(SaveFailed(user_id))
        pause = _FIRST_PAUSE
        while self._time.monotonic() + pause <= give_up:
            await self._time.sleep_jittered(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)
            if unsaved.over is None and self._scope.unsaved.get(user_id) is not unsaved:
                raise NotConnected(user_id=user_id)  # a commit would find that out by itself
            row = await self._attempt_again(unsaved)
            if not isinstance(row, TokenNotSaved):
                self._saved(unsaved, recovered=True)
                return row
        raise TokenNotSaved(user_id=user_id)

    async def rescue(self, unsaved: Unsaved) -> UserToken | None:
        """Try once more to write a pair whose save has failed; raises as :meth:`save` does."""
        row = await self._attempt_again(unsaved)
        if isinstance(row, TokenNotSaved):
            raise row
        self._saved(unsaved, recovered=True)
        return row

    def _saved(self, unsaved: Unsaved, *, recovered: bool) -> None:
        user_id = unsaved.token.user_id
        if self._scope.unsaved.get(user_id) is unsaved:
            self._scope.unsaved.pop(user_id, None)
        if recovered:
            self._tell(Recovered(user_id))

    async def _attempt_again(self, unsaved: Unsaved) -> UserToken | TokenNotSaved | None:
        if unsaved.over is not None:
            return await self._attempt(unsaved)
        token = unsaved.token
        # the first try may have been stored although it failed, or the user have left or connected elsewhere since
        try:
            row = await self._store.get(token.user_id, with_tokens=False)
            left = await self._left(unsaved) or await self._taken(unsaved)
        except Exception:  # noqa: BLE001 - whatever a store raises, the pair must not be lost
            return TokenNotSaved(user_id=token.user_id)
        if row is not None and row.revision == token.revision:
            return await self._unless_left(unsaved, row)
        if row is not None and row.code_hash != unsaved.before:
            return row
        if left or (row is None and unsaved.before is not None):
            return None
        saved = await self._attempt(unsaved)
        return await self._unless_left(unsaved, token) if saved is token else saved

    async def _unless_left(self, unsaved: Unsaved, row: UserToken) -> UserToken | TokenNotSaved | None:
        """Return our row, or take it back if the user left while it was being saved."""
        try:
            if not await self._left(unsaved):
                return row
            await self._store.delete(row.user_id, revision=row.revision)
        except Exception:  # noqa: BLE001 - it is stored; whether somebody left is to be seen yet
            return TokenNotSaved(user_id=row.user_id)
        return None

    async def _taken(self, unsaved: Unsaved) -> bool:
        """Say whether another user has connected with the same login while this connection waited."""
        if not unsaved.alone:
            return False
        pair = unsaved.token.pair
        users = await self._store.find_login(account_id=pair.account_id, amocrm_user_id=pair.amocrm_user_id)
        return any(user != unsaved.token.user_id for user in users)

    async def _left(self, unsaved: Unsaved) -> bool:
        return not await self._departures.seen(unsaved.token.user_id) <= unsaved.departures

    async def _refuse_unknown(self, user_id: str) -> None:
        """Give the pair up if the database does not know the user; anything else may be mended."""
        try:
            await self._store.check_user(user_id)
        except ConfigurationError:
            self._scope.unsaved.pop(user_id, None)
            raise
        except Exception:  # noqa: BLE001 - whatever a store raises, the pair must not be lost
            _log.debug("the user could not be looked up", extra={"user_id": user_id})

    async def _attempt(self, unsaved: Unsaved) -> UserToken | TokenNotSaved | None:
        token = unsaved.token
        try:
            if unsaved.over is not None:
                return await self._store.commit(token, over=unsaved.over, keep_previous=unsaved.keep_previous)
            await self._store.put(token)
        except ConfigurationError:
            if unsaved.over is None:
                await self._refuse_unknown(token.user_id)
        except Exception:  # noqa: BLE001 - whatever a store raises, the pair must not be lost
            _log.debug("saving a pair failed", extra={"user_id": token.user_id})
        else:
            return token
        return TokenNotSaved(user_id=token.user_id)
