"""The holder's side of a refresh: under a lease, spend the token once and bring its pair home."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from secrets import token_hex

from amocrm_userauth._async.endpoint import AsyncEndpoint
from amocrm_userauth._async.ports import AsyncStore
from amocrm_userauth._async.saving import AsyncSaver, Outcome, Unsaved
from amocrm_userauth._core.answers import (
    Answer,
    Granted,
    Late,
    Misconfigured,
    NotUnderstood,
    Refused,
    Transient,
)
from amocrm_userauth._core.decisions import cool_down, cooling_down
from amocrm_userauth._core.events import Event, ReauthorizationRequired, Refreshed
from amocrm_userauth._core.model import Failure, TokenPair, UserToken
from amocrm_userauth._core.secret import Secret
from amocrm_userauth._core.settings import Settings
from amocrm_userauth._pairs import AsyncTime
from amocrm_userauth.errors import (
    AmoCRMUnavailable,
    AmoCRMUserAuthError,
    ConfigurationError,
    GrantRevoked,
    NotConnected,
    ProtocolError,
    StoreUnavailable,
    TokenNotSaved,
)

__all__ = ["AsyncRenewer"]

_SILENT_HOLDER = 5.0
_LOOK_AGAIN = 0.25
_MISCONFIGURED_PAUSE = timedelta(seconds=30)
_log = logging.getLogger("amocrm_userauth")


@dataclass(slots=True)
class _Lease:
    """The right to spend ``row``'s refresh token. ``deadline`` and ``ends`` are on the holder's own clock."""

    row: UserToken
    holder: str
    deadline: float
    ends: float


class AsyncRenewer:
    """Refreshes one user at a time; correctness rests on the lease alone."""

    def __init__(
        self,
        store: AsyncStore,
        endpoint: AsyncEndpoint,
        saver: AsyncSaver,
        settings: Settings,
        *,
        time: AsyncTime,
        tell: Callable[[Event], None],
    ) -> None:
        self._store = store
        self._endpoint = endpoint
        self._saver = saver
        self._settings = settings
        self._time = time
        self._tell = tell

    async def renew(self, user_id: str, revision: str, *, rejected: bool, force: bool = False) -> Outcome:
        """Refresh the pair at ``revision``, if nobody else does.

        Returns the row with the new pair, an error that every waiting caller gets, or ``None`` where only another
        look at the store can tell: another holds the lease or was faster, or this holder's time is over.
        """
        try:
            lease = await self._take(user_id, revision, rejected=rejected)
        except AmoCRMUserAuthError as error:
            return error
        if not isinstance(lease, _Lease):
            return lease
        if self._overtaken(lease.row, force=force):
            await self._end(lease, _as_it_was(lease.row))
            return None
        try:
            return await self._spend(lease)
        except TokenNotSaved as error:
            return error  # the lease stays: until it runs out nobody else need spend a token whose pair is here
        except AmoCRMUserAuthError as error:
            await self._end(lease, _as_it_was(lease.row))
            return error

    async def _take(self, user_id: str, revision: str, *, rejected: bool) -> "_Lease | Outcome":
        # the clock starts before the call: a lease that was long in coming is shorter by that
        started, now, holder = self._time.monotonic(), self._settings.clock(), token_hex(16)
        take = partial(
            self._store.take_lease,
            user_id,
            revision=revision,
            holder=holder,
            until=self._settings.lease_until(now),
            now=now,
            rejected=rejected,
        )
        try:
            row = await take()
        except StoreUnavailable:
            row = await take()  # it may have been granted before the failure; the same holder gets it again
        if row is None:
            return NotConnected(user_id=user_id)
        if row.revision != revision or row.lease_holder != holder:
            return None
        return _Lease(row, holder, started + self._settings.exchange_budget, started + self._settings.lease)

    def _overtaken(self, row: UserToken, *, force: bool) -> bool:
        """Say whether another holder failed between the caller's look and this lease: callers then look again."""
        if row.reauth_reason is not None and not force:
            return True
        return cooling_down(row, self._settings.clock(), self._settings.fingerprint)

    async def _spend(self, lease: _Lease) -> Outcome:
        made_with = lease.row.client_id
        if made_with and made_with != self._settings.integration.client_id:
            message = "this grant was made by another client_id; configure that one, or let the user connect again"
            return await self._conclude(lease, Misconfigured(message))
        token = Secret(lease.row.pair.refresh_token)
        answer = await self._ask(lease, token)
        if isinstance(answer, Granted):
            return await self._bring_home(lease, answer.pair, token, keep=lease.row.in_doubt)
        if isinstance(answer, Refused):
            return await self._refused(lease, answer)
        return await self._conclude(lease, answer)

    async def _ask(self, lease: _Lease, token: Secret) -> Answer:
        pair = lease.row.pair
        if lease.row.in_doubt and pair.api_domain:
            found = await self._endpoint.locate(token, pair=pair, deadline=lease.deadline)
            if found.dead:
                return Refused("revoked")
        return await self._present(lease, token)

    async def _present(self, lease: _Lease, token: Secret) -> Answer:
        if self._time.monotonic() >= lease.deadline:
            return Late()
        return await self._endpoint.refresh(token, pair=lease.row.pair, deadline=lease.deadline)

    async def _bring_home(self, lease: _Lease, pair: TokenPair, spent: Secret, *, keep: bool) -> Outcome:
        old = lease.row
        token = UserToken(
            user_id=old.user_id,
            pair=_completed(pair, old.pair),
            revision=token_hex(16),
            client_id=self._settings.integration.client_id,
            code_hash=old.code_hash,
            previous_refresh_token=spent.reveal,
            pair_saved_at=self._settings.clock(),
            rejected_at=old.rejected_at,
        )
        unsaved = Unsaved(
            token=token,
            over=old.revision,
            keep_previous=keep,
            serve_until=0.0 if keep else lease.ends,
        )
        row = await self._saver.save(unsaved)
        if row is None:
            return NotConnected(user_id=old.user_id)
        if row.revision != token.revision:
            return None
        _log.debug("refreshed", extra={"user_id": old.user_id})
        self._tell(Refreshed(old.user_id, in_doubt=keep))
        return row

    async def _refused(self, lease: _Lease, refusal: Refused) -> Outcome:
        current = await self._look_again(lease)
        if not isinstance(current, UserToken):
            return current
        if lease.row.previous_refresh_token is not None:
            fallback = await self._fall_back(lease)
            if not isinstance(fallback, Refused):
                return fallback
        return await self._condemn(lease, refusal)

    async def _look_again(self, lease: _Lease) -> Outcome:
        """Return the row if it still counts: at this revision, under this lease, and no silent holder has committed."""
        until = min(self._time.monotonic() + _SILENT_HOLDER, lease.deadline)
        while True:
            row = await self._store.get(lease.row.user_id, with_tokens=False)
            if row is None:
                return NotConnected(user_id=lease.row.user_id)
            if row.revision != lease.row.revision or row.lease_holder != lease.holder:
                return None
            if not row.in_doubt or self._time.monotonic() + _LOOK_AGAIN > until:
                return row
            await self._time.sleep(_LOOK_AGAIN)

    async def _fall_back(self, lease: _Lease) -> "Outcome | Refused":
        token = Secret(_text(lease.row.previous_refresh_token))
        answer = await self._present(lease, token)
        if isinstance(answer, Refused):
            return answer
        if isinstance(answer, Granted):
            return await self._bring_home(lease, answer.pair, token, keep=True)
        return await self._conclude(lease, answer)

    async def _condemn(self, lease: _Lease, refusal: Refused) -> Outcome:
        user_id, now = lease.row.user_id, self._settings.clock()
        marked = await self._end(lease, Failure(reauth_reason=refusal.reason, reauth_at=now))
        if not marked:
            return None
        _log.warning("amoCRM refused the grant: %s", refusal.reason, extra={"user_id": user_id})
        self._tell(ReauthorizationRequired(user_id, refusal.reason))
        return GrantRevoked(user_id=user_id, reason=refusal.reason)

    async def _conclude(self, lease: _Lease, answer: Answer) -> Outcome:
        """Note why there is no pair, end the lease, and return what the callers get."""
        row, now = lease.row, self._settings.clock()
        if isinstance(answer, Late):
            await self._end(lease, _as_it_was(row))
            return None
        failures = row.failures + 1
        if isinstance(answer, Misconfigured):
            code = f"{ConfigurationError.code}:{self._settings.fingerprint}"
            failure = replace(_as_it_was(row), failure=code, retry_at=now + _MISCONFIGURED_PAUSE)
            error: AmoCRMUserAuthError = ConfigurationError(answer.message, user_id=row.user_id)
        elif isinstance(answer, Transient):
            pause = cool_down(failures, answer.wait)
            error = AmoCRMUnavailable(answer.message, user_id=row.user_id, retry_after=pause.total_seconds())
            failure = Failure(in_doubt=answer.doubt, failures=failures, retry_at=now + pause, failure=error.code)
        else:
            message = answer.message if isinstance(answer, NotUnderstood) else "amoCRM's answer fits no refresh"
            doubt = isinstance(answer, NotUnderstood) and answer.doubt
            error = ProtocolError(message, user_id=row.user_id)
            retry_at = now + cool_down(failures, None)
            failure = Failure(in_doubt=doubt, failures=failures, retry_at=retry_at, failure=error.code)
        await self._end(lease, failure)
        _log.debug("no refresh: %s", error.code, extra={"user_id": row.user_id})
        return error

    async def _end(self, lease: _Lease, failure: Failure) -> bool:
        row = lease.row
        for _ in range(2):
            try:
                return await self._store.note_failure(
                    row.user_id, revision=row.revision, holder=lease.holder, failure=failure
                )
            except StoreUnavailable:
                # not noted: the lease runs out unreported, which puts the revision in doubt
                await self._time.sleep_jittered(_LOOK_AGAIN)
        return False


def _as_it_was(row: UserToken) -> Failure:
    return Failure(failures=row.failures, retry_at=row.retry_at, failure=row.failure)


def _text(value: object) -> str:
    return str(value() if callable(value) else value)


def _completed(new: TokenPair, old: TokenPair) -> TokenPair:
    """Return the new pair with what the old one knew and the new one does not say."""
    return TokenPair(
        access_token=new.access_token,
        refresh_token=new.refresh_token,
        token_type=new.token_type,
        expires_at=new.expires_at,
        account_id=new.account_id or old.account_id,
        amocrm_user_id=new.amocrm_user_id or old.amocrm_user_id,
        domain=new.domain,
        api_domain=new.api_domain or old.api_domain,
        scopes=new.scopes or old.scopes,
    )
