"""Errors on the wire: one envelope, whoever raised it."""

import logging
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, cast

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from amocrm_userauth._wire import answers
from amocrm_userauth._wire.answers import LOG_IN, Answer, refusal_of_body
from amocrm_userauth.errors import AmoCRMUserAuthError

__all__ = ["EnvelopeRoute", "InvalidRequest", "NotAuthenticated", "install_error_handlers", "respond"]

_FIRST_ERROR = 400

_log = logging.getLogger("amocrm_userauth.fastapi")


class NotAuthenticated(HTTPException):
    """Nobody is logged in at the application. An ``HTTPException``: a 401 also where our handlers are not installed."""

    def __init__(self) -> None:
        super().__init__(401, LOG_IN, {"WWW-Authenticate": "Bearer"})


class InvalidRequest(HTTPException):
    """The request is malformed. Names the fields and the kinds of fault, never what was sent."""

    def __init__(self, faults: Iterable[str]) -> None:
        super().__init__(422, refusal_of_body(faults))


def respond(answer: Answer) -> Response:
    """Return the framework's response."""
    return Response(answer.content, answer.status, {**answer.headers, "Content-Type": answer.content_type})


def of_library(error: AmoCRMUserAuthError) -> Response:
    """Return the answer to one of the library's errors; what is not the client's doing is logged."""
    return respond(answers.of_library(error, _log))


def of_http(error: HTTPException) -> Response:
    """Return the answer to an ``HTTPException`` with its status and headers, also the application's own."""
    detail = cast("object", error.detail)  # FastAPI's subclass takes anything
    message = detail if isinstance(detail, str) else "the application refused the request"
    return respond(answers.of_refusal(error.status_code, message, error.headers))


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
