"""The five endpoints."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import HTMLResponse
from pydantic import ValidationError

from amocrm_userauth._wire.answers import reply
from amocrm_userauth._wire.bodies import NOT_JSON, faults, is_json
from amocrm_userauth._wire.models import STATE_TTL, AuthorizeUrl, AuthorizeUrlReply, Done, ExchangeCode, StatusReply
from amocrm_userauth._wire.pages import checked_deep_link, error_page, redirect, target
from amocrm_userauth.errors import AmoCRMUserAuthError, ConfigurationError
from amocrm_userauth.fastapi import _calls, _openapi
from amocrm_userauth.fastapi._callers import Caller, Service, ServiceSource, caller_of, service_of
from amocrm_userauth.fastapi._errors import EnvelopeRoute, InvalidRequest, respond

__all__ = ["amocrm_router"]

_Dependency = Callable[..., object]


def amocrm_router(
    auth: ServiceSource,
    *,
    current_user: Callable[..., object],
    user_id: Callable[[Any], str] = str,
    deep_link: str | None = None,
    include_callback: bool | None = None,
) -> APIRouter:
    """Return the router with ``status``, ``authorize-url``, ``exchange-code``, ``disconnect`` and ``callback``.

    Include it at any prefix, also at several. All but ``callback`` act on the logged-in user and on nobody else.

    Args:
        auth: the service, or a callable that finds it, such as ``lambda request: request.app.state.amocrm`` for one
            that the application's lifespan builds. A ``UserAuth`` works in FastAPI's thread pool.
        current_user: the application's own dependency that gives the logged-in user. ``None``, like an
            ``HTTPException`` with status 401, means that nobody is.
        user_id: gives the id under which a user's tokens are kept. The default is for users that are a ``str``, an
            ``int`` or a ``UUID``. An empty id counts as nobody.
        deep_link: where ``callback`` sends the browser: ``myapp://amo-crm/callback`` or an https App Link.
        include_callback: whether there is a ``callback``; by default there is if there is a ``deep_link``.

    Raises:
        ConfigurationError: ``deep_link`` cannot be one, or is missing for ``include_callback``. In the endpoints, as a
            500: ``auth`` found no service, or ``user_id`` gave something that cannot be an id.

    Every error is in the envelope ``{"success": false, "error": {"code": ..., "message": ...}}``, with the status and
    headers of an ``HTTPException`` that ``current_user`` raised. Codes besides those of :mod:`amocrm_userauth.errors`:
    ``not_authenticated`` (401), ``forbidden`` (403), ``method_not_allowed`` (405), ``invalid_request`` (422), and
    ``http_error`` for other ``HTTPException``.

    """
    router = APIRouter(tags=["amoCRM"], route_class=EnvelopeRoute)
    find = service_of(auth)
    find_caller = caller_of(find, current_user, user_id)
    _add_status_and_url(router, find_caller)
    _add_exchange_and_disconnect(router, find_caller)
    if deep_link is not None and include_callback is not False:
        _add_callback(router, find, checked_deep_link(deep_link))
    elif include_callback:
        msg = "include_callback needs a deep_link to send the browser to"
        raise ConfigurationError(msg)
    return router


def _add_status_and_url(router: APIRouter, find_caller: _Dependency) -> None:
    @router.get("/status", response_model=StatusReply, responses=_openapi.STATUS)
    async def amocrm_status(caller: Annotated[Caller, Depends(find_caller)]) -> Response:
        """Say whether the logged-in user is connected. Never calls amoCRM."""
        return respond(reply(StatusReply.of(await _calls.status(caller))))

    @router.get("/authorize-url", response_model=AuthorizeUrlReply, responses=_openapi.BEGIN)
    async def amocrm_authorize_url(caller: Annotated[Caller, Depends(find_caller)]) -> Response:
        """Return amoCRM's consent page for the logged-in user; open it in the system browser."""
        request = await _calls.begin(caller)
        url = AuthorizeUrl(url=request.url, state=request.state, expires_in=STATE_TTL)
        return respond(reply(AuthorizeUrlReply(data=url)))


def _add_exchange_and_disconnect(router: APIRouter, find_caller: _Dependency) -> None:
    @router.post(
        "/exchange-code", response_model=Done, responses=_openapi.CONNECT, openapi_extra=_openapi.CONNECT_EXTRA
    )
    async def amocrm_exchange_code(
        caller: Annotated[Caller, Depends(find_caller)], body: Annotated[ExchangeCode, Depends(_exchange_code)]
    ) -> Response:
        """Connect the logged-in user with the code that amoCRM gave. Repeating the same request is harmless."""
        await _calls.connect(caller, body)
        return respond(reply(Done(message="AMO CRM successfully connected")))

    @router.post("/disconnect", response_model=Done, responses=_openapi.DISCONNECT)
    async def amocrm_disconnect(caller: Annotated[Caller, Depends(find_caller)]) -> Response:
        """Forget the logged-in user's tokens. Succeeds also if there were none."""
        await _calls.disconnect(caller)
        return respond(reply(Done(message="AMO CRM disconnected")))


def _add_callback(router: APIRouter, find: _Dependency, deep_link: str) -> None:
    @router.get(
        "/callback",
        status_code=302,
        response_class=HTMLResponse,
        responses=_openapi.CALLBACK,
        openapi_extra=_openapi.CALLBACK_EXTRA,
    )
    async def amocrm_callback(request: Request, service: Annotated[Service, Depends(find)]) -> Response:
        """Take amoCRM's redirect (no login: a browser comes here) and pass it on to the app's deep link."""
        try:
            answer = await _calls.accept_callback(service, request)
        except AmoCRMUserAuthError as error:
            return respond(error_page(error))
        return respond(redirect(target(deep_link, answer)))


async def _exchange_code(request: Request) -> ExchangeCode:
    if not is_json(request.headers.get("Content-Type", "")):
        raise InvalidRequest([NOT_JSON])
    try:
        return ExchangeCode.model_validate_json(await request.body())
    except ValidationError as error:
        found = faults(error)
    raise InvalidRequest(found)
