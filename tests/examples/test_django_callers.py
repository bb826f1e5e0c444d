"""The example's logins: a JWT with PyJWT, and whatever Django REST framework accepts."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest

from amocrm_userauth.testing import FakeAmoCRM
from tests.contract.django_sites import MOUNT, browser, site
from tests.django import kit
from tests.django.settings import JWT_KEY as KEY


@pytest.fixture
def fake() -> Iterator[FakeAmoCRM]:
    """Give an amoCRM."""
    with FakeAmoCRM() as fake:
        yield fake


@pytest.fixture
def bearer(fake: FakeAmoCRM) -> Iterator[Callable[..., Any]]:
    """Give what asks for Anna's status with a token of these claims."""
    with site(fake, CURRENT_USER="examples.django_site.callers.current_user"):
        user = kit.make_user("anna")

        def ask(key: str = KEY, algorithm: str = "HS256", **claims: Any) -> Any:
            known = {"sub": user, "aud": "example-app", "exp": datetime.now(UTC) + timedelta(hours=1)}
            kept = {name: value for name, value in {**known, **claims}.items() if value is not None}
            token = jwt.encode(kept, key, algorithm)
            return browser(None).get(f"{MOUNT}/status", headers={"Authorization": f"Bearer {token}"})

        yield ask


def test_a_good_token(bearer: Callable[..., Any]) -> None:
    """Its subject is the user, and a post needs no CSRF token."""
    assert bearer().status_code == 200


@pytest.mark.parametrize(
    "wrong",
    [
        {"key": "another-example-key-that-is-long-enough-for-this"},
        {"exp": datetime(2020, 1, 1, tzinfo=UTC)},
        {"exp": None},
        {"sub": None},
        {"aud": "another-app"},
        {"algorithm": "none", "key": None},
        {"algorithm": "HS512", "key": KEY * 2},
    ],
    ids=str,
)
def test_a_wrong_token(bearer: Callable[..., Any], wrong: dict[str, Any]) -> None:
    """Another key, too old, without an end or a user, for another application, unsigned: a 401 that says why."""
    reply = bearer(**wrong)
    assert (reply.status_code, reply.json()["error"]["code"]) == (401, "not_authenticated")
    assert reply["WWW-Authenticate"] == 'Bearer error="invalid_token"'


def test_a_token_of_a_user_who_is_gone(bearer: Callable[..., Any]) -> None:
    """A deleted or deactivated user is nobody, though the token is good."""
    kit.get_user_model().objects.filter(pk=kit.key("anna")).update(is_active=False)
    assert bearer().status_code == 401
    assert bearer(sub="0").status_code == 401


def test_without_a_header_it_is_the_session(bearer: Callable[..., Any]) -> None:
    """The pages of the site use the same endpoints, with CSRF tokens."""
    client = browser("boris")
    assert client.get(f"{MOUNT}/status").status_code == 200
    assert client.post(f"{MOUNT}/disconnect").status_code == 403
    assert browser(None).get(f"{MOUNT}/status").status_code == 401


_BASIC = "rest_framework.authentication.BasicAuthentication"
_SESSION = "rest_framework.authentication.SessionAuthentication"


@pytest.fixture
def framework(fake: FakeAmoCRM) -> Iterator[Any]:
    """Run a site whose logins are Django REST framework's."""
    from rest_framework.settings import api_settings
    from rest_framework.views import APIView

    def use(*classes: str) -> None:
        api_settings._user_settings = {"DEFAULT_AUTHENTICATION_CLASSES": classes}
        api_settings.reload()
        api_settings._user_settings = {"DEFAULT_AUTHENTICATION_CLASSES": classes}
        APIView.authentication_classes = api_settings.DEFAULT_AUTHENTICATION_CLASSES

    before = APIView.authentication_classes
    with site(fake, CURRENT_USER="examples.django_site.drf.current_user"):
        kit.get_user_model().objects.create_user("anna", password="example-password")
        yield use
    APIView.authentication_classes = before
    api_settings.reload()


def _basic(password: str) -> dict[str, str]:
    from base64 import b64encode

    return {"Authorization": f"Basic {b64encode(f'anna:{password}'.encode()).decode()}"}


def test_what_the_framework_accepts(framework: Any) -> None:
    """Its first class says how to log in, as in its own views."""
    framework(_BASIC)
    ask = browser(None)
    assert ask.get(f"{MOUNT}/status", headers=_basic("example-password")).status_code == 200
    assert ask.post(f"{MOUNT}/disconnect", headers=_basic("example-password")).status_code == 200
    wrong = ask.get(f"{MOUNT}/status", headers=_basic("wrong"))
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (401, "not_authenticated")
    assert wrong["WWW-Authenticate"] == 'Basic realm="api"'
    assert ask.get(f"{MOUNT}/status").status_code == 401


def test_its_sessions_need_csrf_tokens(framework: Any) -> None:
    """The framework's own check refuses first."""
    framework(_SESSION, _BASIC)
    client = browser("boris")
    assert client.get(f"{MOUNT}/status").status_code == 200
    refused = client.post(f"{MOUNT}/disconnect")
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "forbidden")
    assert "CSRF" in refused.json()["error"]["message"]
    wrong = browser(None).get(f"{MOUNT}/status", headers=_basic("wrong"))
    assert wrong.status_code == 403  # the first class knows no way to ask for a login
