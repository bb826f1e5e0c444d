"""amoCRM's OAuth endpoints as calls that answer with a meaning, and never raise for what amoCRM says."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from amocrm_userauth._async.http import AsyncHTTP, NotSentError, Outgoing, UnknownOutcomeError
from amocrm_userauth._core.answers import Answer, Elsewhere, Late, Refused, Reply, Transient, read_answer, read_json
from amocrm_userauth._core.hosts import trusted_host
from amocrm_userauth._core.integration import Integration
from amocrm_userauth._core.model import TokenPair
from amocrm_userauth._core.secret import Secret
from amocrm_userauth._pairs import AsyncTime
from amocrm_userauth.errors import UntrustedHost

__all__ = ["Account", "AsyncEndpoint", "Whereabouts"]

_OK = 200
_CLIENT_ERRORS = (400, 401)
_DEAD = frozenset({"token has been revoked", "token has expired", "cannot decrypt the refresh token"})
# a look-up that hangs must leave time for the refresh itself
_LOOK_UP_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class Account:
    """Who an access token speaks for: ids as text, ``""`` where amoCRM did not say."""

    account_id: str
    user_id: str


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """What the look-up says: the account's current host (or ``""``), or that the refresh token is certainly dead."""

    domain: str = ""
    dead: bool = False


class AsyncEndpoint:
    """The calls of one integration. Every ``deadline`` is on the holder's clock."""

    def __init__(
        self, integration: Integration, http: AsyncHTTP, time: AsyncTime, clock: Callable[[], datetime]
    ) -> None:
        self._integration = integration
        self._http = http
        self._time = time
        self._clock = clock

    async def exchange(self, code: Secret, *, domain: str, deadline: float) -> Answer:
        """Spend an authorization code at the account's host."""
        return await self._grant("authorization_code", code, domain=domain, deadline=deadline)

    async def refresh(self, token: Secret, *, pair: TokenPair, deadline: float) -> Answer:
        """Spend a refresh token at the account's host; if the account has moved, once at its new host."""
        spend = partial(self._grant, "refresh_token", token, deadline=deadline)
        answer = await spend(domain=pair.domain)
        if not isinstance(answer, Elsewhere):
            return answer
        found = await self.locate(token, pair=pair, deadline=deadline)
        if found.dead:
            return Refused("revoked")
        if found.domain and found.domain != pair.domain:
            moved = await spend(domain=found.domain)
            return moved.otherwise if isinstance(moved, Elsewhere) else moved
        return answer.otherwise

    async def locate(self, token: Secret, *, pair: TokenPair, deadline: float) -> Whereabouts:
        """Ask where the account is, without spending anything; anything unclear is an empty answer.

        With an ``api_domain`` by the refresh token, else by the access token at the platform's common host.
        """
        now = self._time.monotonic()
        until = now + (deadline - now) * _LOOK_UP_SHARE
        if pair.api_domain:
            return await self.locate_at(pair.api_domain, token, deadline=until)
        if not pair.access_token:
            return Whereabouts()
        outgoing = Outgoing(
            method="GET",
            url=f"https://{self._integration.platform_host}/oauth2/account/subdomain",
            headers={"Authorization": f"Bearer {pair.access_token}"},
        )
        found = await self._whereabouts(outgoing, until)
        return Whereabouts(domain=found.domain)  # a dead access token says nothing of the refresh token

    async def locate_at(self, api_domain: str, token: Secret, *, deadline: float) -> Whereabouts:
        """Ask the given API host by the refresh token; anything unclear is an empty answer."""
        host = self._trusted(api_domain)
        if not host:
            return Whereabouts()
        outgoing = Outgoing(
            method="GET",
            url=f"https://{host}/oauth2/account/current/subdomain",
            headers={"X-Refresh-Token": token.reveal()},
        )
        return await self._whereabouts(outgoing, deadline)

    async def account(self, token: Secret, *, domain: str, deadline: float) -> Account | None:
        """Return whom an access token speaks for; ``None`` if amoCRM does not say."""
        outgoing = Outgoing(
            method="GET",
            url=f"https://{domain}/api/v4/account",
            headers={"Authorization": f"Bearer {token.reveal()}"},
        )
        try:
            reply = await self._http.send(outgoing, deadline=deadline)
        except (NotSentError, UnknownOutcomeError):
            return None
        if reply.status != _OK:
            return None
        fields = read_json(reply.body)
        account_id, user_id = (_number(fields.get(name)) for name in ("id", "current_user_id"))
        return Account(account_id, user_id) if account_id else None

    async def _grant(self, grant_type: str, value: Secret, *, domain: str, deadline: float) -> Answer:
        if deadline <= self._time.monotonic():
            return Late()
        outgoing = self._token_request(grant_type, value, domain)
        try:
            reply = await self._send_once_connected(outgoing, deadline)
        except NotSentError as error:
            return Transient(f"no connection to amoCRM ({error})", doubt=False)
        except UnknownOutcomeError as error:
            return Transient(f"no whole answer from amoCRM ({error})", doubt=True)
        return read_answer(reply, domain=domain, suffixes=self._integration.host_suffixes, now=self._clock())

    async def _send_once_connected(self, outgoing: Outgoing, deadline: float) -> Reply:
        try:
            return await self._http.send(outgoing, deadline=deadline)
        except NotSentError:
            # a connection that was never made may be made again: nothing was spent
            return await self._http.send(outgoing, deadline=deadline)

    def _token_request(self, grant_type: str, value: Secret, domain: str) -> Outgoing:
        name = "code" if grant_type == "authorization_code" else "refresh_token"
        return Outgoing(
            method="POST",
            url=f"https://{trusted_host(domain, self._integration.host_suffixes)}/oauth2/access_token",
            fields={
                "client_id": self._integration.client_id,
                "client_secret": self._integration.client_secret,
                "grant_type": grant_type,
                name: value.reveal(),
                "redirect_uri": self._integration.redirect_uri,
            },
        )

    async def _whereabouts(self, outgoing: Outgoing, deadline: float) -> Whereabouts:
        try:
            reply = await self._http.send(outgoing, deadline=deadline)
        except (NotSentError, UnknownOutcomeError):
            return Whereabouts()
        fields = read_json(reply.body)
        if reply.status in _CLIENT_ERRORS:
            hint = fields.get("hint")
            return Whereabouts(dead=isinstance(hint, str) and hint.strip().lower() in _DEAD)
        return Whereabouts(domain=self._trusted(fields.get("domain")) if reply.status == _OK else "")

    def _trusted(self, domain: object) -> str:
        try:
            return trusted_host(domain, self._integration.host_suffixes)
        except UntrustedHost:
            return ""


def _number(value: object) -> str:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) and value > 0 else ""
