"""From a request to who asks for what: the service and the user."""

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias
from uuid import UUID

from fastapi import Depends
from pydantic import BaseModel
from starlette.requests import HTTPConnection

from amocrm_userauth import AsyncUserAuth, UserAuth
from amocrm_userauth.errors import ConfigurationError
from amocrm_userauth.fastapi._errors import NotAuthenticated

__all__ = ["Caller", "Service", "ServiceSource", "caller_of", "service_of"]

Service: TypeAlias = UserAuth | AsyncUserAuth
ServiceSource: TypeAlias = Service | Callable[..., Service | Awaitable[Service]]


@dataclass(frozen=True, slots=True)
class Caller:
    """A logged-in user, and the service that keeps their connection."""

    service: Service
    user: str


def caller_of(
    find: Callable[..., Awaitable[Service]], current_user: Callable[..., object], user_id: Callable[[Any], str]
) -> Callable[..., Awaitable[Caller]]:
    """Return the dependency that gives the logged-in user and the service, and refuses everybody else."""
    find_user = _user_of(current_user, user_id)

    async def caller(user: Annotated[str, Depends(find_user)], service: Annotated[Service, Depends(find)]) -> Caller:
        try:
            return Caller(service, service.store.canonical_user_id(user))
        except ValueError as error:
            msg = f"user_id gave something that is no user id in this store: {error}"
            raise ConfigurationError(msg) from None

    return caller


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


def _user_of(current_user: Callable[..., object], user_id: Callable[[Any], object]) -> Callable[..., Awaitable[str]]:
    async def find(user: Annotated[object, Depends(current_user)]) -> str:
        if user is None:
            raise NotAuthenticated
        if user_id is str and not _is_its_own_id(user):
            msg = f"str() of a {type(user).__name__} is no user id; pass user_id=lambda user: str(user.id) or the like"
            raise ConfigurationError(msg)
        found = user_id(user)
        if found is None or found == "":
            raise NotAuthenticated
        if isinstance(found, str):
            return found
        msg = f"user_id gave a {type(found).__name__}; it must give a str"
        raise ConfigurationError(msg)

    return find


def _is_its_own_id(user: object) -> bool:
    if isinstance(user, str | int | UUID):
        return not isinstance(user, bool)
    return type(user).__str__ is not object.__str__ and not isinstance(user, BaseModel)
