"""Clients that call amoCRM as the user of a request, in sync and in async views, under WSGI and under ASGI."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, JsonResponse
from django.test import RequestFactory
from django.urls import path

from amocrm_userauth.django import RequestRefused, amocrm_client, async_amocrm_client, user_auth
from amocrm_userauth.errors import NotConnected
from amocrm_userauth.testing import FakeAmoCRM, async_http_transport, http_transport
from tests.contract.django_sites import by_header, site
from tests.django import kit

_URLS: list[str] = []
_HOST = "http://backend.example"


def leads(request: HttpRequest) -> JsonResponse:
    """Be a view that calls amoCRM."""
    with http_transport(_URLS[-1]) as transport:
        for _ in range(2):  # the second client finds the transport open
            with amocrm_client(request, transport=transport) as amocrm:
                found = amocrm.get("/api/v4/leads").raise_for_status().json()["_embedded"]["leads"]
    return JsonResponse([lead["name"] for lead in found], safe=False)


async def async_leads(request: HttpRequest) -> JsonResponse:
    """Be an asynchronous one."""
    async with async_http_transport(_URLS[-1]) as transport:
        for _ in range(2):
            async with async_amocrm_client(request, transport=transport) as amocrm:
                found = (await amocrm.get("/api/v4/leads")).raise_for_status().json()["_embedded"]["leads"]
    return JsonResponse([lead["name"] for lead in found], safe=False)


urlpatterns = [path("leads", leads), path("async-leads", async_leads)]


@pytest.fixture
def connected(fake: FakeAmoCRM) -> Iterator[FakeAmoCRM]:
    """Run a site on which Anna is connected."""
    _URLS.append(fake.url)
    middleware = ["amocrm_userauth.django.middleware.ErrorMiddleware"]
    with site(fake, __name__, CURRENT_USER=by_header, MIDDLEWARE=middleware):
        connect(fake, "anna")
        kit.make_user("boris")
        yield fake


def connect(fake: FakeAmoCRM, name: str) -> None:
    """Let a user connect."""
    user = kit.make_user(name)
    answer = fake.callback(name, state=user_auth().begin(user).state)
    user_auth().connect(user, code=answer["code"], state=answer["state"], referer=answer["referer"])


def _wsgi(where: str, **headers: str) -> httpx.Response:
    with httpx.Client(transport=httpx.WSGITransport(WSGIHandler()), base_url=_HOST) as client:
        return client.get(where, headers=headers)


def _asgi(where: str, **headers: str) -> httpx.Response:
    async def visit() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(ASGIHandler()), base_url=_HOST) as client:
            return await client.get(where, headers=headers)

    return asyncio.run(visit())


@pytest.mark.parametrize("where", ["/leads", "/async-leads"])
@pytest.mark.parametrize("visit", [_wsgi, _asgi])
class TestAView:
    """Either kind of view under either kind of server."""

    def test_calls_amocrm_as_its_user(self, connected: FakeAmoCRM, visit: Any, where: str) -> None:
        """The leads are Anna's."""
        reply = visit(where, Authorization="Bearer anna")
        assert reply.json() == ["Example lead 1 of anna", "Example lead 2 of anna"]

    def test_mends_a_401(self, connected: FakeAmoCRM, visit: Any, where: str) -> None:
        """A token that amoCRM does not take any more is refreshed once, and the call is repeated."""
        connected.fail_next("anna", status=401, on="api")
        assert visit(where, Authorization="Bearer anna").status_code == 200
        assert connected.token_calls(grant_type="refresh_token") == 1

    def test_answers_whoever_is_not_connected(self, connected: FakeAmoCRM, visit: Any, where: str) -> None:
        """Boris is asked to connect; nobody is asked to log in."""
        assert visit(where, Authorization="Bearer boris").json()["error"]["code"] == "not_connected"
        assert visit(where).json()["error"]["code"] == "not_authenticated"


@pytest.mark.usefixtures("connected")
def test_without_a_transport_the_client_has_its_own() -> None:
    """One TLS context serves all clients; the address is the user's account."""
    request = RequestFactory().get("/", headers={"Authorization": "Bearer anna"})
    with amocrm_client(request) as amocrm:
        assert amocrm.base_url.host == "example.amocrm.ru"
        assert isinstance(amocrm._transport, httpx.HTTPTransport)

    async def visit() -> None:
        async with async_amocrm_client(request) as amocrm:
            assert isinstance(amocrm, httpx.AsyncClient)

    asyncio.run(visit())


@pytest.mark.usefixtures("connected")
def test_who_may_not_have_a_client() -> None:
    """Without a user, and without a connection, there is none."""
    with pytest.raises(RequestRefused):
        amocrm_client(RequestFactory().get("/"))
    with pytest.raises(NotConnected):
        amocrm_client(RequestFactory().get("/", headers={"Authorization": "Bearer boris"}))


def test_a_post_needs_no_csrf_token_for_a_client(fake: FakeAmoCRM) -> None:
    """Whether a view of the site's own is guarded is the site's affair: its middleware has looked already."""
    with site(fake):
        connect(fake, "anna")
        request = RequestFactory().post("/")
        request.user = kit.get_user_model().objects.get(pk=kit.key("anna"))
        amocrm_client(request).close()


def test_a_slow_token_does_not_hold_up_the_event_loop(connected: FakeAmoCRM) -> None:
    """The look-up is in a thread of its own, not in that of the request."""
    threads = []
    auth = user_auth()
    hosts = auth.hosts
    auth.hosts = lambda user: threads.append(threading.current_thread()) or hosts(user)
    assert _asgi("/async-leads", Authorization="Bearer anna").status_code == 200
    assert threading.main_thread() not in threads
    assert threads
