"""The service's methods for either world: a synchronous service works in threads.

What may wait for amoCRM does so in threads of its own: FastAPI's forty are shared by the whole application, and forty
users whose tokens are due would take them all for as long as amoCRM is slow.
"""

from collections.abc import Callable
from typing import TypeVar

from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import RunVar
from fastapi import Request
from fastapi.concurrency import run_in_threadpool

from amocrm_userauth import AsyncUserAuth
from amocrm_userauth._core.model import AuthorizationRequest, Callback, ConnectionStatus
from amocrm_userauth._wire.models import ExchangeCode
from amocrm_userauth.fastapi._callers import Caller, Service

__all__ = ["accept_callback", "access_token", "begin", "connect", "disconnect", "status"]

T = TypeVar("T")
_THREADS = 500
_limiter: RunVar[CapacityLimiter] = RunVar("amocrm_userauth_limiter")


async def access_token(caller: Caller) -> str:
    """Return the user's valid token."""
    if isinstance(caller.service, AsyncUserAuth):
        return await caller.service.access_token(caller.user)
    service = caller.service
    return await _in_waiting_thread(lambda: service.access_token(caller.user))


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
    return await _in_waiting_thread(
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


async def _in_waiting_thread(work: Callable[[], T]) -> T:
    try:
        limiter = _limiter.get()
    except LookupError:
        limiter = CapacityLimiter(_THREADS)
        _limiter.set(limiter)
    return await to_thread.run_sync(work, limiter=limiter)
