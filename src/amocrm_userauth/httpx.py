"""Calls to amoCRM as a user, with httpx.

::

    with client(auth, "user-1") as amocrm:  # auth: UserAuth
        leads = amocrm.get("/api/v4/leads").json()

    async with client(auth, "user-1") as amocrm:  # auth: AsyncUserAuth
        leads = (await amocrm.get("/api/v4/leads")).json()

The same for httpx2 is in :mod:`amocrm_userauth.httpx2`.
"""

from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from ssl import SSLContext
from typing import Any, TypedDict, overload

import httpx
from typing_extensions import Unpack

from amocrm_userauth import AsyncUserAuth, UserAuth
from amocrm_userauth._http_auth import HOME, Bearer, destination

__all__ = ["AsyncClientOptions", "AsyncUserHTTPAuth", "ClientOptions", "UserHTTPAuth", "client", "http_auth"]


class _CommonOptions(TypedDict, total=False):
    params: Mapping[str, str | int | float | bool | None]
    headers: Mapping[str, str]
    verify: SSLContext | bool
    http1: bool
    http2: bool
    proxy: str | httpx.Proxy | None
    timeout: float | httpx.Timeout | None
    follow_redirects: bool
    limits: httpx.Limits
    max_redirects: int
    event_hooks: Mapping[str, list[Callable[..., Any]]]
    trust_env: bool


class ClientOptions(_CommonOptions, total=False):
    """What :func:`client` hands to ``httpx.Client``."""

    transport: httpx.BaseTransport | None
    mounts: Mapping[str, httpx.BaseTransport | None]


class AsyncClientOptions(_CommonOptions, total=False):
    """What :func:`client` hands to ``httpx.AsyncClient``."""

    transport: httpx.AsyncBaseTransport | None
    mounts: Mapping[str, httpx.AsyncBaseTransport | None]


class UserHTTPAuth(httpx.Auth):
    """Signs the requests of an ``httpx.Client``; made by :func:`http_auth`."""

    def __init__(self, auth: UserAuth, user_id: str, *, home: str = HOME) -> None:
        """Sign as ``user_id``; ``home`` is the host that stands for the user's account."""
        self._auth = auth
        self._user_id = user_id
        self._home = home

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Sign; after a 401 for this token get another one and try once more."""
        address = request.url
        bearer = self._sign(request, address)
        response = yield request
        if not bearer.was_refused(response.status_code, response.request.headers.get("Authorization")):
            return
        # Read it first: its connection may be the one that the refresh needs.
        response.read()
        if not self._sign(request, address, bearer).same_as(bearer) and _can_be_sent_again(request):
            yield request

    def _sign(self, request: httpx.Request, address: httpx.URL, refused: Bearer | None = None) -> Bearer:
        bearer = Bearer(self._auth.access_token(self._user_id, rejected=refused.token if refused else None))
        # Asked second: the refresh may just have found that the account has moved.
        hosts = self._auth.hosts(self._user_id)
        _put(request, _moved(address, self._home, hosts, self._user_id), bearer)
        return bearer

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Refuse: this one belongs to a ``UserAuth``."""
        msg = "an httpx.AsyncClient needs the http_auth of an AsyncUserAuth; this one was made for a UserAuth"
        raise TypeError(msg)
        yield request


class AsyncUserHTTPAuth(httpx.Auth):
    """Signs the requests of an ``httpx.AsyncClient``; made by :func:`http_auth`."""

    def __init__(self, auth: AsyncUserAuth, user_id: str, *, home: str = HOME) -> None:
        """Sign as ``user_id``; ``home`` is the host that stands for the user's account."""
        self._auth = auth
        self._user_id = user_id
        self._home = home

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Sign; after a 401 for this token get another one and try once more."""
        address = request.url
        bearer = await self._sign(request, address)
        response = yield request
        if not bearer.was_refused(response.status_code, response.request.headers.get("Authorization")):
            return
        # Read it first: its connection may be the one that the refresh needs.
        await response.aread()
        if not (await self._sign(request, address, bearer)).same_as(bearer) and _can_be_sent_again(request):
            yield request

    async def _sign(self, request: httpx.Request, address: httpx.URL, refused: Bearer | None = None) -> Bearer:
        bearer = Bearer(await self._auth.access_token(self._user_id, rejected=refused.token if refused else None))
        # Asked second: the refresh may just have found that the account has moved.
        hosts = await self._auth.hosts(self._user_id)
        _put(request, _moved(address, self._home, hosts, self._user_id), bearer)
        return bearer

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Refuse: this one belongs to an ``AsyncUserAuth``."""
        msg = "an httpx.Client needs the http_auth of a UserAuth; this one was made for an AsyncUserAuth"
        raise TypeError(msg)
        yield request


def _moved(address: httpx.URL, home: str, hosts: tuple[str, str], user_id: str) -> httpx.URL:
    host = destination(
        scheme=address.scheme, host=address.raw_host, port=address.port, home=home, hosts=hosts, user_id=user_id
    )
    return address.copy_with(host=host)


def _put(request: httpx.Request, address: httpx.URL, bearer: Bearer) -> None:
    request.url = address
    request.headers["Host"] = address.netloc.decode("ascii")
    request.headers["Authorization"] = bearer.header


def _can_be_sent_again(request: httpx.Request) -> bool:
    return isinstance(request.stream, httpx.ByteStream)


@overload
def http_auth(auth: UserAuth, user_id: str) -> UserHTTPAuth: ...
@overload
def http_auth(auth: AsyncUserAuth, user_id: str) -> AsyncUserHTTPAuth: ...
def http_auth(auth: UserAuth | AsyncUserAuth, user_id: str) -> UserHTTPAuth | AsyncUserHTTPAuth:
    """Return an ``httpx.Auth`` that signs every request with this user's current access token.

    The one of a ``UserAuth`` works with ``httpx.Client``, that of an ``AsyncUserAuth`` with ``httpx.AsyncClient``.
    A header ``Authorization`` of the caller's is replaced. When amoCRM answers 401, ``access_token`` is asked for
    another token (one refresh, however many calls got a 401 at once). If there is one, the request is sent once
    more, else the caller gets the 401. A body that is not in memory (an iterator, a file, multipart) is not sent
    twice: the caller gets the 401, and the next call has the new token. The body of a 401 is read into memory.

    Raises at the call, besides httpx's own errors:
        UntrustedHost: the address is not https on one of the user's own hosts; nothing was sent. After a redirect to
            another host the request goes on without the token.
        ReauthorizationRequired, TemporarilyUnavailable and others: as ``access_token``.

    """
    return UserHTTPAuth(auth, user_id) if isinstance(auth, UserAuth) else AsyncUserHTTPAuth(auth, user_id)


@overload
def client(auth: UserAuth, user_id: str, **options: Unpack[ClientOptions]) -> httpx.Client: ...
@overload
def client(auth: AsyncUserAuth, user_id: str, **options: Unpack[AsyncClientOptions]) -> httpx.AsyncClient: ...
def client(auth: UserAuth | AsyncUserAuth, user_id: str, **options: Any) -> httpx.Client | httpx.AsyncClient:
    """Return an httpx client that calls amoCRM as this user; relative addresses go to the user's account.

    A ``UserAuth`` gives an ``httpx.Client``, an ``AsyncUserAuth`` an ``httpx.AsyncClient``. ``options`` are those of
    the client, without ``auth`` and ``base_url``. It is the caller's to close. It signs as :func:`http_auth` says,
    and follows the account when it moves to another host. One client serves one user.

    Raises:
        NotConnected: there is no account to talk to; an asynchronous client raises it at the first call.

    """
    if isinstance(auth, UserAuth):
        home = auth.hosts(user_id)[0]
        return httpx.Client(auth=UserHTTPAuth(auth, user_id, home=home), base_url=f"https://{home}", **options)
    return httpx.AsyncClient(auth=AsyncUserHTTPAuth(auth, user_id), base_url=f"https://{HOME}", **options)
