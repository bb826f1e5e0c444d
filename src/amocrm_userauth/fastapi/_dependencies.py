"""From a request to the service and the user, and what an application's own endpoints make of them."""

import inspect
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import cache
from typing import Annotated, Any, TypeAlias
from uuid import UUID

import httpx
from fastapi import Depends
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel
from starlette.requests import HTTPConnection

from amocrm_userauth import AsyncUserAuth, UserAuth
from amocrm_userauth._core.model import check_user_id
from amocrm_userauth.errors import ConfigurationError
from amocrm_userauth.fastapi._errors import NotAuthenticated
from amocrm_userauth.httpx import client

__all__ = ["Service", "ServiceSource", "access_token", "amocrm_client", "service_of", "user_of"]

Service: TypeAlias = UserAuth | AsyncUserAuth
ServiceSource: TypeAlias = Service | Callable[..., Service | Awaitable[Service]]


def service_of(source: ServiceSource) -> Callable[..., Awaitable[Service]]:
    """Return the dependency that finds the service.

    A callable with no parameter, or with one that is not annotated or is the request, is called in the event loop (it
    only looks something up). Any other is an ordinary dependency of FastAPI's.
    """
    if isinstance(source, UserAuth | AsyncUserAuth):
        return _constant(source)
    parameters = list(inspect.signature(source).parameters.values())
    if not parameters:
        return _finder(lambda _connection: source())
    if len(parameters) == 1 and _takes_connection(parameters[0]):
        return _finder(source)
    return _resolved(source)


def _takes_connection(parameter: inspect.Parameter) -> bool:
    kind = parameter.annotation
    if isinstance(kind, str):
        return kind.rpartition(".")[2] in {"Request", "HTTPConnection"}
    return kind is inspect.Parameter.empty or (isinstance(kind, type) and issubclass(kind, HTTPConnection))


def _constant(service: Service) -> Callable[..., Awaitable[Service]]:
    async def find() -> Service:
        return service

    return find


def _finder(source: Callable[[HTTPConnection], Service | Awaitable[Service]]) -> Callable[..., Awaitable[Service]]:
    async def find(connection: HTTPConnection) -> Service:
        found = source(connection)
        return _checked(await found if inspect.isawaitable(found) else found)

    return find


def _resolved(source: Callable[..., Service | Awaitable[Service]]) -> Callable[..., Awaitable[Service]]:
    async def find(found: Annotated[object, Depends(source)]) -> Service:
        return _checked(found)

    return find


def _checked(found: object) -> Service:
    if isinstance(found, UserAuth | AsyncUserAuth):
        return found
    msg = f"the callable given for the service returned {type(found).__name__}, not a UserAuth or AsyncUserAuth"
    raise ConfigurationError(msg)


def user_of(current_user: Callable[..., object], user_id: Callable[[Any], str]) -> Callable[..., Awaitable[str]]:
    """Return the dependency that gives the logged-in user's id, and refuses everybody else."""

    async def find(user: Annotated[object, Depends(current_user)]) -> str:
        if user is None:
            raise NotAuthenticated
        if user_id is str and not _names_itself(user):
            msg = f"str() of a {type(user).__name__} is no user id; pass user_id=lambda user: str(user.id) or the like"
            raise ConfigurationError(msg)
        return _usable(user_id(user))

    return find


def _names_itself(user: object) -> bool:
    if isinstance(user, str | int | UUID):
        return True
    return type(user).__str__ is not object.__str__ and not isinstance(user, BaseModel)


def _usable(user_id: object) -> str:
    if user_id is None or user_id == "":
        raise NotAuthenticated
    try:
        return check_user_id(user_id)
    except ValueError as error:
        msg = f"user_id gave something else than a user id: {error}"
        raise ConfigurationError(msg) from None


def access_token(
    auth: ServiceSource, current_user: Callable[..., object], user_id: Callable[[Any], str] = str
) -> Callable[..., Awaitable[str]]:
    """Return a dependency that gives the current user's valid amoCRM access token.

    ``auth``, ``current_user`` and ``user_id`` are those of :func:`amocrm_router`. In the endpoint it is a ``str``, to
    be put into an ``Authorization: Bearer`` header; :func:`amocrm_client` does that, and mends a 401 too. Nobody
    logged in is a 401. Raises what ``UserAuth.access_token`` raises; :func:`install_error_handlers` answers it.
    """

    async def token(
        service: Annotated[Service, Depends(service_of(auth))],
        user: Annotated[str, Depends(user_of(current_user, user_id))],
    ) -> str:
        if isinstance(service, AsyncUserAuth):
            return await service.access_token(user)
        return await run_in_threadpool(service.access_token, user)

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
        service: Annotated[Service, Depends(service_of(auth))],
        user: Annotated[str, Depends(user_of(current_user, user_id))],
    ) -> AsyncIterator[httpx.AsyncClient | httpx.Client]:
        if isinstance(service, AsyncUserAuth):
            async with _async_client(service, user, shared) as amocrm:
                yield amocrm
        else:
            with await run_in_threadpool(_client, service, user, shared) as amocrm:
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
