"""The library's errors in an application's own views."""

from collections.abc import Awaitable, Callable
from inspect import iscoroutinefunction

from asgiref.sync import markcoroutinefunction
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from amocrm_userauth.django._answers import answer_of, respond

__all__ = ["ErrorMiddleware"]


class ErrorMiddleware:
    """Answers the library's errors in the contract's envelope, whichever view raised them.

    Add ``"amocrm_userauth.django.middleware.ErrorMiddleware"`` to ``MIDDLEWARE`` for views that use
    :func:`~amocrm_userauth.django.user_auth` or :func:`~amocrm_userauth.django.amocrm_client`:
    ``ReauthorizationRequired`` becomes a 409, ``TemporarilyUnavailable`` a 503 with ``Retry-After``, and so on (see
    :mod:`amocrm_userauth.errors`); nobody logged in is a 401. The endpoints of :mod:`amocrm_userauth.django.urls` do
    not need it.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]) -> None:
        """Keep the next in line."""
        self._get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        """Pass the request on."""
        return self._get_response(request)

    def process_exception(self, _request: HttpRequest, error: Exception) -> HttpResponse | None:
        """Answer what is ours; leave the rest to the application."""
        answer = answer_of(error)
        return None if answer is None else respond(answer)
