"""Who the user of a request is: a JWT bearer for the mobile app, Django's session for the site."""

from datetime import UTC, datetime, timedelta

import jwt
from django.conf import settings
from django.contrib.auth import authenticate, get_user_model
from django.contrib.auth.models import AbstractBaseUser
from django.http import HttpRequest, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from amocrm_userauth.django import RequestRefused, session_user

_ALGORITHM = "HS256"
_AUDIENCE = "example-app"
_LIFETIME = timedelta(hours=1)


# --8<-- [start:current_user]
def current_user(request: HttpRequest) -> object | None:
    """Return the logged-in user; settings.py names this function."""
    if "Authorization" in request.headers:
        return bearer_user(request)
    return session_user(request)


def bearer_user(request: HttpRequest) -> object | None:
    """Return the user whose token is in the header ``Authorization: Bearer …``."""
    token = request.headers["Authorization"].removeprefix("Bearer ")
    try:
        claims = jwt.decode(
            token, settings.JWT_KEY, algorithms=[_ALGORITHM], audience=_AUDIENCE, options={"require": ["exp", "sub"]}
        )
    except jwt.InvalidTokenError:
        challenge = {"WWW-Authenticate": 'Bearer error="invalid_token"'}
        raise RequestRefused(401, "the token is not valid any more; log in again", challenge) from None
    return get_user_model().objects.filter(pk=claims["sub"], is_active=True).first()


# --8<-- [end:current_user]


@csrf_exempt
@require_POST
def log_in(request: HttpRequest) -> JsonResponse:
    """Hand out a token for a name and a password."""
    user = authenticate(request, username=request.POST.get("username"), password=request.POST.get("password"))
    if user is None:
        return JsonResponse({"error": "wrong name or password"}, status=401)
    return JsonResponse({"token": token_for(user)})


def token_for(user: AbstractBaseUser) -> str:
    """Return a token that says who the user is, for an hour."""
    claims = {"sub": str(user.pk), "aud": _AUDIENCE, "exp": datetime.now(UTC) + _LIFETIME}
    return jwt.encode(claims, settings.JWT_KEY, _ALGORITHM)
