"""The service: one user's connection, from the consent page to the next valid token."""

import logging
import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from amocrm_userauth._async.connecting import AsyncConnector, Attempt
from amocrm_userauth._async.endpoint import AsyncEndpoint
from amocrm_userauth._async.guard import AsyncGuard
from amocrm_userauth._async.http import AsyncHTTP
from amocrm_userauth._async.keepalive import AsyncWalk, bound_of
from amocrm_userauth._async.leaving import AsyncDepartures
from amocrm_userauth._async.ports import AsyncStore
from amocrm_userauth._async.renewing import AsyncRenewer
from amocrm_userauth._async.saving import AsyncSaver, AsyncScope
from amocrm_userauth._async.serving import AsyncServer
from amocrm_userauth._core.cache import TokenCache
from amocrm_userauth._core.callback import Query
from amocrm_userauth._core.decisions import due_at, status_of
from amocrm_userauth._core.events import Disconnected, Event
from amocrm_userauth._core.integration import Integration
from amocrm_userauth._core.model import (
    AuthorizationRequest,
    Callback,
    ConnectionStatus,
    RefreshReport,
    UserToken,
)
from amocrm_userauth._core.secret import Secret
from amocrm_userauth._core.settings import Settings
from amocrm_userauth._core.state import StateManager, utc_now
from amocrm_userauth._pairs import AsyncFlights, AsyncTime, async_unfit
from amocrm_userauth.errors import AmoCRMUserAuthError, ConfigurationError, InvalidCode, NotConnected, TokenNotSaved

if TYPE_CHECKING:
    from amocrm_userauth._async.http import AsyncHTTPClient

__all__ = ["AsyncUserAuth"]

_log = logging.getLogger("amocrm_userauth")


class AsyncUserAuth:
    """Gives each user of the application their own, always valid amoCRM token.

    Any number of service objects, tasks, threads, processes and hosts may work on one store: a refresh token is
    spent once. What has begun goes on when its caller is cancelled; close the service to wait for it.

    Args:
        integration: the client's settings.
        store: where the connections are kept; it is both the token and the state store.
        http: an ``httpx`` or ``httpx2`` client to use; it stays the caller's. Without one, one is opened and closed.
        state_keys: secrets (16 characters or more) that sign states, newest first; derived from the client secret
            if there are none.
        state_policy: ``"optional"`` accepts a code without any proof whose it is. That is unsafe: anybody who gets
            hold of a link can connect a user to a stranger's account. It is there for old clients only.
        leeway: seconds before its expiry at which a token is refreshed ahead of time (a quarter of its life at most).
        exchange_budget: seconds for everything that one refresh or connect asks of amoCRM. Waiting for a free
            connection of a passed client is not amoCRM's time: it is given back, up to as much again.
        lease: seconds for which one holder may spend a token; at least 2 x ``exchange_budget`` + 30.
        wait_budget: seconds that a caller waits for another's refresh.
        save_budget: seconds of retries if the store does not take a fresh pair.
        cache_ttl: seconds for which a token is served without asking the store. A disconnect in another process is
            seen that much later.
        shared_user_id: whose connection :meth:`shared_access_token` hands out.
        on_event: called with each :class:`~amocrm_userauth.events.Event`, from the task or thread that did the work.
            It must not block; what it raises is logged.
        clock: returns the current aware time.

    Raises:
        ConfigurationError: a setting cannot be right.

    All methods raise ``ValueError`` for a user id that is no text of 1 to 255 characters, and ``StoreUnavailable`` if
    the store fails.

    """

    # the holder's own clock and its pauses; tests of timing put another in its place
    _make_time: ClassVar[type[AsyncTime]] = AsyncTime

    def __init__(
        self,
        integration: Integration,
        store: AsyncStore,
        *,
        http: "AsyncHTTPClient | None" = None,
        state_keys: Iterable[str | bytes] = (),
        state_policy: Literal["required", "optional"] = "required",
        leeway: float | timedelta = 900,
        exchange_budget: float | timedelta = 20,
        lease: float | timedelta = 90,
        wait_budget: float | timedelta = 30,
        save_budget: float | timedelta = 20,
        cache_ttl: float | timedelta = 0,
        shared_user_id: str | None = None,
        on_event: Callable[[Event], None] | None = None,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        # an iterator shows nothing of the keys if one of them is refused
        keys = iter([state_keys] if isinstance(state_keys, (str, bytes)) else state_keys)
        del state_keys
        self._states = StateManager(integration, keys, clock=clock)
        self._settings = Settings(
            integration=integration,
            state_policy=state_policy,
            leeway=_seconds(leeway),
            exchange_budget=_seconds(exchange_budget),
            lease=_seconds(lease),
            wait_budget=_seconds(wait_budget),
            save_budget=_seconds(save_budget),
            cache_ttl=_seconds(cache_ttl),
            shared_user_id=shared_user_id,
            on_event=on_event,
            clock=clock,
        )
        self.integration = integration
        self.store = store
        if state_policy == "optional":
            _log.warning("state_policy='optional' lets anybody's code connect a user; it is for old clients only")
        self._wire(store, http)

    def _wire(self, store: AsyncStore, http: "AsyncHTTPClient | None") -> None:
        if async_unfit(getattr(store, "get", None)):
            msg = "store must be one for AsyncUserAuth, such as AsyncMemoryTokenStore"
            raise ConfigurationError(msg)
        settings, time, tell = self._settings, self._make_time(), self._tell
        self._time = time
        self._cache = TokenCache(settings.cache_ttl, settings.clock)
        self._store = AsyncGuard(store)
        self._scope = AsyncScope.of(store)
        self._mine: set[object] = set()
        self._http = AsyncHTTP(http, time)
        endpoint = AsyncEndpoint(settings.integration, self._http, time, settings.clock)
        self._departures = departures = AsyncDepartures(self._store, settings)
        saver = AsyncSaver(self._store, self._scope, departures, budget=settings.save_budget, time=time, tell=tell)
        renewer = AsyncRenewer(self._store, endpoint, saver, settings, time=time, tell=tell)
        self._server = AsyncServer(self._store, renewer, saver, settings, scope=self._scope, time=time, mine=self._mine)
        self._connector = AsyncConnector(
            self._store,
            endpoint,
            saver,
            settings,
            self._states,
            departures=departures,
            scope=self._scope,
            time=time,
            tell=tell,
        )

    async def begin(self, user_id: str) -> AuthorizationRequest:
        """Return where to send the user's browser to connect. Its state is good for 20 minutes and one connection."""
        state, expires_at = self._states.issue(self._store.canonical_user_id(user_id))
        return AuthorizationRequest(url=self.integration.url_for(state), state=state, expires_at=expires_at)

    async def accept_callback(self, params: Iterable[tuple[str, str]]) -> Callback:
        """Check what amoCRM's redirect brought (its query parameters, in order) and record whose code it is.

        For the address that amoCRM redirects browsers to, where nobody is logged in: it spends nothing. Hand the result
        on to where the user is logged in, and call :meth:`connect` there. ``error`` is set if the user refused.

        Raises:
            InvalidState: the state is missing or wrong, a parameter is given twice, or a widget's webhook came.
            UntrustedHost: ``referer`` is not one of amoCRM's hosts.

        """
        query = Query(params)
        del params
        return await self._connector.accept_callback(query)

    async def connect(
        self, user_id: str, *, code: str, state: str | None = None, referer: str | None = None
    ) -> ConnectionStatus:
        """Exchange the code for a pair and store it for this user; the last connection of a user wins.

        ``referer`` is the account's host as amoCRM's redirect named it; without one ``account_domain`` is taken.
        Without ``state`` the callback must have recorded this code for this user. Equal calls share one exchange.

        Raises:
            InvalidState, InvalidCode, UntrustedHost, WrongAccount, AlreadyConnectedByAnother: start anew.
            AmoCRMUnavailable, RefreshInProgress: the same call may be repeated.
            ConfigurationError: amoCRM does not accept the client, or the database does not know the user.
            TokenNotSaved: the pair waits in this process; the same call tries again to save it.

        """
        brought = Attempt.of("", code, state, referer)
        del code, state
        user_id = self._store.canonical_user_id(user_id)
        if brought is None:
            raise InvalidCode("the code is not one of amoCRM's; start the connection anew", user_id=user_id)
        attempt = replace(brought, user_id=user_id)
        with suppress(NotConnected):  # the user has left meanwhile, and connects anew
            if await self._server.rescued(user_id) is not None:
                raise TokenNotSaved(user_id=user_id)
        row = await self._connector.connect(attempt, self._mine)
        self._cache.drop(user_id)
        return status_of(row, self.integration, self._settings.clock())

    async def status(self, user_id: str) -> ConnectionStatus:
        """Return how the connection stands. Never asks amoCRM, and needs no decryption key."""
        row = await self._store.get(self._store.canonical_user_id(user_id), with_tokens=False)
        return status_of(row, self.integration, self._settings.clock())

    async def access_token(self, user_id: str, *, rejected: str | None = None) -> str:
        """Return a valid access token, refreshed if need be.

        ``rejected`` is the token that the API answered with 401: another one is returned if there can be one (at most
        one refresh a minute for that reason), else the same again. If that refresh fails for now, ``AmoCRMUnavailable``
        or ``RefreshInProgress`` says so.

        Raises:
            NotConnected, GrantRevoked: send the user through :meth:`begin`.
            AmoCRMUnavailable, RefreshInProgress: try again later.
            ConfigurationError, ProtocolError: a developer's job.
            TokenNotSaved: the store does not take a fresh pair; keep the process running and call again.

        """
        if rejected is None:
            cached = self._cache.find(user_id)
            if cached is not None:
                return cached.token
        refused = None if rejected is None else Secret(rejected)
        del rejected
        return (await self._valid(user_id, refused)).pair.access_token

    async def _valid(self, user_id: str, rejected: Secret | None = None) -> UserToken:
        user_id = self._store.canonical_user_id(user_id)
        as_of = self._cache.changes
        row = await self._server.valid(user_id, rejected)
        if self._settings.cache_ttl:
            self._cache.keep(row, due_at(row, self._settings.leeway), as_of=as_of)
        return row

    async def hosts(self, user_id: str) -> tuple[str, str]:
        """Return the account's own host and its shared API host (or ``""``): where the token may be sent.

        Raises ``NotConnected`` if nothing is stored.
        """
        user_id = self._store.canonical_user_id(user_id)
        cached = self._cache.find(user_id)
        row = cached.row if cached is not None else await self._store.get(user_id, with_tokens=False)
        if row is None:
            raise NotConnected(user_id=user_id)
        return row.pair.domain, row.pair.api_domain

    async def shared_access_token(self) -> str:
        """Return a valid token of ``shared_user_id``: the single token of older applications, as an ordinary row."""
        if self._settings.shared_user_id is None:
            msg = "no shared_user_id is configured; name the user whose connection is shared"
            raise ConfigurationError(msg)
        return await self.access_token(self._settings.shared_user_id)

    async def refresh(self, user_id: str) -> ConnectionStatus:
        """Refresh now, whether or not the token is due; also tries a grant once more that was refused before.

        Raises as :meth:`access_token` does.
        """
        user_id = self._store.canonical_user_id(user_id)
        self._cache.drop(user_id)
        row = await self._store.get(user_id, with_tokens=False)
        if row is None:
            raise NotConnected(user_id=user_id)
        row = await self._server.renewed(user_id, row.revision)
        return status_of(row, self.integration, self._settings.clock())

    async def disconnect(self, user_id: str) -> bool:
        """Delete the user's connection; say whether there was one. A refresh under way does not bring it back.

        AmoCRM has no documented way to revoke a grant: it stays listed there until an administrator removes it.
        """
        user_id = self._store.canonical_user_id(user_id)
        unsaved = self._scope.unsaved.pop(user_id, None)
        self._cache.drop(user_id)
        try:
            await self._departures.note(user_id)
            deleted = await self._store.delete(user_id)
        except BaseException:
            # the row may be there still, and its token is spent: without this pair the user would be lost
            if unsaved is not None and unsaved.over is not None:
                self._scope.unsaved.setdefault(user_id, unsaved)
            raise
        self._cache.drop(user_id)
        if deleted:
            self._tell(Disconnected(user_id))
        return deleted

    async def refresh_due(
        self,
        *,
        older_than: timedelta | datetime,
        limit: int | None = None,
        concurrency: int = 4,
        rate: float | None = 5,
        on_progress: Callable[[RefreshReport], None] | None = None,
    ) -> RefreshReport:
        """Refresh the users whose pair is older than ``older_than`` (an age, or a point in time).

        Refresh tokens die after three months without use; run this once a day with an age of a month or two. Walks
        in pages, ``concurrency`` users at once, at most ``rate`` a second (amoCRM blocks addresses above 7), at most
        ``limit`` users. Workers may run side by side. ``on_progress`` gets the report so far after each user.
        """
        if concurrency < 1 or (rate is not None and rate <= 0) or (limit is not None and limit < 0):
            msg = "refresh_due needs concurrency >= 1, rate > 0 or None, limit >= 0 or None"
            raise ConfigurationError(msg)
        walk = AsyncWalk(
            store=self._store,
            server=self._server,
            settings=self._settings,
            time=self._time,
            bound=bound_of(older_than, self._settings.clock()),
            limit=limit,
            concurrency=concurrency,
            rate=rate,
            on_progress=on_progress,
        )
        return await walk.go()

    def _tell(self, event: Event) -> None:
        self._cache.drop(event.user_id)
        if self._settings.on_event is None:
            return
        try:
            self._settings.on_event(event)
        except Exception:  # noqa: BLE001 - the application's code; the connection must not suffer
            _log.exception("on_event raised; the event was %s", type(event).__name__)

    async def aclose(self) -> None:
        """Wait for what is under way, try once more to save what is unsaved, then close an HTTP client of our own."""
        await AsyncFlights.join(self._mine)
        for user_id in list(self._scope.unsaved):
            with suppress(AmoCRMUserAuthError):
                await self._server.rescued(user_id)
            if user_id in self._scope.unsaved:
                _log.error("closing with a token pair that could not be saved", extra={"user_id": user_id})
        await AsyncFlights.join(self._mine)
        if not self._mine:
            await self._http.aclose()

    async def __aenter__(self) -> Self:
        """Use the service in a ``with`` block; it is closed at the end."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the service."""
        await self.aclose()

    def __del__(self) -> None:
        """Warn if something may be lost: the service was not closed."""
        http = getattr(self, "_http", None)
        if (http is not None and http.opened) or getattr(self, "_mine", None):
            warnings.warn(f"unclosed {self!r}; close it, so that a refresh under way is not lost", ResourceWarning, 2)


def _seconds(value: float | timedelta) -> float:
    return value.total_seconds() if isinstance(value, timedelta) else float(value)
