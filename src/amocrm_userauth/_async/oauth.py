"""The OAuth client: amoCRM's endpoints without any storage."""

from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Self

from amocrm_userauth._async.endpoint import Account, AsyncEndpoint
from amocrm_userauth._async.http import AsyncHTTP
from amocrm_userauth._core.answers import Answer, Granted, Refused
from amocrm_userauth._core.hosts import trusted_host
from amocrm_userauth._core.integration import Integration
from amocrm_userauth._core.meaning import meaning
from amocrm_userauth._core.model import TokenPair
from amocrm_userauth._core.secret import Secret
from amocrm_userauth._core.state import utc_now
from amocrm_userauth._pairs import AsyncTime
from amocrm_userauth.errors import AmoCRMUnavailable, GrantRevoked

if TYPE_CHECKING:
    from amocrm_userauth._async.http import AsyncHTTPClient

__all__ = ["AsyncOAuthClient"]


class AsyncOAuthClient:
    """Talks to amoCRM's OAuth endpoints and keeps nothing. Most applications want ``AsyncUserAuth`` instead.

    Every refresh token is good for one use: store the pair that :meth:`refresh` returns before anything else can fail,
    and see that nobody else refreshes the same grant. That is what ``AsyncUserAuth`` does.

    Args:
        integration: the client's settings.
        http: an ``httpx`` or ``httpx2`` client to use; it stays the caller's. Without one, one is opened and closed.
        budget: seconds for one call, a real deadline.
        clock: returns the current aware time, for replies that do not name the server's.

    """

    def __init__(
        self,
        integration: Integration,
        *,
        http: "AsyncHTTPClient | None" = None,
        budget: float = 20,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self.integration = integration
        self._time = AsyncTime()
        self._http = AsyncHTTP(http, self._time)
        self._endpoint = AsyncEndpoint(integration, self._http, self._time, clock)
        self._budget = budget

    async def authorize_url(self, state: str) -> str:
        """Return the address of the consent page for ``state``."""
        return self.integration.url_for(state)

    async def exchange_code(self, code: str, *, referer: str = "") -> TokenPair:
        """Exchange an authorization code at the account that ``referer`` names (else at ``account_domain``).

        Raises:
            UntrustedHost: the referer is not amoCRM's.
            InvalidCode: expired, used or foreign; the user starts anew.
            ConfigurationError: client id, secret or redirect URI are not what amoCRM knows.
            AmoCRMUnavailable: no answer, or none of use; the code may or may not be spent.
            ProtocolError: an answer that is not understood.

        """
        value = Secret(code)
        del code
        domain = trusted_host(referer or self.integration.account_domain, self.integration.host_suffixes)
        answer = await self._endpoint.exchange(value, domain=domain, deadline=self._deadline())
        return _pair(answer)

    async def refresh(self, refresh_token: str, *, domain: str, api_domain: str = "") -> TokenPair:
        """Spend a refresh token at the account's host; the pair's ``domain`` tells if the account has moved.

        Raises:
            UntrustedHost: the host is not amoCRM's.
            GrantRevoked: amoCRM refuses the token; the user must authorize again.
            ConfigurationError, AmoCRMUnavailable, ProtocolError: as for :meth:`exchange_code`.

        """
        value = Secret(refresh_token)
        del refresh_token
        pair = TokenPair(
            access_token="",
            refresh_token="",
            expires_at=datetime.max.replace(tzinfo=UTC),
            domain=trusted_host(domain, self.integration.host_suffixes),
            api_domain=trusted_host(api_domain, self.integration.host_suffixes) if api_domain else "",
        )
        answer = await self._endpoint.refresh(value, pair=pair, deadline=self._deadline())
        if isinstance(answer, Refused):
            raise GrantRevoked(reason=answer.reason)
        return _pair(answer)

    async def account(self, access_token: str, *, domain: str) -> Account:
        """Return whom an access token speaks for (``GET /api/v4/account``).

        Raises:
            UntrustedHost: the host is not amoCRM's.
            AmoCRMUnavailable: amoCRM did not say: the token is dead, or the service is.

        """
        value = Secret(access_token)
        del access_token
        host = trusted_host(domain, self.integration.host_suffixes)
        account = await self._endpoint.account(value, domain=host, deadline=self._deadline())
        if account is None:
            msg = "amoCRM did not say whose token this is; is it still valid?"
            raise AmoCRMUnavailable(msg)
        return account

    async def current_domain(self, refresh_token: str, *, api_domain: str) -> str:
        """Return the account's current host, without spending the refresh token.

        Raises:
            UntrustedHost: ``api_domain`` is not amoCRM's.
            GrantRevoked: the token is certainly dead.
            AmoCRMUnavailable: amoCRM did not say.

        """
        value = Secret(refresh_token)
        del refresh_token
        host = trusted_host(api_domain, self.integration.host_suffixes)
        found = await self._endpoint.locate_at(host, value, deadline=self._deadline())
        if found.dead:
            raise GrantRevoked
        if not found.domain:
            msg = "amoCRM did not say where the account is"
            raise AmoCRMUnavailable(msg)
        return found.domain

    def _deadline(self) -> float:
        return self._time.monotonic() + self._budget

    async def aclose(self) -> None:
        """Close the HTTP client if it was opened here."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        """Use the client in a ``with`` block; it is closed at the end."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the client."""
        await self.aclose()


def _pair(answer: Answer) -> TokenPair:
    if isinstance(answer, Granted):
        return answer.pair
    raise meaning(answer, "")
