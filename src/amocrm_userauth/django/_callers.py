"""From a request to who asks for what: the service and the user."""

from collections.abc import Callable
from dataclasses import dataclass
from inspect import iscoroutinefunction
from uuid import UUID

from asgiref.sync import async_to_sync
from django.conf import settings as django_settings
from django.contrib.auth import get_user_model
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import get_token
from django.views.decorators.csrf import csrf_protect

from amocrm_userauth import UserAuth
from amocrm_userauth.django._refusals import RequestRefused, not_authenticated
from amocrm_userauth.django._service import user_auth
from amocrm_userauth.django._settings import Options
from amocrm_userauth.errors import ConfigurationError

__all__ = ["Caller", "caller_of", "forbid_forgery", "session_user"]


@dataclass(frozen=True, slots=True)
class Caller:
    """A logged-in user, and the service that keeps their connection."""

    service: UserAuth
    user: str


def session_user(request: HttpRequest) -> object | None:
    """Return the user of Django's session, ``None`` without one. The default of ``CURRENT_USER``.

    For callables of your own that try something else first, such as a bearer token.

    Raises:
        ConfigurationError: ``AuthenticationMiddleware`` is missing.

    """
    user: object | None = getattr(request, "user", None)
    if user is None:
        msg = "add AuthenticationMiddleware to MIDDLEWARE, or name a callable as AMOCRM_USERAUTH['CURRENT_USER']"
        raise ConfigurationError(msg)
    return user if getattr(user, "is_authenticated", False) else None


def caller_of(request: HttpRequest) -> Caller:
    """Return the logged-in user and the service.

    Raises:
        RequestRefused: nobody is logged in, or the application refuses them.
        ConfigurationError: what ``CURRENT_USER`` gave cannot be a user; or the service cannot be built.

    """
    user = _id_of(_current_user(request))
    service = user_auth()
    try:
        return Caller(service, service.store.canonical_user_id(user))
    except ValueError as error:
        msg = f"CURRENT_USER gave something that is no user id in this store: {error}"
        raise ConfigurationError(msg) from None


def forbid_forgery(request: HttpRequest) -> None:
    """Refuse a request that changes something and that another site may have made the user's browser send.

    That is one that comes with Django's session: it needs the CSRF token, whose cookie goes with the answers to the
    others. One that is logged in by a header needs none: no other site can send that header.

    Raises:
        RequestRefused: the token is missing or wrong.

    """
    if not _rides_on_a_cookie(request):
        return
    if request.method == "GET":
        get_token(request)
    elif not isinstance(_passes(request), _Passed):
        raise RequestRefused(403, "send the CSRF token of this session in the header X-CSRFToken")


def _rides_on_a_cookie(request: HttpRequest) -> bool:
    if _find_user() is session_user:
        return True
    return django_settings.SESSION_COOKIE_NAME in request.COOKIES and "Authorization" not in request.headers


class _Passed(HttpResponse):
    """Nothing was wrong."""


@csrf_protect
def _passes(_request: HttpRequest) -> HttpResponse:
    return _Passed()


def _find_user() -> Callable[..., object]:
    options = Options.read()
    return session_user if options.value("CURRENT_USER") is None else options.callable("CURRENT_USER")


def _current_user(request: HttpRequest) -> object | None:
    find = _find_user()
    return async_to_sync(find)(request) if iscoroutinefunction(find) else find(request)


def _id_of(user: object | None) -> str:
    if user is None:
        raise not_authenticated()
    if isinstance(user, str | int | UUID) and not isinstance(user, bool):
        found = str(user)
    elif hasattr(user, "pk") and not (isinstance(user, Model) and not isinstance(user, get_user_model())):
        found = _key_of(user)
    else:
        msg = f"CURRENT_USER gave a {type(user).__name__}; it must give a user, its id, or None"
        raise ConfigurationError(msg)
    if not found:
        raise not_authenticated()
    return found


def _key_of(user: object) -> str:
    key: object = getattr(user, "pk", None)
    # An anonymous user has no key; one who was switched off counts as deleted.
    return "" if key is None or not getattr(user, "is_active", True) else str(key)
