"""The endpoints among the other parts of a Django site: its middleware, transactions, logs and error handling."""

import asyncio
import logging
import math
import traceback
from typing import Any
from wsgiref.util import setup_testing_defaults

import httpx
import pytest
import uvicorn
from asgiref.sync import iscoroutinefunction
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.db import connection
from django.http import HttpRequest, JsonResponse
from django.test import AsyncClient, Client, override_settings
from django.urls import include, path, reverse

from amocrm_userauth import errors
from amocrm_userauth.django import RequestRefused, user_auth
from amocrm_userauth.django.middleware import ErrorMiddleware
from amocrm_userauth.testing import FakeAmoCRM
from tests.contract.django_sites import MOUNT, browser, by_header, site
from tests.contract.fastapi_apps import served
from tests.django import kit
from tests.django.settings import MIDDLEWARE

_ERRORS = "amocrm_userauth.django.middleware.ErrorMiddleware"
_RAISED: list[Exception] = []


def own(_request: HttpRequest) -> JsonResponse:
    """Be a view of the site's own that meets an error."""
    raise _RAISED[-1]


async def own_async(_request: HttpRequest) -> JsonResponse:
    """Be an asynchronous one."""
    raise _RAISED[-1]


urlpatterns = [
    path("api/amo-crm/", include("amocrm_userauth.django.urls")),
    path("own", own),
    path("own-async", own_async),
]


def test_the_addresses_have_names(fake: FakeAmoCRM) -> None:
    """A second mount has a namespace of its own."""
    with site(fake):
        assert reverse("amocrm_userauth:exchange-code") == "/api/amo-crm/exchange-code"
        assert reverse("amocrm-v1:callback") == "/api/v1/integrations/amo-crm/callback"


def test_the_other_methods_are_refused_in_the_envelope(fake: FakeAmoCRM) -> None:
    """Also those that Django would answer by itself, and before anybody is asked to log in."""
    with site(fake):
        for method in ("OPTIONS", "HEAD", "PUT"):
            reply = browser(None).generic(method, f"{MOUNT}/status")
            assert (reply.status_code, reply["Allow"], reply["Cache-Control"]) == (405, "GET", "no-store")


def test_there_is_no_callback_without_a_deep_link(fake: FakeAmoCRM) -> None:
    """The address is not there, as in FastAPI."""
    with site(fake, DEEP_LINK=None):
        reply = browser(None).get(f"{MOUNT}/callback", {"code": "example-code"})
    assert reply.status_code == 404
    assert reply.wsgi_request.META["QUERY_STRING"] == ""  # a page or a mail about the error shows the request
    assert not reply.wsgi_request.GET


def test_a_deep_link_that_cannot_be_one_is_a_developers_job(fake: FakeAmoCRM) -> None:
    """It is a page with the reason, not a redirect."""
    with site(fake, DEEP_LINK="javascript:alert(1)"):
        state = user_auth().begin(kit.make_user("anna")).state
        reply = browser(None).get(f"{MOUNT}/callback", fake.callback("anna", state=state))
    assert reply.status_code == 500
    assert "Location" not in reply
    assert "deep_link" in reply.content.decode()


def test_a_site_that_requires_logins_everywhere_still_gets_json(fake: FakeAmoCRM) -> None:
    """``LoginRequiredMiddleware`` redirects to a page; these views answer for themselves."""
    middleware = [*MIDDLEWARE, "django.contrib.auth.middleware.LoginRequiredMiddleware"]
    with site(fake, CURRENT_USER=by_header, MIDDLEWARE=middleware):
        kit.make_user("anna")
        assert browser(None).get(f"{MOUNT}/status").status_code == 401
        assert browser(None).get(f"{MOUNT}/status", headers={"Authorization": "Bearer anna"}).status_code == 200
        assert browser(None).get(f"{MOUNT}/callback").status_code == 400


def test_a_cache_of_the_whole_site_keeps_no_answer(fake: FakeAmoCRM, monkeypatch: pytest.MonkeyPatch) -> None:
    """One user's status is never another's, also before Django learned to look at ``no-store``."""
    from django.middleware import cache

    # A patch release of Django's that only looked at "private".
    monkeypatch.setattr(cache.UpdateCacheMiddleware, "process_response", _old_process_response)
    middleware = ["django.middleware.cache.UpdateCacheMiddleware", "django.middleware.cache.FetchFromCacheMiddleware"]
    with site(fake, CURRENT_USER=by_header, MIDDLEWARE=middleware):
        client = browser(None)
        for name in ("anna", "boris"):
            kit.make_user(name)
            headers = {"Authorization": f"Bearer {name}"}
            state = client.get(f"{MOUNT}/authorize-url", headers=headers).json()["data"]["state"]
            user_auth()._states.verify(state, user_id=str(kit.key(name)))


def _old_process_response(self: Any, request: HttpRequest, response: Any) -> Any:
    from django.core.cache import caches
    from django.utils.cache import learn_cache_key

    if self._should_update_cache(request, response):
        cache = caches["default"]
        cache.set(learn_cache_key(request, response, 60, "", cache=cache), response, 60)
    return response


def test_nothing_is_held_open_while_amocrm_is_asked(fake: FakeAmoCRM) -> None:
    """``ATOMIC_REQUESTS`` does not hold for these views."""
    open_transactions = []

    with site(fake, CURRENT_USER=by_header):
        kit.make_user("anna")
        headers = {"Authorization": "Bearer anna"}
        connection.settings_dict["ATOMIC_REQUESTS"] = True
        try:
            auth = user_auth()
            begin = auth.begin
            auth.begin = lambda user: open_transactions.append(connection.in_atomic_block) or begin(user)
            assert browser(None).get(f"{MOUNT}/authorize-url", headers=headers).status_code == 200
        finally:
            connection.settings_dict["ATOMIC_REQUESTS"] = False
    assert open_transactions == [False]


def test_a_body_that_is_too_big_is_not_read(fake: FakeAmoCRM) -> None:
    """Django's limit of what is taken into memory is a 422 like any malformed body."""
    with site(fake, CURRENT_USER=lambda _: 7, DATA_UPLOAD_MAX_MEMORY_SIZE=100):
        reply = browser(None).post(f"{MOUNT}/exchange-code", {"code": "x" * 200}, "application/json")
    assert (reply.status_code, reply.json()["error"]["code"]) == (422, "invalid_request")


def test_a_form_is_refused_after_the_csrf_check_has_read_it(fake: FakeAmoCRM) -> None:
    """A multipart body with a good token is still no JSON."""
    with site(fake):
        client = browser("anna")
        client.get(f"{MOUNT}/status")
        body = {"code": "x", "csrfmiddlewaretoken": client.cookies["csrftoken"].value}
        assert client.post(f"{MOUNT}/exchange-code", body).status_code == 422


def test_the_code_is_not_left_in_the_request(fake: FakeAmoCRM) -> None:
    """Access logs and error reports, which look at the request afterwards, do not have it."""
    environ = {
        "PATH_INFO": f"{MOUNT}/callback",
        "QUERY_STRING": "code=example-code&state=example-state",
        "RAW_URI": f"{MOUNT}/callback?code=example-code&state=example-state",
        "REQUEST_URI": f"{MOUNT}/callback?code=example-code&state=example-state",
    }
    setup_testing_defaults(environ)
    with site(fake):
        response = WSGIHandler()(environ, lambda *_: None)
        response.close()
    assert response.status_code == 400
    assert "example-code" not in repr(environ)
    assert environ["RAW_URI"] == f"{MOUNT}/callback"


def test_the_code_is_not_left_in_the_scope(fake: FakeAmoCRM) -> None:
    """The same under ASGI."""
    scopes = []
    handler = ASGIHandler()

    async def watched(scope: Any, receive: Any, send: Any) -> None:
        scopes.append(scope)
        await handler(scope, receive, send)

    async def visit() -> httpx.Response:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(watched), base_url="http://backend.example"
        ) as client:
            return await client.get(f"{MOUNT}/callback?code=example-code")

    with site(fake):
        assert asyncio.run(visit()).status_code == 400
    assert scopes[0]["query_string"] == b""
    assert "example-code" not in repr(scopes)


def test_an_access_log_shows_no_code(fake: FakeAmoCRM, caplog: pytest.LogCaptureFixture) -> None:
    """An ASGI server logs the callback's address without its query."""
    config = uvicorn.Config(ASGIHandler(), port=0, log_config=None, lifespan="off")
    with site(fake), caplog.at_level(logging.INFO, "uvicorn.access"), served(uvicorn.Server(config)) as url:
        assert httpx.get(f"{url}{MOUNT}/callback?code=example-code&state=example-state").status_code == 400
    lines = [record.getMessage() for record in caplog.records if record.name == "uvicorn.access"]
    assert len(lines) == 1
    assert lines[0].endswith(f'"GET {MOUNT}/callback HTTP/1.1" 400')


def test_a_traceback_with_local_variables_shows_no_code(fake: FakeAmoCRM) -> None:
    """Whatever fails below, no frame on the way shows the code or the state (but the failing function's own)."""

    def connect(_user: str, **given: Any) -> Any:
        given.clear()
        raise ZeroDivisionError

    body = {"code": "example-sesame", "state": "example-poppy"}
    with site(fake, CURRENT_USER=lambda _: 7):
        user_auth().connect = connect
        with pytest.raises(ZeroDivisionError) as caught:
            Client().post(f"{MOUNT}/exchange-code", body, "application/json")
    shown = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    shown = shown[shown.index("django/core/handlers/exception.py") :]
    assert "amocrm_userauth/django/views.py" in shown
    assert "example-sesame" not in shown
    assert "example-poppy" not in shown


ALL = [
    errors.StoreUnavailable(),
    errors.StoreUnavailable(retry_after=0.2),
    errors.AmoCRMUnavailable(retry_after=61.5),
    errors.TokenNotSaved(),
    errors.ProtocolError(),
    errors.GrantRevoked(),
    errors.NotConnected(),
    errors.ConfigurationError("set the key", user_id="anna"),
    errors.AmoCRMUserAuthError(),
]


@pytest.mark.parametrize("error", ALL, ids=repr)
def test_every_error_has_its_answer(fake: FakeAmoCRM, error: errors.AmoCRMUserAuthError) -> None:
    """Status, code and message are the error's, in these views and in the site's own."""

    def failing(_request: HttpRequest) -> object:
        raise error

    _RAISED.append(error)
    with site(fake, __name__, CURRENT_USER=failing, MIDDLEWARE=[_ERRORS]):
        for where in (f"{MOUNT}/status", "/own", "/own-async"):
            reply = browser(None).get(where)
            assert reply.status_code == error.http_status
            assert reply.json() == {"success": False, "error": {"code": error.code, "message": error.message}}
            assert reply["Cache-Control"] == "no-store"
            wait = getattr(error, "retry_after", None)
            assert reply.get("Retry-After") == (None if wait is None else str(max(1, math.ceil(wait))))


@pytest.mark.parametrize("where", ["/own", "/own-async"])
async def test_the_middleware_works_under_asgi(where: str) -> None:
    """It is a coroutine where the rest of the chain is."""
    _RAISED.append(errors.NotConnected())
    with override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=[_ERRORS]):
        reply = await AsyncClient(raise_request_exception=False).get(where)
        assert (reply.status_code, reply.json()["error"]["code"]) == (409, "not_connected")
    assert iscoroutinefunction(ErrorMiddleware(own_async))
    assert not iscoroutinefunction(ErrorMiddleware(own))


def test_a_refused_request_is_answered_by_the_middleware(fake: FakeAmoCRM) -> None:
    """Nobody logged in is a 401 in the site's own views too; other exceptions stay the site's."""
    with site(fake, __name__, MIDDLEWARE=[_ERRORS]):
        _RAISED.append(RequestRefused(401, "log in"))
        reply = browser(None).get("/own")
        assert (reply.status_code, reply.json()["error"]["code"]) == (401, "not_authenticated")
        _RAISED.append(ZeroDivisionError())
        with pytest.raises(ZeroDivisionError):
            Client().get("/own")


def test_faults_of_ours_are_logged(fake: FakeAmoCRM, caplog: pytest.LogCaptureFixture) -> None:
    """A 5xx leaves a line with the user and the code, a 4xx none."""
    with site(fake, __name__, MIDDLEWARE=[_ERRORS]), caplog.at_level(logging.INFO, "amocrm_userauth"):
        for error in (errors.NotConnected(user_id="7"), errors.ConfigurationError("set the key", user_id="7")):
            _RAISED.append(error)
            browser(None).get("/own")
    ours = [record for record in caplog.records if record.name == "amocrm_userauth.django"]
    assert [(r.levelname, r.user_id, r.event) for r in ours] == [("WARNING", "7", "configuration_error")]


def test_a_store_that_is_down_is_a_page_with_retry_after(fake: FakeAmoCRM) -> None:
    """The browser's user is told to come back, with the error's status."""

    def down(**_: object) -> bool:
        raise errors.StoreUnavailable(retry_after=3)

    with site(fake):
        auth = user_auth()
        auth.store.remember_code = down
        state = auth.begin(kit.make_user("anna")).state
        reply = browser(None).get(f"{MOUNT}/callback", fake.callback("anna", state=state))
    assert (reply.status_code, reply["Retry-After"]) == (503, "3")
    assert "store_unavailable" in reply.content.decode()
    assert "Location" not in reply
