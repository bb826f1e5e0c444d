"""From an authorization code to a stored connection, once, for the user that the state was made for."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from secrets import token_hex

from amocrm_userauth._async.endpoint import AsyncEndpoint
from amocrm_userauth._async.leaving import AsyncDepartures
from amocrm_userauth._async.ports import AsyncStore
from amocrm_userauth._async.saving import AsyncSaver, AsyncScope, Outcome, Unsaved
from amocrm_userauth._core.answers import Granted
from amocrm_userauth._core.callback import Query, read_callback
from amocrm_userauth._core.events import Connected, Event
from amocrm_userauth._core.hosts import trusted_host
from amocrm_userauth._core.meaning import meaning
from amocrm_userauth._core.model import Callback, StateRecord, TokenPair, UserToken
from amocrm_userauth._core.secret import Secret
from amocrm_userauth._core.settings import Settings
from amocrm_userauth._core.state import StateManager, Ticket, hash_code
from amocrm_userauth._pairs import AsyncTime, fresh
from amocrm_userauth.errors import (
    AlreadyConnectedByAnother,
    AmoCRMUserAuthError,
    CallbackError,
    InvalidCode,
    InvalidState,
    NotConnected,
    RefreshInProgress,
    StoreUnavailable,
    TokenNotSaved,
    UntrustedHost,
    WrongAccount,
)

__all__ = ["AsyncConnector", "Attempt"]

_LOOK_AGAIN = 0.1
_ACCOUNT_SECONDS = 5.0
_SAVED_WITHIN = 1200.0
_MAX_CODE = 4096
# a nonce is remembered for longer than its state is good, by the difference between two hosts' clocks
_CLOCK_SKEW = timedelta(seconds=60)
_log = logging.getLogger("amocrm_userauth")
_FINAL = {kind.code: kind for kind in (InvalidCode, WrongAccount, AlreadyConnectedByAnother, UntrustedHost)}


@dataclass(frozen=True, slots=True)
class Attempt:
    """A code that a user brought, with where it may be exchanged; nothing of it is shown."""

    user_id: str
    code: Secret
    code_hash: str
    state: Secret | None
    referer: object

    @classmethod
    def of(cls, user_id: str, code: object, state: object, referer: object) -> "Attempt | None":
        """Return the attempt, or ``None`` if ``code`` cannot be one."""
        if not isinstance(code, str) or not 0 < len(code) <= _MAX_CODE:
            return None
        if not code.isascii() or not code.isprintable():
            return None
        # any text, so that a wrong type fails as a malformed state does
        proof = None if state is None or state == "" else Secret(state if isinstance(state, str) else "?")
        return cls(user_id, Secret(code), hash_code(code), proof, referer)


@dataclass(frozen=True, slots=True)
class _Claim:
    attempt: Attempt
    ticket: Ticket
    host: str
    claimant: str
    before: str | None
    departures: frozenset[str]
    deadline: float
    ends: float


class AsyncConnector:
    """Connects users. The order of its checks is part of the wire contract (docs/how-to/fastapi.md)."""

    def __init__(
        self,
        store: AsyncStore,
        endpoint: AsyncEndpoint,
        saver: AsyncSaver,
        settings: Settings,
        states: StateManager,
        *,
        departures: AsyncDepartures,
        scope: AsyncScope,
        time: AsyncTime,
        tell: Callable[[Event], None],
    ) -> None:
        self._store = store
        self._endpoint = endpoint
        self._saver = saver
        self._settings = settings
        self._states = states
        self._departures = departures
        self._scope = scope
        self._time = time
        self._tell = tell

    async def accept_callback(self, query: Query) -> Callback:
        """Check amoCRM's answer and record whose code it brought; see ``AsyncUserAuth.accept_callback``."""
        callback, ticket = read_callback(query, self._settings.integration, self._states)
        if callback.error:
            return callback
        recorded = await self._store.remember_code(
            nonce_hash=ticket.nonce_hash,
            code_hash=hash_code(callback.code),
            user_hash=ticket.user_hash,
            expires_at=ticket.expires_at + _CLOCK_SKEW,
            now=self._settings.clock(),
        )
        if not recorded:
            msg = "another code came with this state before; start the connection anew"
            raise InvalidState(msg, reason="other_code")
        return callback

    async def connect(self, attempt: Attempt, mine: "set[object]") -> UserToken:
        """Return the stored connection that this attempt made (now, or when it came before)."""
        ticket = await self._prove(attempt)
        host = self._host(attempt)
        give_up = self._time.monotonic() + self._settings.wait_budget
        while True:
            row = await self._store.get(attempt.user_id, with_tokens=False)
            if row is not None and row.code_hash == attempt.code_hash and row.reauth_reason is None:
                await self._refuse_a_second_login(row)
                return row
            before = None if row is None else row.code_hash
            outcome = await self._join(attempt, ticket, host, before, mine, give_up)
            if isinstance(outcome, AmoCRMUserAuthError):
                raise fresh(outcome)
            if outcome is not None:
                return outcome
            if self._time.monotonic() + _LOOK_AGAIN > give_up:
                raise RefreshInProgress(user_id=attempt.user_id, retry_after=1.0)
            await self._time.sleep_jittered(_LOOK_AGAIN)

    async def _prove(self, attempt: Attempt) -> Ticket:
        """Return the ticket that shows that this code belongs to this user."""
        ticket = None
        if attempt.state is not None:
            ticket = self._verified(attempt, attempt.state)
        records = await self._store.find_code(attempt.code_hash, now=self._settings.clock())
        own = self._states.user_hashes(attempt.user_id)
        if any(record.user_hash not in own for record in records):
            msg = "this code came back for another user; start the connection anew"
            raise InvalidState(msg, user_id=attempt.user_id, reason="other_user")
        if ticket is not None:
            return ticket
        for record in records:
            expires_at = record.expires_at - _CLOCK_SKEW
            if expires_at > self._settings.clock():
                return Ticket(nonce_hash=record.nonce_hash, user_hash=record.user_hash, expires_at=expires_at)
        return self._unproven(attempt, own[0])

    def _verified(self, attempt: Attempt, state: Secret) -> Ticket:
        try:
            return self._states.verify(state.reveal(), user_id=attempt.user_id)
        except InvalidState as error:
            error.user_id = attempt.user_id
            raise

    def _unproven(self, attempt: Attempt, user_hash: str) -> Ticket:
        if self._settings.state_policy == "required":
            msg = "the state is missing, and the callback has not seen this code; start the connection anew"
            raise InvalidState(msg, user_id=attempt.user_id, reason="missing")
        extra = {"user_id": attempt.user_id}
        _log.warning("a code without a state was accepted (state_policy='optional')", extra=extra)
        expires_at = self._settings.clock() + self._states.ttl
        return Ticket(nonce_hash=attempt.code_hash, user_hash=user_hash, expires_at=expires_at)

    def _host(self, attempt: Attempt) -> str:
        referer = attempt.referer or self._settings.integration.account_domain
        if not referer:
            msg = "no referer was given and no account_domain is configured: where should the code be exchanged?"
            raise UntrustedHost(msg, user_id=attempt.user_id)
        try:
            return trusted_host(referer, self._settings.integration.host_suffixes)
        except UntrustedHost as error:
            error.user_id = attempt.user_id
            raise

    async def _join(
        self, attempt: Attempt, ticket: Ticket, host: str, before: str | None, mine: "set[object]", give_up: float
    ) -> Outcome:
        # with the fingerprint: a deployment with wrong settings must not speak for one with the right ones
        key = ("connect", ticket.nonce_hash, attempt.code_hash, attempt.user_id, self._settings.fingerprint)
        flight = self._scope.flights.start(key, partial(self._exchange_once, attempt, ticket, host, before), mine)
        try:
            return await flight.wait(max(give_up - self._time.monotonic(), 0.0))
        except TimeoutError:
            raise RefreshInProgress(user_id=attempt.user_id, retry_after=1.0) from None

    async def _exchange_once(self, attempt: Attempt, ticket: Ticket, host: str, before: str | None) -> Outcome:
        """Claim the nonce and exchange the code; ``None`` while somebody else is at it."""
        started, claimant = self._time.monotonic(), token_hex(16)
        try:
            await self._store.check_user(attempt.user_id)
            departures = await self._departures.seen(attempt.user_id)
            record = await self._claim(attempt, ticket, claimant)
        except AmoCRMUserAuthError as error:
            return error
        if record.outcome != "claimed" or record.claimant != claimant:
            return await self._not_ours(attempt, ticket, record)
        budget = self._settings
        deadline, ends = started + budget.exchange_budget, started + budget.lease
        claim = _Claim(attempt, ticket, host, claimant, before, departures, deadline, ends)
        try:
            row = await self._exchange(claim)
        except TokenNotSaved as error:
            return error  # the claim stays until the pair is saved or the claim runs out
        except CallbackError as error:
            await self._finish(claim, f"failed:{error.code}")
            return error
        except AmoCRMUserAuthError as error:
            await self._finish(claim, "retry")
            return error
        await self._finish(claim, "connected")
        return row

    async def _claim(self, attempt: Attempt, ticket: Ticket, claimant: str) -> StateRecord:
        now = self._settings.clock()
        return await self._store.claim(
            nonce_hash=ticket.nonce_hash,
            code_hash=attempt.code_hash,
            user_hash=ticket.user_hash,
            claimant=claimant,
            until=self._settings.lease_until(now),
            expires_at=ticket.expires_at + _CLOCK_SKEW,
            now=now,
        )

    async def _not_ours(self, attempt: Attempt, ticket: Ticket, record: StateRecord) -> Outcome:
        user_id = attempt.user_id
        if record.code_hash != attempt.code_hash:
            return InvalidState(user_id=user_id, reason="other_code")
        if record.user_hash != ticket.user_hash:
            return InvalidState(user_id=user_id, reason="other_user")
        if record.outcome == "connected":
            row = await self._store.get(user_id, with_tokens=False)
            if row is not None and row.code_hash == attempt.code_hash and row.reauth_reason is None:
                return row
            return InvalidState("this state has been used; start the connection anew", user_id=user_id, reason="used")
        kind, _, code = record.outcome.partition(":")
        if kind == "failed":
            return _FINAL.get(code, InvalidCode)(user_id=user_id)
        return None

    async def _exchange(self, claim: _Claim) -> UserToken:
        attempt = claim.attempt
        answer = await self._endpoint.exchange(attempt.code, domain=claim.host, deadline=claim.deadline)
        if not isinstance(answer, Granted):
            raise meaning(answer, attempt.user_id)
        pair = await self._identified(claim, answer.pair)
        token = UserToken(
            user_id=attempt.user_id,
            pair=pair,
            revision=token_hex(16),
            client_id=self._settings.integration.client_id,
            code_hash=attempt.code_hash,
            pair_saved_at=self._settings.clock(),
        )
        row = await self._saver.save(self._unsaved(token, claim))
        if row is None:
            raise NotConnected(user_id=attempt.user_id)
        if row.code_hash != attempt.code_hash:
            return row
        await self._refuse_a_second_login(token)
        self._tell(Connected(attempt.user_id, pair.account_id, pair.domain))
        return row

    def _unsaved(self, token: UserToken, claim: _Claim) -> Unsaved:
        return Unsaved(
            token=token,
            over=None,
            before=claim.before,
            departures=claim.departures,
            save_until=self._time.monotonic() + _SAVED_WITHIN,
            alone=self._settings.integration.one_user_per_login,
            serve_until=claim.ends,
        )

    async def _identified(self, claim: _Claim, pair: TokenPair) -> TokenPair:
        """Return the pair with its account and user, checked where the integration asks for that."""
        integration = self._settings.integration
        strict = integration.only_this_account or integration.one_user_per_login
        if not strict and pair.account_id and pair.amocrm_user_id:
            return pair
        pair = await self._looked_up(claim, pair, required=strict)
        if integration.only_this_account and pair.account_id != integration.account_id:
            raise WrongAccount(user_id=claim.attempt.user_id)
        if integration.one_user_per_login:
            await self._refuse_login_of_another(claim.attempt.user_id, pair)
        return pair

    async def _looked_up(self, claim: _Claim, pair: TokenPair, *, required: bool) -> TokenPair:
        deadline = self._time.monotonic() + _ACCOUNT_SECONDS
        account = await self._endpoint.account(Secret(pair.access_token), domain=pair.domain, deadline=deadline)
        if account is None or not account.user_id:
            if required:
                msg = "amoCRM did not say whose account this is, which must be known here; start the connection anew"
                raise InvalidCode(msg, user_id=claim.attempt.user_id)
            return pair
        return TokenPair(
            access_token=pair.access_token,
            refresh_token=pair.refresh_token,
            token_type=pair.token_type,
            expires_at=pair.expires_at,
            account_id=account.account_id,
            amocrm_user_id=account.user_id,
            domain=pair.domain,
            api_domain=pair.api_domain,
            scopes=pair.scopes,
        )

    async def _refuse_login_of_another(self, user_id: str, pair: TokenPair) -> None:
        users = await self._store.find_login(account_id=pair.account_id, amocrm_user_id=pair.amocrm_user_id)
        if any(user != user_id for user in users):
            raise AlreadyConnectedByAnother(user_id=user_id)

    async def _refuse_a_second_login(self, token: UserToken) -> None:
        """Undo a connection that another user made at the same moment with the same login."""
        if not self._settings.integration.one_user_per_login:
            return
        try:
            await self._refuse_login_of_another(token.user_id, token.pair)
        except AlreadyConnectedByAnother:
            await self._store.delete(token.user_id, revision=token.revision)
            raise

    async def _finish(self, claim: _Claim, outcome: str) -> None:
        try:
            await self._store.finish(nonce_hash=claim.ticket.nonce_hash, claimant=claim.claimant, outcome=outcome)
        except StoreUnavailable:
            _log.debug("a claim could not be finished; it runs out", extra={"user_id": claim.attempt.user_id})
