"""The service's methods for either world: a synchronous service works in FastAPI's thread pool."""

from fastapi import Request
from fastapi.concurrency import run_in_threadpool

from amocrm_userauth import AsyncUserAuth
from amocrm_userauth._core.model import AuthorizationRequest, Callback, ConnectionStatus
from amocrm_userauth.fastapi._dependencies import Service
from amocrm_userauth.fastapi._models import ExchangeCode

__all__ = ["accept_callback", "begin", "connect", "disconnect", "status"]


async def status(service: Service, user: str) -> ConnectionStatus:
    """Return the user's status."""
    if isinstance(service, AsyncUserAuth):
        return await service.status(user)
    return await run_in_threadpool(service.status, user)


async def begin(service: Service, user: str) -> AuthorizationRequest:
    """Return where to send the user's browser."""
    if isinstance(service, AsyncUserAuth):
        return await service.begin(user)
    return await run_in_threadpool(service.begin, user)


async def disconnect(service: Service, user: str) -> bool:
    """Forget the user's connection."""
    if isinstance(service, AsyncUserAuth):
        return await service.disconnect(user)
    return await run_in_threadpool(service.disconnect, user)


# The two below pass closures, not arguments, to the pool: its frames would show the code in a traceback with locals.


async def connect(service: Service, user: str, body: ExchangeCode) -> ConnectionStatus:
    """Exchange the code for the user's tokens. Empty strings count as left out."""
    if isinstance(service, AsyncUserAuth):
        return await service.connect(user, code=body.code, state=body.state or None, referer=body.referer or None)
    return await run_in_threadpool(
        lambda: service.connect(user, code=body.code, state=body.state or None, referer=body.referer or None)
    )


async def accept_callback(service: Service, request: Request) -> Callback:
    """Check what amoCRM's redirect brought."""
    if isinstance(service, AsyncUserAuth):
        return await service.accept_callback(request.query_params.multi_items())
    return await run_in_threadpool(lambda: service.accept_callback(request.query_params.multi_items()))
