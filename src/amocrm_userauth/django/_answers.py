"""The contract's answers as Django's, whoever raised an error."""

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeAlias, TypeVar

from django.contrib.auth.decorators import login_not_required
from django.core.exceptions import PermissionDenied
from django.db import connections
from django.db.transaction import non_atomic_requests
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt

from amocrm_userauth._wire import answers
from amocrm_userauth._wire.answers import Answer, of_refusal
from amocrm_userauth.django._refusals import RequestRefused
from amocrm_userauth.errors import AmoCRMUserAuthError

__all__ = ["View", "answer_of", "endpoint", "outside_transactions", "respond"]

View: TypeAlias = Callable[[HttpRequest], HttpResponse]
Wrapped = TypeVar("Wrapped", bound=Callable[..., Any])

_log = logging.getLogger("amocrm_userauth.django")


def respond(answer: Answer) -> HttpResponse:
    """Return the framework's response."""
    return HttpResponse(
        answer.content, status=answer.status, content_type=answer.content_type, headers=dict(answer.headers)
    )


def answer_of(error: Exception) -> Answer | None:
    """Return the answer to the library's errors and to a refusal; ``None`` to what is the application's own."""
    if isinstance(error, AmoCRMUserAuthError):
        return answers.of_library(error, _log)
    if isinstance(error, RequestRefused):
        return of_refusal(error.status, error.message, error.headers)
    return None


def endpoint(method: str) -> Callable[[Callable[[HttpRequest], Answer]], View]:
    """Make a view of a function that answers requests with ``method``; its errors are in the envelope.

    Django's own ways of refusing a request do not apply: they answer with pages and redirects.
    """

    def decorate(answer: Callable[[HttpRequest], Answer]) -> View:
        @wraps(answer)
        def view(request: HttpRequest) -> HttpResponse:
            # Patch releases of Django before it looked at `no-store` would keep one user's answer for another.
            vars(request)["_cache_update_cache"] = False
            return respond(_answer(answer, method, request))

        return outside_transactions(csrf_exempt(login_not_required(view)))

    return decorate


def _answer(answer: Callable[[HttpRequest], Answer], method: str, request: HttpRequest) -> Answer:
    if request.method != method:
        return of_refusal(405, "Method Not Allowed", {"Allow": method})
    try:
        return answer(request)
    except PermissionDenied:
        return of_refusal(403, "Forbidden")
    except Exception as error:
        found = answer_of(error)
        if found is None:
            raise
        return found


def outside_transactions(view: Wrapped) -> Wrapped:
    """Keep ``ATOMIC_REQUESTS`` off a view: nothing in the database may be held open while amoCRM is asked."""
    for alias in connections:
        view = non_atomic_requests(using=alias)(view)
    return view
