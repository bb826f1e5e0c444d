"""The service's methods for either world: a synchronous service works in FastAPI's thread pool."""

from fastapi import Request
from fastapi.concurrency import run_in_threadpool

from amocrm_userauth import AsyncUserAuth
from amocrm_userauth._core.model import AuthorizationRequest, Callback, ConnectionStatus
from amocrm_userauth._wire.models import ExchangeCode
from amocrm_userauth.fastapi._callers import Caller, Service

__all__ = ["accept_callback", "begin", "connect", "disconnect", "status"]


async def status(caller: Caller) -> ConnectionStatus:
    """Return the user's status."""
    if isinstance(caller.service, AsyncUserAuth):
        return await caller.service.status(caller.user)
    return await run_in_threadpool(caller.service.status, caller.user)


async def begin(caller: Caller) -> AuthorizationRequest:
    """Return where to send the user's browser."""
    if isinstance(caller.service, AsyncUserAuth):
        return await caller.service.begin(caller.user)
    return await run_in_threadpool(caller.service.begin, caller.user)


async def disconnect(caller: Caller) -> bool:
    """Forget the user's connection."""
    if isinstance(caller.service, AsyncUserAuth):
        return await caller.service.disconnect(caller.user)
    return await run_in_threadpool(caller.service.disconnect, caller.user)


# The two below pass closures, not arguments, to the pool: its frames would show the code in a traceback with locals.


async def connect(caller: Caller, body: ExchangeCode) -> ConnectionStatus:
    """Exchange the code for the user's tokens. Empty strings count as left out."""
    service, user = caller.service, caller.user
    if isinstance(service, AsyncUserAuth):
        return await service.connect(user, code=body.code, state=body.state or None, referer=body.referer or None)
    return await run_in_threadpool(
        lambda: service.connect(user, code=body.code, state=body.state or None, referer=body.referer or None)
    )


async def accept_callback(service: Service, request: Request) -> Callback:
    """Check what amoCRM's redirect brought."""
    query = request.query_params
    # Read. Access logs and monitoring, which look at the scope afterwards, need not have the code.
    request.scope["query_string"] = b""
    if isinstance(service, AsyncUserAuth):
        return await service.accept_callback(query.multi_items())
    return await run_in_threadpool(lambda: service.accept_callback(query.multi_items()))
