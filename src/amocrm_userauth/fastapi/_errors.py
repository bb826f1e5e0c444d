"""Errors on the wire: one envelope, whoever raised it."""

import logging
import math
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any, cast

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from amocrm_userauth.errors import AmoCRMUserAuthError, TemporarilyUnavailable
from amocrm_userauth.fastapi._models import ErrorInfo, ErrorReply

__all__ = ["EnvelopeRoute", "InvalidRequest", "NotAuthenticated", "install_error_handlers", "reply", "retry_after"]

_CODES = {401: "not_authenticated", 403: "forbidden", 405: "method_not_allowed", 422: "invalid_request"}
_FIRST_ERROR = 400
_FIRST_FAULT_OF_OURS = 500

_log = logging.getLogger("amocrm_userauth.fastapi")


class NotAuthenticated(HTTPException):
    """Nobody is logged in at the application. An ``HTTPException``: a 401 also where our handlers are not installed."""

    def __init__(self) -> None:
        super().__init__(401, "log in to the application first", {"WWW-Authenticate": "Bearer"})


class InvalidRequest(HTTPException):
    """The request is malformed. Names the fields and the kinds of fault, never what was sent."""

    def __init__(self, faults: Iterable[str]) -> None:
        super().__init__(422, f"the request is not valid: {', '.join(faults)}")


def reply(body: BaseModel, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a model of the wire as JSON that nobody stores."""
    kept = {**(headers or {}), "Cache-Control": "no-store"}
    return Response(body.model_dump_json(by_alias=True), status, kept, media_type="application/json")


def envelope(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return an error in the contract's envelope."""
    return reply(ErrorReply(error=ErrorInfo(code=code, message=message)), status, headers)


def retry_after(error: AmoCRMUserAuthError) -> dict[str, str]:
    """Return the header that says when to try again, where that is known: whole seconds, at least one."""
    if not isinstance(error, TemporarilyUnavailable) or error.retry_after is None:
        return {}
    return {"Retry-After": str(max(1, math.ceil(error.retry_after)))}


def of_library(error: AmoCRMUserAuthError) -> Response:
    """Return the answer to one of the library's errors; what is not the client's doing is logged."""
    if error.http_status >= _FIRST_FAULT_OF_OURS:
        _log.warning(
            "answered %s: %s", error.code, error.message, extra={"user_id": error.user_id, "event": error.code}
        )
    return envelope(error.http_status, error.code, error.message, retry_after(error))


def of_http(error: HTTPException) -> Response:
    """Return the answer to an ``HTTPException`` with its status and headers, also the application's own."""
    detail = cast("object", error.detail)  # FastAPI's subclass takes anything
    message = detail if isinstance(detail, str) else "the application refused the request"
    return envelope(error.status_code, _CODES.get(error.status_code, "http_error"), message, error.headers)


def of_validation(error: RequestValidationError) -> Response:
    """Return a 422 that names places and kinds of fault; the values, and messages that may quote them, stay out."""
    faults = (f"{'.'.join(str(part) for part in fault['loc'])} ({fault['type']})" for fault in error.errors())
    return of_http(InvalidRequest(faults))


class EnvelopeRoute(APIRoute):
    """A route whose errors are in the envelope whatever handlers the application has."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, also to a wrong method."""
        if self.methods and scope["method"] not in self.methods:
            allow = {"Allow": ", ".join(sorted(self.methods))}
            await of_http(HTTPException(405, headers=allow))(scope, receive, send)
            return
        await super().handle(scope, receive, send)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return FastAPI's handler, its errors turned into answers. Anything unexpected stays the application's."""
        answer = super().get_route_handler()

        async def handler(request: Request) -> Response:
            try:
                return await answer(request)
            except AmoCRMUserAuthError as error:
                return of_library(error)
            except RequestValidationError as error:
                return of_validation(error)
            except HTTPException as error:
                if error.status_code < _FIRST_ERROR:
                    raise
                return of_http(error)

        return handler


def install_error_handlers(app: FastAPI) -> None:
    """Answer the library's errors in the contract's envelope, wherever in ``app`` they are raised.

    For endpoints of the application that use :func:`access_token`, :func:`amocrm_client` or the service itself:
    ``ReauthorizationRequired`` becomes a 409, ``TemporarilyUnavailable`` a 503 with ``Retry-After``, and so on (see
    :mod:`amocrm_userauth.errors`); nobody logged in is a 401 with the code ``not_authenticated``. Other exceptions
    and other endpoints' validation errors are left to the application. The router of :func:`amocrm_router` does not
    need it: its own errors are always in the envelope.
    """

    async def library(_request: Request, error: Exception) -> Response:
        if not isinstance(error, AmoCRMUserAuthError):  # pragma: no cover - Starlette dispatches by class
            raise error
        return of_library(error)

    async def anonymous(_request: Request, _error: Exception) -> Response:
        return of_http(NotAuthenticated())

    app.add_exception_handler(AmoCRMUserAuthError, library)
    app.add_exception_handler(NotAuthenticated, anonymous)
