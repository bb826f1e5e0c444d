"""How Django's requests lead to the user: the session with CSRF tokens, or what the site names."""

import asyncio
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import AnonymousUser, Group
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.test import AsyncClient, Client

from amocrm_userauth.django import RequestRefused, session_user, user_auth
from amocrm_userauth.testing import FakeAmoCRM
from tests.contract.django_sites import MOUNT, browser, by_header, site
from tests.django import kit

OFF = {"connected": False, "hasTokens": False, "domain": "", "accountId": ""}


@pytest.fixture
def on_session(fake: FakeAmoCRM) -> Iterator[None]:
    """Run a site with the default login: Django's session."""
    with site(fake):
        yield


def _code(reply: Any) -> tuple[int, str]:
    return reply.status_code, reply.json()["error"]["code"]


def _token(client: Client) -> dict[str, str]:
    client.get(f"{MOUNT}/status")
    return {"X-CSRFToken": client.cookies["csrftoken"].value}


@pytest.mark.usefixtures("on_session")
def test_the_session_is_the_default() -> None:
    """Whoever is logged in at the site is the user."""
    reply = browser("anna").get(f"{MOUNT}/status")
    assert reply.json() == {"success": True, "data": OFF}


@pytest.mark.usefixtures("on_session")
@pytest.mark.parametrize("path", ["status", "authorize-url", "exchange-code", "disconnect"])
def test_anonymous_is_a_401_not_a_page(path: str) -> None:
    """Nobody is sent to a login page, and nobody learns about CSRF first."""
    client = browser(None)
    ask = client.get if path in {"status", "authorize-url"} else client.post
    reply = ask(f"{MOUNT}/{path}")
    assert _code(reply) == (401, "not_authenticated")
    assert reply["WWW-Authenticate"] == "Bearer"


@pytest.mark.usefixtures("on_session")
@pytest.mark.parametrize("path", ["exchange-code", "disconnect"])
@pytest.mark.parametrize("headers", [{}, {"X-CSRFToken": "x" * 32}, {"Authorization": "Bearer made-up"}], ids=str)
def test_a_post_of_the_session_needs_its_csrf_token(path: str, headers: dict[str, str]) -> None:
    """Another site cannot make the user's browser post; the answer is JSON that says what to send."""
    client = browser("anna")
    _token(client)
    reply = client.post(f"{MOUNT}/{path}", {"code": "x"}, "application/json", headers=headers)
    assert _code(reply) == (403, "forbidden")
    assert "X-CSRFToken" in reply.json()["error"]["message"]
    assert reply["Cache-Control"] == "no-store"


@pytest.mark.usefixtures("on_session")
def test_a_post_with_the_token_is_the_users_own() -> None:
    """The cookie comes with a first GET; the header is what Django's documentation says."""
    client = browser("anna")
    assert client.post(f"{MOUNT}/disconnect", headers=_token(client)).json()["success"] is True


@pytest.mark.usefixtures("on_session")
def test_a_post_from_another_site_is_refused_with_a_token_too() -> None:
    """Django's look at ``Origin`` holds here as well."""
    client = browser("anna")
    headers = {**_token(client), "Origin": "https://evil.example"}
    assert _code(client.post(f"{MOUNT}/disconnect", headers=headers)) == (403, "forbidden")


@pytest.mark.usefixtures("on_session")
def test_the_whole_way_in_a_browser(fake: FakeAmoCRM) -> None:
    """A page of the site connects, looks and disconnects."""
    client = browser("anna")
    state = client.get(f"{MOUNT}/authorize-url").json()["data"]["state"]
    answer = fake.callback("anna", state=state)
    assert client.get(f"{MOUNT}/callback", answer).status_code == 302
    reply = client.post(f"{MOUNT}/exchange-code", answer, "application/json", headers=_token(client))
    assert reply.status_code == 200
    assert client.get(f"{MOUNT}/status").json()["data"]["connected"] is True
    assert client.post(f"{MOUNT}/disconnect", headers=_token(client)).status_code == 200
    assert client.get(f"{MOUNT}/status").json()["data"]["connected"] is False


def test_a_header_needs_no_csrf_token(fake: FakeAmoCRM) -> None:
    """The mobile app has no cookies and sends none."""
    with site(fake, CURRENT_USER=by_header):
        kit.make_user("anna")
        headers = {"Authorization": "Bearer anna"}
        assert browser(None).post(f"{MOUNT}/disconnect", headers=headers).status_code == 200
        # nor where the app happens to have kept a session's cookie
        assert browser("boris").post(f"{MOUNT}/disconnect", headers=headers).status_code == 200


def test_a_callable_that_reads_the_session_is_guarded_all_the_same(fake: FakeAmoCRM) -> None:
    """Whoever takes ``request.user`` by hand does not open a hole."""
    with site(fake, CURRENT_USER=lambda request: request.user):
        client = browser("anna")
        assert client.get(f"{MOUNT}/status").status_code == 200
        assert _code(client.post(f"{MOUNT}/disconnect")) == (403, "forbidden")
        assert client.post(f"{MOUNT}/disconnect", headers=_token_of(client)).status_code == 200


def _token_of(client: Client) -> dict[str, str]:
    secret = "x" * 32
    client.cookies["csrftoken"] = secret
    return {"X-CSRFToken": secret}


def test_a_header_of_another_kind_needs_no_csrf_token(fake: FakeAmoCRM) -> None:
    """No cookie, no forgery."""
    with site(fake, CURRENT_USER=lambda request: request.headers.get("X-Api-Key") and kit.make_user("anna")):
        assert browser(None).post(f"{MOUNT}/disconnect", headers={"X-Api-Key": "example"}).status_code == 200
        assert _code(browser(None).post(f"{MOUNT}/disconnect")) == (401, "not_authenticated")


def named(request: HttpRequest) -> object | None:
    """Be found by the name of the path to it."""
    return by_header(request) or session_user(request)


async def asynchronous(request: HttpRequest) -> object | None:
    """Be asynchronous."""
    return await kit.get_user_model().objects.aget(pk=kit.key("anna"))


@pytest.mark.parametrize(
    "how",
    [named, f"{__name__}.named", asynchronous, f"{__name__}.asynchronous"],
    ids=["function", "its path", "coroutine", "the coroutine's path"],
)
def test_the_site_names_its_own_login(fake: FakeAmoCRM, how: object) -> None:
    """A callable or its dotted path, also an asynchronous one."""
    with site(fake, CURRENT_USER=how):
        kit.make_user("anna")
        assert browser(None).get(f"{MOUNT}/status", headers={"Authorization": "Bearer anna"}).status_code == 200


def test_an_asynchronous_login_works_under_asgi(fake: FakeAmoCRM) -> None:
    """It runs on the server's event loop while the endpoint waits in its thread."""

    async def visit() -> int:
        return (await AsyncClient().get(f"{MOUNT}/status")).status_code

    with site(fake, CURRENT_USER=asynchronous):
        kit.make_user("anna")
        assert asyncio.run(visit()) == 200


class _Named:
    pk = 7

    def __init__(self, **more: object) -> None:
        vars(self).update(more)


@pytest.mark.parametrize(
    "user",
    [7, "7", _Named(), _Named(is_active=True), _Named(pk="7"), SimpleNamespace(pk=7)],
    ids=["number", "text", "object", "active", "key of text", "namespace"],
)
def test_a_user_is_an_object_with_a_key_or_the_key(fake: FakeAmoCRM, user: object) -> None:
    """Whatever it is, its key as text is the id."""
    seen = []
    with site(fake, CURRENT_USER=lambda _: user):
        user_auth().store.get = lambda user_id, **_: seen.append(user_id)
        assert browser(None).get(f"{MOUNT}/status").status_code == 200
    assert seen == ["7"]


@pytest.mark.parametrize(
    "nobody",
    [None, "", AnonymousUser(), _Named(pk=None), _Named(is_active=False), _Named(pk="")],
    ids=["None", "empty", "anonymous", "unsaved", "inactive", "empty key"],
)
def test_nobody(fake: FakeAmoCRM, nobody: object) -> None:
    """An anonymous, unsaved or deactivated user is not logged in."""
    with site(fake, CURRENT_USER=lambda _: nobody):
        assert _code(browser(None).get(f"{MOUNT}/status")) == (401, "not_authenticated")


class _Nothing:
    def __repr__(self) -> str:
        return "nothing"


@pytest.mark.parametrize(
    "wrong", [True, {"sub": "1"}, ["7"], _Nothing(), Group(pk=7), "anna", UUID(int=1), 1 << 70], ids=ascii
)
def test_what_cannot_be_a_user_is_a_developers_job(fake: FakeAmoCRM, wrong: object) -> None:
    """It is told, not guessed, and not the client's fault."""
    with site(fake, CURRENT_USER=lambda _: wrong):
        reply = browser(None).get(f"{MOUNT}/status")
    assert _code(reply) == (500, "configuration_error")
    assert "CURRENT_USER" in reply.json()["error"]["message"]


def _refusing(error: Exception) -> Any:
    def current_user(_request: HttpRequest) -> object:
        raise error

    return current_user


@pytest.mark.parametrize(
    ("error", "status", "code", "message"),
    [
        (RequestRefused(401, "log in again"), 401, "not_authenticated", "log in again"),
        (RequestRefused(403, "locked"), 403, "forbidden", "locked"),
        (RequestRefused(418, "tea", {"X-Tea": "green"}), 418, "http_error", "tea"),
        (PermissionDenied("sesame"), 403, "forbidden", "Forbidden"),
    ],
    ids=repr,
)
def test_a_refusal_of_the_sites_is_in_the_envelope(
    fake: FakeAmoCRM, error: Exception, status: int, code: str, message: str
) -> None:
    """Status, message and headers are the site's; Django's own refusal tells nothing."""
    with site(fake, CURRENT_USER=_refusing(error)):
        reply = browser(None).get(f"{MOUNT}/status")
    assert reply.status_code == status
    assert reply.json() == {"success": False, "error": {"code": code, "message": message}}
    assert reply.get("X-Tea") == getattr(error, "headers", {}).get("X-Tea")


def test_an_unexpected_failure_is_not_swallowed(fake: FakeAmoCRM) -> None:
    """What is neither ours nor a refusal reaches the site's own handling."""
    with site(fake, CURRENT_USER=_refusing(ZeroDivisionError())), pytest.raises(ZeroDivisionError):
        Client().get(f"{MOUNT}/status")


def test_a_callable_that_is_not_there_is_a_developers_job(fake: FakeAmoCRM) -> None:
    """A misspelt path is told."""
    with site(fake, CURRENT_USER="tests.contract.nowhere"):
        assert _code(browser(None).get(f"{MOUNT}/status")) == (500, "configuration_error")


def test_a_site_without_sessions_is_told_what_to_do(fake: FakeAmoCRM) -> None:
    """The default needs Django's authentication."""
    with site(fake, MIDDLEWARE=[]):
        reply = browser(None).get(f"{MOUNT}/status")
    assert _code(reply) == (500, "configuration_error")
    assert "AuthenticationMiddleware" in reply.json()["error"]["message"]


def test_the_login_is_asked_before_the_body_is_looked_at(fake: FakeAmoCRM) -> None:
    """Nobody learns about the format without being logged in."""
    with site(fake, CURRENT_USER=lambda _: None):
        assert _code(browser(None).post(f"{MOUNT}/exchange-code", b"{", "application/json"))[0] == 401


def test_a_service_that_cannot_be_built_is_a_developers_job(fake: FakeAmoCRM) -> None:
    """A missing setting is told to the developer, in the envelope."""
    with site(fake, CURRENT_USER=lambda _: 7) as _:
        from django.test import override_settings

        with override_settings(AMOCRM_USERAUTH={"CURRENT_USER": lambda _: 7}):
            reply = browser(None).get(f"{MOUNT}/status")
    assert _code(reply) == (500, "configuration_error")
    assert "AMO_CLIENT_ID" in reply.json()["error"]["message"]
