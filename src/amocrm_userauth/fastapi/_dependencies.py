"""What an application's own endpoints get: the user's token, or a client that calls amoCRM as them."""

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import cache
from typing import Annotated, Any

import httpx
from fastapi import Depends
from fastapi.concurrency import run_in_threadpool

from amocrm_userauth import AsyncUserAuth, UserAuth
from amocrm_userauth.errors import ConfigurationError
from amocrm_userauth.fastapi import _calls
from amocrm_userauth.fastapi._callers import Caller, ServiceSource, caller_of, service_of
from amocrm_userauth.httpx import client

__all__ = ["access_token", "amocrm_client"]


def access_token(
    auth: ServiceSource, current_user: Callable[..., object], user_id: Callable[[Any], str] = str
) -> Callable[..., Awaitable[str]]:
    """Return a dependency that gives the current user's valid amoCRM access token.

    ``auth``, ``current_user`` and ``user_id`` are those of :func:`amocrm_router`. In the endpoint it is a ``str``, to
    be put into an ``Authorization: Bearer`` header; :func:`amocrm_client` does that, and mends a 401 too. Nobody
    logged in is a 401. Raises what ``UserAuth.access_token`` raises; :func:`install_error_handlers` answers it.
    """

    async def token(
        caller: Annotated[Caller, Depends(caller_of(service_of(auth), current_user, user_id))],
    ) -> str:
        return await _calls.access_token(caller)

    return token


def amocrm_client(
    auth: ServiceSource,
    current_user: Callable[..., object],
    user_id: Callable[[Any], str] = str,
    *,
    transport: httpx.AsyncBaseTransport | httpx.BaseTransport | None = None,
) -> Callable[..., AsyncIterator[httpx.AsyncClient | httpx.Client]]:
    """Return a dependency that gives an httpx client which calls amoCRM as the current user.

    With an ``AsyncUserAuth`` it is an ``httpx.AsyncClient``, with a ``UserAuth`` an ``httpx.Client``; relative
    addresses go to the user's account (``await amocrm.get("/api/v4/leads")``). It is closed after the endpoint.
    A ``transport`` of the same world is shared by all requests, so that connections to amoCRM are kept; it is the
    caller's to close. Nobody logged in is a 401. Raises what :func:`amocrm_userauth.httpx.http_auth` describes, at
    the call to amoCRM.
    """
    shared = None if transport is None else _Shared(transport)

    async def dependency(
        caller: Annotated[Caller, Depends(caller_of(service_of(auth), current_user, user_id))],
    ) -> AsyncIterator[httpx.AsyncClient | httpx.Client]:
        if isinstance(caller.service, AsyncUserAuth):
            async with _async_client(caller.service, caller.user, shared) as amocrm:
                yield amocrm
        else:
            with await run_in_threadpool(_client, caller.service, caller.user, shared) as amocrm:
                yield amocrm

    return dependency


@cache
def _tls() -> ssl.SSLContext:
    """Return one TLS context for all clients: making one takes longer than a call."""
    return httpx.create_ssl_context()


class _Shared(httpx.AsyncBaseTransport, httpx.BaseTransport):
    """A transport that outlives the clients which use it."""

    def __init__(self, transport: httpx.AsyncBaseTransport | httpx.BaseTransport) -> None:
        self._transport = transport

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if not isinstance(self._transport, httpx.BaseTransport):
            raise ConfigurationError(_OTHER_WORLD)
        return self._transport.handle_request(request)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if not isinstance(self._transport, httpx.AsyncBaseTransport):
            raise ConfigurationError(_OTHER_WORLD)
        return await self._transport.handle_async_request(request)


_OTHER_WORLD = "amocrm_client(transport=...) and the service must both be synchronous or both asynchronous"


def _async_client(service: AsyncUserAuth, user: str, transport: _Shared | None) -> httpx.AsyncClient:
    if transport is None:
        return client(service, user, verify=_tls())
    return client(service, user, transport=transport)


def _client(service: UserAuth, user: str, transport: _Shared | None) -> httpx.Client:
    if transport is None:
        return client(service, user, verify=_tls())
    return client(service, user, transport=transport)
