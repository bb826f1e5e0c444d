"""The same with Django REST framework: whatever its ``DEFAULT_AUTHENTICATION_CLASSES`` accept."""

from django.http import HttpRequest
from rest_framework.exceptions import APIException, AuthenticationFailed, NotAuthenticated
from rest_framework.views import APIView

from amocrm_userauth.django import RequestRefused


def current_user(request: HttpRequest) -> object | None:
    """Return the user that Django REST framework finds; name this function as ``CURRENT_USER``."""
    asked = APIView().initialize_request(request)
    try:
        return asked.user if asked.user.is_authenticated else None
    except (AuthenticationFailed, NotAuthenticated) as error:
        challenge = asked.authenticators[0].authenticate_header(asked)
        status = error.status_code if challenge else 403  # as the framework's own views do
        raise RequestRefused(status, str(error.detail), {"WWW-Authenticate": challenge} if challenge else {}) from None
    except APIException as error:
        raise RequestRefused(error.status_code, str(error.detail)) from None
