"""A valid token for one user: from the store if it is good, else by one refresh that everybody shares."""

from dataclasses import dataclass
from datetime import datetime
from functools import partial
from random import sample

from amocrm_userauth._async.ports import AsyncStore
from amocrm_userauth._async.renewing import AsyncRenewer
from amocrm_userauth._async.saving import AsyncSaver, AsyncScope, Outcome
from amocrm_userauth._core.decisions import cooling_down, due_at, expires_at, may_answer_rejection
from amocrm_userauth._core.model import UserToken
from amocrm_userauth._core.secret import Secret
from amocrm_userauth._core.settings import Settings
from amocrm_userauth._pairs import AsyncFlight, AsyncTime, fresh
from amocrm_userauth.errors import (
    AmoCRMUnavailable,
    AmoCRMUserAuthError,
    ConfigurationError,
    GrantRevoked,
    NotConnected,
    ProtocolError,
    ReauthorizationRequired,
    RefreshInProgress,
    TokenNotSaved,
)

__all__ = ["AsyncServer"]

_AHEAD_WAIT = 1.0
_RESCUE_PAUSE, _RESCUED_AT_ONCE = 0.25, 4
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 0.5


@dataclass(frozen=True, slots=True)
class _Wish:
    """What a caller needs: a valid token, another one than ``rejected``, or (``force``) a new pair at any rate."""

    rejected: Secret | None = None
    force: str = ""


class AsyncServer:
    """Decides for each caller: serve, refresh, wait, or say why not (docs/concepts/grant.md)."""

    def __init__(
        self,
        store: AsyncStore,
        renewer: AsyncRenewer,
        saver: AsyncSaver,
        settings: Settings,
        *,
        scope: AsyncScope,
        time: AsyncTime,
        mine: "set[object]",
    ) -> None:
        self._store = store
        self._renewer = renewer
        self._saver = saver
        self._settings = settings
        self._scope = scope
        self._time = time
        self._mine = mine

    async def valid(self, user_id: str, rejected: Secret | None = None) -> UserToken:
        """Return a row whose access token is valid as far as is known, and not the ``rejected`` one if that can be."""
        return await self._serve(user_id, _Wish(rejected))

    async def renewed(self, user_id: str, revision: str) -> UserToken:
        """Return a row whose pair is another than ``revision``, also for a grant that was refused before."""
        return await self._serve(user_id, _Wish(force=revision))

    async def refreshed_by_us(self, user_id: str, revision: str) -> bool:
        """Refresh the pair at ``revision`` unless somebody else does or did; say whether it was us."""
        await self.rescued(user_id)
        row, now = await self._store.get(user_id, with_tokens=False), self._settings.clock()
        row = _usable(row, user_id, _Wish())
        leased = row.lease_until is not None and row.lease_until > now
        if row.revision != revision or leased:
            return False
        self._check_cool_down(row, now)
        patience = self._settings.exchange_budget + self._settings.save_budget + self._settings.wait_budget
        return await self._refresh(row, _Wish(), self._time.monotonic() + patience) is not None

    async def rescued(self, user_id: str) -> UserToken | None:
        """Save a pair that is still unsaved in this process, if there is one.

        Returns a row to serve if the save failed again and the pair may be served; raises ``TokenNotSaved`` if it may
        not. ``None`` otherwise.
        """
        if not self._scope.unsaved:
            return None
        self._rescue_others(user_id)
        unsaved = self._scope.waiting(user_id, self._time.monotonic())
        if unsaved is None:
            return None
        outcome = await self._start_rescue(user_id).wait()
        if isinstance(outcome, TokenNotSaved) and self._time.monotonic() < unsaved.serve_until:
            return unsaved.token
        if isinstance(outcome, AmoCRMUserAuthError):
            raise fresh(outcome)
        return None

    def _rescue_others(self, user_id: str) -> None:
        """Begin to save what other users' calls could not: those may never come to this process again."""
        now, scope = self._time.monotonic(), self._scope
        under_way = sum(scope.flights.find(("save", other)) is not None for other in list(scope.unsaved))
        if now < scope.rescue_at or under_way >= _RESCUED_AT_ONCE:
            return
        scope.rescue_at = now + _RESCUE_PAUSE
        others = list(scope.unsaved)
        for other in sample(others, min(_RESCUED_AT_ONCE, len(others))):
            if other != user_id and scope.waiting(other, now) is not None:
                self._start_rescue(other)

    def _start_rescue(self, user_id: str) -> "AsyncFlight[Outcome]":
        return self._scope.flights.start(("save", user_id), partial(self._rescue, user_id), self._mine)

    def _under_way(self, row: UserToken) -> bool:
        return self._scope.flights.find(self._key(row)) is not None

    def _key(self, row: UserToken) -> tuple[str, str, str, str]:
        # with the fingerprint: a deployment with wrong settings must not speak for one with the right ones
        return ("refresh", row.user_id, row.revision, self._settings.fingerprint)

    async def _rescue(self, user_id: str) -> Outcome:
        unsaved = self._scope.unsaved.get(user_id)
        if unsaved is None:
            return None
        try:
            return await self._saver.rescue(unsaved) or NotConnected(user_id=user_id)
        except AmoCRMUserAuthError as error:
            return error

    async def _serve(self, user_id: str, wish: _Wish) -> UserToken:
        rescued = await self.rescued(user_id)
        if rescued is not None and not wish.force:
            return rescued
        give_up, pause = self._time.monotonic() + self._settings.wait_budget, _FIRST_PAUSE
        while True:
            row, now = _usable(await self._store.get(user_id), user_id, wish), self._settings.clock()
            if self._good(row, now, wish):
                row = row if wish.force else await self._ahead(row, now)
                if self._still_good(row, wish):
                    return row
                continue
            self._check_cool_down(row, now)
            if row.lease_until is None or row.lease_until <= now or self._under_way(row):
                outcome = await self._refresh(row, wish, give_up)
                if isinstance(outcome, UserToken) and self._still_good(outcome, wish):
                    return outcome
            if self._time.monotonic() + pause > give_up:
                raise RefreshInProgress(user_id=user_id, retry_after=1.0)
            await self._time.sleep_jittered(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _good(self, row: UserToken, now: datetime, wish: _Wish) -> bool:
        if wish.force:
            return row.revision != wish.force
        if expires_at(row) <= now:
            return False
        if wish.rejected is None or row.pair.access_token != wish.rejected.reveal():
            return True
        refreshing = row.lease_until is not None and row.lease_until > now
        return not refreshing and not may_answer_rejection(row, now)

    def _still_good(self, row: UserToken, wish: _Wish) -> bool:
        """Look at the time again: a wait, or a process that was stopped, may have outlasted the token."""
        return bool(wish.force) or expires_at(row) > self._settings.clock()

    def _check_cool_down(self, row: UserToken, now: datetime) -> None:
        if row.retry_at is None or not cooling_down(row, now, self._settings.fingerprint):
            return
        wait = (row.retry_at - now).total_seconds()
        code = row.failure.partition(":")[0]
        if code == ConfigurationError.code:
            msg = f"amoCRM refused the client's settings a moment ago; they are tried again in {wait:.0f} s"
            raise ConfigurationError(msg, user_id=row.user_id)
        if code == ProtocolError.code:
            msg = f"amoCRM's last answer was not understood; it is asked again in {wait:.0f} s"
            raise ProtocolError(msg, user_id=row.user_id)
        raise AmoCRMUnavailable(user_id=row.user_id, retry_after=wait)

    async def _refresh(self, row: UserToken, wish: _Wish, give_up: float) -> Outcome:
        """Wait for the refresh of this row; raise what it failed with."""
        rejected, force = wish.rejected is not None, bool(wish.force)
        work = partial(self._renewer.renew, row.user_id, row.revision, rejected=rejected, force=force)
        flight = self._scope.flights.start(self._key(row), work, self._mine)
        try:
            outcome = await flight.wait(max(give_up - self._time.monotonic(), 0.0))
        except TimeoutError:
            raise RefreshInProgress(user_id=row.user_id, retry_after=1.0) from None
        if isinstance(outcome, AmoCRMUserAuthError):
            raise fresh(outcome)
        return outcome

    async def _ahead(self, row: UserToken, now: datetime) -> UserToken:
        """Return the row; near its end, one caller refreshes first and waits for that a second at most."""
        if (row.pair.expires_at - now).total_seconds() > self._settings.leeway:
            return row  # it is never due sooner than that
        leased = row.lease_until is not None and row.lease_until > now
        cooling = row.retry_at is not None and row.retry_at > now
        if now < due_at(row, self._settings.leeway) or leased or cooling or self._under_way(row):
            return row
        try:
            outcome = await self._refresh(row, _Wish(), self._time.monotonic() + _AHEAD_WAIT)
        except ReauthorizationRequired:
            raise
        except AmoCRMUserAuthError:
            return row
        return outcome if isinstance(outcome, UserToken) and self._good(outcome, now, _Wish()) else row


def _usable(row: UserToken | None, user_id: str, wish: _Wish) -> UserToken:
    if row is None:
        raise NotConnected(user_id=user_id)
    if row.reauth_reason is not None and not wish.force:
        raise GrantRevoked(user_id=user_id, reason=row.reauth_reason)
    return row
