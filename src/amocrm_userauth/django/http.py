"""Calls to amoCRM as the current user of a view, with httpx.

::

    def leads(request):
        with amocrm_client(request) as amocrm:
            return JsonResponse(amocrm.get("/api/v4/leads").json())

    async def leads(request):
        async with async_amocrm_client(request) as amocrm:
            return JsonResponse((await amocrm.get("/api/v4/leads")).json())

Outside a view, where there is no request: ``amocrm_userauth.httpx.client(user_auth(), str(user.pk))``.
"""

import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import cache
from typing import cast

import httpx
from asgiref.sync import sync_to_async
from django.http import HttpRequest

from amocrm_userauth import AsyncUserAuth, UserAuth
from amocrm_userauth.django._callers import caller_of
from amocrm_userauth.httpx import client

__all__ = ["amocrm_client", "async_amocrm_client"]


def amocrm_client(request: HttpRequest, *, transport: httpx.BaseTransport | None = None) -> httpx.Client:
    """Return an httpx client that calls amoCRM as the user of this request; close it, or use it in a ``with`` block.

    Relative addresses go to the user's account. A ``transport`` of yours is shared by all requests, so that
    connections to amoCRM are kept; it is yours to close. Who the user is, ``CURRENT_USER`` says.

    Raises:
        RequestRefused: nobody is logged in. ``ErrorMiddleware`` makes it a 401.
        NotConnected: the user has no amoCRM account connected.

    At a call to amoCRM it raises what :func:`amocrm_userauth.httpx.http_auth` describes.

    """
    caller = caller_of(request)
    if transport is None:
        return client(caller.service, caller.user, verify=_tls())
    return client(caller.service, caller.user, transport=_Shared(transport))


@asynccontextmanager
async def async_amocrm_client(
    request: HttpRequest, *, transport: httpx.AsyncBaseTransport | None = None
) -> AsyncGenerator[httpx.AsyncClient]:
    """Give an ``httpx.AsyncClient`` that calls amoCRM as the user of this request, for an ``async with`` block.

    For async views. The user's token is looked up in a thread, as Django's database needs it; the calls to amoCRM are
    the event loop's. Arguments and errors are those of :func:`amocrm_client`; ``NotConnected`` comes at the first call.
    """
    caller = await sync_to_async(caller_of)(request)
    # `http_auth` needs of the service only what _InThreads has.
    service = cast("AsyncUserAuth", _InThreads(caller.service))
    if transport is None:
        made = client(service, caller.user, verify=_tls())
    else:
        made = client(service, caller.user, transport=_AsyncShared(transport))
    async with made:
        yield made


class _InThreads:
    """What signs requests, each call in a thread of its own: not in the request's, which may be waiting for amoCRM."""

    def __init__(self, service: UserAuth) -> None:
        self._service = service

    async def access_token(self, user_id: str, *, rejected: str | None = None) -> str:
        # a closure: arguments would show the rejected token in a traceback with locals
        return await sync_to_async(
            lambda: self._service.access_token(user_id, rejected=rejected), thread_sensitive=False
        )()

    async def hosts(self, user_id: str) -> tuple[str, str]:
        return await sync_to_async(self._service.hosts, thread_sensitive=False)(user_id)


@cache
def _tls() -> ssl.SSLContext:
    """Return one TLS context for all clients: making one takes longer than a call."""
    return httpx.create_ssl_context()


class _Shared(httpx.BaseTransport):
    """A transport that outlives the clients which use it."""

    def __init__(self, transport: httpx.BaseTransport) -> None:
        self._transport = transport

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return self._transport.handle_request(request)


class _AsyncShared(httpx.AsyncBaseTransport):
    """The same for asynchronous clients."""

    def __init__(self, transport: httpx.AsyncBaseTransport) -> None:
        self._transport = transport

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await self._transport.handle_async_request(request)
