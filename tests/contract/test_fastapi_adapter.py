"""What is FastAPI's: finding the service and the user, the application's own endpoints, and the OpenAPI document."""

import logging
import math
import socket
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Annotated, Any
from uuid import UUID

import httpx
import pytest
import uvicorn
from fastapi import Depends, FastAPI, Header, HTTPException, Request, Security
from fastapi.testclient import TestClient
from pydantic import BaseModel

from amocrm_userauth import (
    AsyncMemoryTokenStore,
    AsyncUserAuth,
    Integration,
    MemoryTokenStore,
    TokenPair,
    UserAuth,
    UserToken,
    errors,
)
from amocrm_userauth.fastapi import access_token, amocrm_client, amocrm_router, install_error_handlers
from amocrm_userauth.fastapi._callers import Caller
from amocrm_userauth.testing import FakeAmoCRM, async_http_transport, http_transport

_INTEGRATION = Integration("example-id", "example-client-secret", "https://backend.example/callback")
_OFF = {"connected": False, "hasTokens": False, "domain": "", "accountId": ""}


@pytest.fixture(params=["sync", "async"])
def auth(request: pytest.FixtureRequest) -> UserAuth | AsyncUserAuth:
    """Give a service of either world that never gets as far as amoCRM."""
    if request.param == "sync":
        return UserAuth(_INTEGRATION, MemoryTokenStore())
    return AsyncUserAuth(_INTEGRATION, AsyncMemoryTokenStore())


@contextmanager
def _serving(*routers: tuple[str, Any], handlers: bool = False) -> Iterator[TestClient]:
    app = FastAPI()
    if handlers:
        install_error_handlers(app)
    for prefix, router in routers:
        app.include_router(router, prefix=prefix)
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def _status(auth: Any, current_user: Callable[..., Any] = lambda: "anna", **more: Any) -> httpx.Response:
    with _serving(("/amo", amocrm_router(auth, current_user=current_user, **more))) as client:
        return client.get("/amo/status")


def _sources(auth: UserAuth | AsyncUserAuth) -> dict[str, Any]:
    async def asynchronous() -> Any:
        return auth

    def annotated(where: Request) -> Any:
        return auth if where.url.path == "/amo/status" else None

    def quoted(where: "Request") -> Any:
        return auth if where.url.path == "/amo/status" else None

    async def asynchronous_with_request(request) -> Any:
        return auth if request.url.path == "/amo/status" else None

    def with_dependency(app: Annotated[str, Depends(lambda: "app")], request: Request) -> Any:
        return auth if app == "app" and request else None

    return {
        "itself": auth,
        "function": lambda: auth,
        "coroutine": asynchronous,
        "unannotated": lambda request: auth if request.url.path == "/amo/status" else None,
        "annotated": annotated,
        "quoted": quoted,
        "coroutine with request": asynchronous_with_request,
        "dependency": with_dependency,
        "object": SimpleNamespace(find=lambda: auth).find,
    }


@pytest.mark.parametrize(
    "kind",
    [
        "itself",
        "function",
        "coroutine",
        "unannotated",
        "annotated",
        "quoted",
        "coroutine with request",
        "dependency",
        "object",
    ],
)
def test_the_service_is_found(auth: UserAuth | AsyncUserAuth, kind: str) -> None:
    """The service itself, or anything callable that returns it."""
    reply = _status(_sources(auth)[kind])
    assert reply.json() == {"success": True, "data": _OFF}


def test_a_service_that_is_none_is_a_developers_job() -> None:
    """A lifespan that did not run is told, not crashed on."""
    reply = _status(lambda: None)
    assert reply.status_code == 500
    assert reply.json()["error"]["code"] == "configuration_error"
    assert "NoneType" in reply.json()["error"]["message"]


class _Model(BaseModel):
    id: int


@dataclass
class _Data:
    id: int


class _Named:
    def __str__(self) -> str:
        return "named"


def test_a_service_of_ones_own_making_is_one() -> None:
    """A subclass of either service is taken as it is."""

    class Own(UserAuth):
        pass

    assert _status(Own(_INTEGRATION, MemoryTokenStore())).status_code == 200


@pytest.mark.parametrize("user", ["anna", 7, UUID(int=1), _Named()], ids=lambda user: type(user).__name__)
def test_users_that_are_their_id_need_no_mapping(auth: UserAuth | AsyncUserAuth, user: object) -> None:
    """Texts, numbers, UUIDs and what says so itself."""
    assert _status(auth, lambda: user).status_code == 200


@pytest.mark.parametrize(
    "user",
    [_Model(id=1), _Data(id=1), {"sub": "1"}, True, SimpleNamespace(id=1), ["anna"]],
    ids=lambda user: type(user).__name__,
)
def test_other_users_need_a_mapping(auth: UserAuth | AsyncUserAuth, user: object) -> None:
    """The text of an object is no id: it changes with its fields or its address in memory."""
    reply = _status(auth, lambda: user)
    assert (reply.status_code, reply.json()["error"]["code"]) == (500, "configuration_error")
    assert "user_id=" in reply.json()["error"]["message"]


def test_the_mapping_makes_the_id(auth: UserAuth | AsyncUserAuth) -> None:
    """``user_id`` gets the application's user object, from a synchronous or an asynchronous dependency."""
    seen = []

    async def current_user() -> _Model:
        return _Model(id=42)

    def user_id(user: _Model) -> str:
        seen.append(user)
        return str(user.id)

    assert _status(auth, current_user, user_id=user_id).status_code == 200
    assert seen == [_Model(id=42)]


@pytest.mark.parametrize("empty", ["", None])
def test_an_empty_id_is_nobody(auth: UserAuth | AsyncUserAuth, empty: str | None) -> None:
    """A user object without an id is not logged in."""
    reply = _status(auth, lambda: "anna", user_id=lambda _: empty)
    assert (reply.status_code, reply.json()["error"]["code"]) == (401, "not_authenticated")


@pytest.mark.parametrize("wrong", [7, "x" * 256, "a\0b", "\ud800", UUID(int=1)], ids=ascii)
def test_an_id_that_cannot_be_one_is_a_developers_job(auth: UserAuth | AsyncUserAuth, wrong: object) -> None:
    """What ``user_id`` gives must be a user id."""
    reply = _status(auth, lambda: "anna", user_id=lambda _: wrong)
    assert (reply.status_code, reply.json()["error"]["code"]) == (500, "configuration_error")


def test_an_id_that_the_store_cannot_have_is_a_developers_job() -> None:
    """A store with UUIDs for ids refuses other text; that is not the client's doing."""

    class Numbers(MemoryTokenStore):
        def canonical_user_id(self, user_id: str) -> str:
            return str(int(user_id))

    auth = UserAuth(_INTEGRATION, Numbers())
    assert _status(auth, lambda: "007").status_code == 200
    reply = _status(auth, lambda: "anna")
    assert (reply.status_code, reply.json()["error"]["code"]) == (500, "configuration_error")


def test_validation_errors_of_the_applications_dependency_are_in_the_envelope(auth: UserAuth | AsyncUserAuth) -> None:
    """A missing or malformed header of the login is a 422 that names it and does not quote it."""

    def current_user(x_tenant: Annotated[int, Header()]) -> str:
        return "anna"

    with _serving(("", amocrm_router(auth, current_user=current_user))) as client:
        missing = client.get("/status")
        wrong = client.get("/status", headers={"X-Tenant": "sesame"})
    assert [reply.status_code for reply in (missing, wrong)] == [422, 422]
    assert {reply.json()["error"]["code"] for reply in (missing, wrong)} == {"invalid_request"}
    assert "header.x-tenant" in missing.json()["error"]["message"]
    assert "sesame" not in wrong.text


@pytest.mark.parametrize(
    ("detail", "message"), [("locked", "locked"), ({"why": "sesame"}, "the application refused the request")]
)
def test_any_refusal_of_the_application_is_in_the_envelope(auth: Any, detail: object, message: str) -> None:
    """Status and headers of an ``HTTPException`` stay; a detail that is no text does not."""

    def current_user() -> str:
        raise HTTPException(418, detail, headers={"X-Tea": "green"})

    reply = _status(auth, current_user)
    assert (reply.status_code, reply.headers["x-tea"]) == (418, "green")
    assert reply.json() == {"success": False, "error": {"code": "http_error", "message": message}}


def test_a_redirect_to_the_login_stays_the_applications(auth: UserAuth | AsyncUserAuth) -> None:
    """An ``HTTPException`` that is no error is left to the application."""

    def current_user() -> str:
        raise HTTPException(303, headers={"Location": "/login"})

    with _serving(("", amocrm_router(auth, current_user=current_user))) as client:
        reply = client.get("/status", follow_redirects=False)
    assert (reply.status_code, reply.headers["location"]) == (303, "/login")


def test_an_unexpected_failure_is_not_swallowed(auth: UserAuth | AsyncUserAuth) -> None:
    """What is neither ours nor FastAPI's reaches the application's own handling."""

    def current_user() -> str:
        raise ZeroDivisionError

    app = FastAPI()
    app.include_router(amocrm_router(auth, current_user=current_user))
    with TestClient(app) as client, pytest.raises(ZeroDivisionError):
        client.get("/status")


def test_security_dependencies_work(auth: UserAuth | AsyncUserAuth) -> None:
    """``current_user`` may have dependencies and scopes of its own."""

    def login(x_user: Annotated[str, Header()]) -> str:
        return x_user

    def current_user(user: Annotated[str, Security(login, scopes=["crm"])]) -> str:
        return user

    with _serving(("", amocrm_router(auth, current_user=current_user))) as client:
        assert client.get("/status", headers={"X-User": "anna"}).status_code == 200


def test_the_login_is_asked_before_the_body_is_looked_at(auth: UserAuth | AsyncUserAuth) -> None:
    """Nobody learns about the format without being logged in."""
    with _serving(("", amocrm_router(auth, current_user=lambda: None))) as client:
        assert client.post("/exchange-code", content=b"{").status_code == 401


def test_dependency_overrides_work(auth: UserAuth | AsyncUserAuth) -> None:
    """An application's tests can log somebody in."""

    def current_user() -> None:
        return None

    app = FastAPI()
    app.include_router(amocrm_router(auth, current_user=current_user))
    app.dependency_overrides[current_user] = lambda: "anna"
    with TestClient(app) as client:
        assert client.get("/status").status_code == 200


@pytest.mark.parametrize(
    "error",
    [
        errors.StoreUnavailable(),
        errors.StoreUnavailable(retry_after=0.2),
        errors.StoreUnavailable(retry_after=61.5),
        errors.TokenNotSaved(),
        errors.ProtocolError(),
        errors.GrantRevoked(),
        errors.NotConnected(),
        errors.ConfigurationError("set the key", user_id="anna"),
        errors.AmoCRMUserAuthError(),
    ],
    ids=repr,
)
def test_every_error_has_its_answer(auth: Any, error: errors.AmoCRMUserAuthError) -> None:
    """Status, code and message are the error's; ``Retry-After`` is in whole seconds, at least one."""

    def find() -> Any:
        raise error

    for reply in (_status(find), _own_endpoint(find)):
        assert reply.status_code == error.http_status
        assert reply.json() == {"success": False, "error": {"code": error.code, "message": error.message}}
        assert reply.headers["cache-control"] == "no-store"
        wait = getattr(error, "retry_after", None)
        assert reply.headers.get("retry-after") == (None if wait is None else str(max(1, math.ceil(wait))))


def _own_endpoint(find: Callable[[], Any]) -> httpx.Response:
    app = FastAPI()
    install_error_handlers(app)

    @app.get("/own")
    def own() -> None:
        find()

    with TestClient(app) as client:
        return client.get("/own")


def test_faults_of_ours_are_logged(auth: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A 5xx leaves a line with the user and the code, a 4xx none."""
    with caplog.at_level(logging.INFO, "amocrm_userauth"):
        _own_endpoint(lambda: (_ for _ in ()).throw(errors.NotConnected(user_id="anna")))
        assert caplog.records == []
        _own_endpoint(lambda: (_ for _ in ()).throw(errors.ConfigurationError("set the key", user_id="anna")))
    assert [(r.levelname, r.user_id, r.event) for r in caplog.records] == [("WARNING", "anna", "configuration_error")]


def _app(auth: Any, transport: Any, *, handlers: bool = True) -> FastAPI:
    def current_user(x_user: Annotated[str | None, Header()] = None) -> str | None:
        return x_user

    app = FastAPI()
    if handlers:
        install_error_handlers(app)
    asynchronous = isinstance(auth, AsyncUserAuth)

    @app.get("/token")
    async def token(token: Annotated[str, Depends(access_token(auth, current_user))]) -> str:
        return token

    crm = amocrm_client(auth, current_user, transport=transport)

    if asynchronous:

        @app.get("/me")
        async def me(crm: Annotated[httpx.AsyncClient, Depends(crm)]) -> Any:
            return (await crm.get("/api/v4/account")).json()
    else:

        @app.get("/me")
        def me(crm: Annotated[httpx.Client, Depends(crm)]) -> Any:
            return crm.get("/api/v4/account").json()

    app.include_router(amocrm_router(auth, current_user=current_user))
    return app


@contextmanager
def _world(kind: str, fake: FakeAmoCRM, **more: Any) -> Iterator[TestClient]:
    if kind == "sync":
        with (
            fake.http_client() as http,
            http_transport(fake.url) as transport,
            UserAuth(fake.integration(), MemoryTokenStore(), http=http) as auth,
            TestClient(_app(auth, transport, **more)) as client,
        ):
            yield client
        return
    http = fake.async_http_client()
    auth = AsyncUserAuth(fake.integration(), AsyncMemoryTokenStore(), http=http)
    transport = async_http_transport(fake.url)
    with TestClient(_app(auth, transport, **more)) as client:
        yield client
        for opened in (auth, transport, http):
            client.portal.call(opened.aclose)


def _connect(client: TestClient, fake: FakeAmoCRM, user: str) -> None:
    login = {"X-User": user}
    state = client.get("/authorize-url", headers=login).json()["data"]["state"]
    answer = fake.callback(user, state=state)
    body = {key: answer[key] for key in ("code", "state", "referer")}
    assert client.post("/exchange-code", json=body, headers=login).status_code == 200


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_own_endpoints_get_the_users_token_and_client(kind: str, fake: FakeAmoCRM) -> None:
    """``access_token`` and ``amocrm_client`` are the current user's."""
    with _world(kind, fake) as client:
        for user in ("anna", "boris"):
            _connect(client, fake, user)
        for user in ("anna", "boris", "anna"):
            assert client.get("/token", headers={"X-User": user}).json() == fake.alive_pair(user).access_token
            assert client.get("/me", headers={"X-User": user}).json()["current_user_id"] == fake.user_id(user)


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("path", ["/token", "/me"])
def test_own_endpoints_answer_errors_in_the_envelope(kind: str, path: str, fake: FakeAmoCRM) -> None:
    """Nobody logged in is a 401, nobody connected a 409."""
    with _world(kind, fake) as client:
        anonymous, unconnected = client.get(path), client.get(path, headers={"X-User": "anna"})
    assert (anonymous.status_code, anonymous.json()["error"]["code"]) == (401, "not_authenticated")
    assert anonymous.headers["www-authenticate"] == "Bearer"
    assert (unconnected.status_code, unconnected.json()["error"]["code"]) == (409, "not_connected")


def test_nobody_logged_in_is_a_401_without_our_handlers_too(fake: FakeAmoCRM) -> None:
    """An application that has its own handlers still refuses."""
    with _world("sync", fake, handlers=False) as client:
        assert client.get("/token").status_code == 401


async def test_a_client_lives_as_long_as_the_request() -> None:
    """Without a transport it has one of its own, closed after the endpoint."""
    with UserAuth(_INTEGRATION, MemoryTokenStore()) as auth:
        auth.store.put(_row("anna"))
        await _opened_and_closed(amocrm_client(auth, lambda: "anna")(Caller(auth, "anna")))
    auth = AsyncUserAuth(_INTEGRATION, AsyncMemoryTokenStore())
    await _opened_and_closed(amocrm_client(auth, lambda: "anna")(Caller(auth, "anna")))


async def _opened_and_closed(steps: AsyncIterator[httpx.Client | httpx.AsyncClient]) -> None:
    client = await anext(steps)
    assert not client.is_closed
    await steps.aclose()
    assert client.is_closed


def _row(user: str) -> UserToken:
    now = datetime.now(UTC)
    pair = TokenPair(
        access_token="example-access",
        refresh_token="example-refresh",
        expires_at=now + timedelta(days=1),
        domain="example.amocrm.ru",
    )
    return UserToken(user_id=user, pair=pair, revision="r1", pair_saved_at=now)


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_transport_of_the_other_world_is_a_developers_job(kind: str) -> None:
    """A synchronous transport cannot serve an asynchronous client, nor the other way round."""
    if kind == "sync":
        with UserAuth(_INTEGRATION, MemoryTokenStore()) as auth:
            auth.store.put(_row("anna"))
            steps = amocrm_client(auth, lambda: "anna", transport=httpx.AsyncHTTPTransport())(Caller(auth, "anna"))
            client = await anext(steps)
            with pytest.raises(errors.ConfigurationError, match="transport"):
                client.get("/")
    else:
        auth = AsyncUserAuth(_INTEGRATION, AsyncMemoryTokenStore())
        await auth.store.put(_row("anna"))
        steps = amocrm_client(auth, lambda: "anna", transport=httpx.HTTPTransport())(Caller(auth, "anna"))
        client = await anext(steps)
        with pytest.raises(errors.ConfigurationError, match="transport"):
            await client.get("/")
    await steps.aclose()


@pytest.mark.parametrize(
    "link",
    [
        "foryouapp://amo-crm/callback",
        "foryouapp:amo",
        "com.example.app:/amo?x=1&y=2",
        "https://app.example/amo",
        "https://app.example/amo?x=%20",
        "http://localhost:3000/amo",
        "http://127.0.0.1/amo",
        "http://[::1]:8081/amo",
        "exp://192.168.1.2:8081/--/amo",
    ],
)
def test_deep_links(auth: UserAuth | AsyncUserAuth, link: str) -> None:
    """An app's own scheme, an https App Link, or this machine."""
    router = amocrm_router(auth, current_user=lambda: None, deep_link=link)
    assert "/callback" in {route.path for route in router.routes}


@pytest.mark.parametrize(
    "link",
    [
        "",
        "amo-crm/callback",
        "/callback",
        "//app.example/callback",
        "http://app.example/callback",
        "https:///callback",
        "https://[",
        "javascript:alert(1)",
        "JavaScript:alert(1)",
        "data:text/html,x",
        "foryouapp://amo\r\nX-Evil: 1",
        "foryouapp://amo crm",
        "foryouapp://амо",
        "foryouapp://amo#fragment",
        "foryouapp://amo?code=1",
        "https://app.example/?state",
        "foryouapp://amo?x=1&error=2",
    ],
)
def test_what_cannot_be_a_deep_link_is_refused_at_once(auth: UserAuth | AsyncUserAuth, link: str) -> None:
    """A wrong target is found at the start of the application, not by a user."""
    with pytest.raises(errors.ConfigurationError, match="deep_link"):
        amocrm_router(auth, current_user=lambda: None, deep_link=link)


def test_the_callback_can_be_left_out(auth: UserAuth | AsyncUserAuth) -> None:
    """There is none without a deep link, or where it is not wanted; it cannot be had without."""
    link = "foryouapp://amo"
    without = amocrm_router(auth, current_user=lambda: None)
    unwanted = amocrm_router(auth, current_user=lambda: None, deep_link=link, include_callback=False)
    wanted = amocrm_router(auth, current_user=lambda: None, deep_link=link, include_callback=True)
    assert [len(router.routes) for router in (without, unwanted, wanted)] == [4, 4, 5]
    with pytest.raises(errors.ConfigurationError, match="deep_link"):
        amocrm_router(auth, current_user=lambda: None, include_callback=True)


@pytest.mark.parametrize(
    ("link", "start"),
    [
        ("foryouapp://amo", "foryouapp://amo?error="),
        ("foryouapp://amo?", "foryouapp://amo?error="),
        ("foryouapp://amo?x=1", "foryouapp://amo?x=1&error="),
        ("foryouapp://amo?x=1&", "foryouapp://amo?x=1&error="),
    ],
)
def test_the_deep_links_own_query_is_kept(auth: Any, link: str, start: str) -> None:
    """The answer is added with one separator."""
    with _serving(("", amocrm_router(auth, current_user=lambda: "anna", deep_link=link))) as client:
        state = client.get("/authorize-url").json()["data"]["state"]
        query = {"error": "access_denied", "state": state}
        reply = client.get("/callback", params=query, follow_redirects=False)
    assert reply.headers["location"].startswith(start)


def test_a_store_that_is_down_is_a_page_with_retry_after() -> None:
    """The browser's user is told to come back, with the error's status."""

    class Down(AsyncMemoryTokenStore):
        async def remember_code(self, **_: object) -> bool:
            raise errors.StoreUnavailable(retry_after=3)

    auth = AsyncUserAuth(_INTEGRATION, Down())
    with _serving(("", amocrm_router(auth, current_user=lambda: "anna", deep_link="app://x"))) as client:
        state = client.get("/authorize-url").json()["data"]["state"]
        query = {"code": "example", "state": state, "referer": "example.amocrm.ru"}
        reply = client.get("/callback", params=query, follow_redirects=False)
    assert reply.status_code == 503
    assert reply.headers["retry-after"] == "3"
    assert "store_unavailable" in reply.text
    assert "location" not in reply.headers


def test_two_mounts_work_side_by_side(auth: UserAuth | AsyncUserAuth) -> None:
    """Both paths in use answer, and their operations have different ids."""
    router = amocrm_router(auth, current_user=lambda: "anna", deep_link="app://x")
    with _serving(("/api/amo-crm", router), ("/api/v1/integrations/amo-crm", router)) as client:
        for prefix in ("/api/amo-crm", "/api/v1/integrations/amo-crm"):
            assert client.get(f"{prefix}/status").status_code == 200
        document = client.get("/openapi.json").json()
    ids = [operation["operationId"] for path in document["paths"].values() for operation in path.values()]
    assert len(ids) == len(set(ids)) == 10


def _document(auth: Any) -> dict[str, Any]:
    with _serving(("/api/amo-crm", amocrm_router(auth, current_user=lambda: "a", deep_link="app://x"))) as client:
        return client.get("/openapi.json").json()


def test_the_document_shows_every_answer(auth: UserAuth | AsyncUserAuth) -> None:
    """Each operation documents what it can answer, with the envelope as the schema of errors."""
    document = _document(auth)
    expected = {
        ("/status", "get"): {"200", "401", "403", "422", "500", "503"},
        ("/authorize-url", "get"): {"200", "401", "403", "422", "500", "503"},
        ("/exchange-code", "post"): {"200", "400", "401", "403", "422", "500", "502", "503"},
        ("/disconnect", "post"): {"200", "401", "403", "422", "500", "503"},
        ("/callback", "get"): {"302", "400", "500", "503"},
    }
    found = {
        (path.removeprefix("/api/amo-crm"), method): set(operation["responses"])
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    assert found == expected


def test_the_document_has_examples(auth: UserAuth | AsyncUserAuth) -> None:
    """Bodies and errors come with examples, and every example of an error is in the envelope."""
    document = _document(auth)
    schemas = document["components"]["schemas"]
    assert schemas["StatusReply"]["examples"][0]["data"]["accountId"] == "31920194"
    exchange = document["paths"]["/api/amo-crm/exchange-code"]["post"]
    body = exchange["requestBody"]["content"]["application/json"]["schema"]
    assert body["required"] == ["code"]
    assert body["examples"][0].keys() == {"code", "state", "referer"}
    for status, answer in exchange["responses"].items():
        if status == "200":
            continue
        content = answer["content"]["application/json"]
        assert content["schema"] == {"$ref": "#/components/schemas/ErrorReply"}
        for code, example in content["examples"].items():
            assert example["value"]["success"] is False
            assert example["value"]["error"]["code"] == code
    assert set(exchange["responses"]["400"]["content"]["application/json"]["examples"]) == {
        "invalid_state",
        "invalid_code",
        "untrusted_host",
        "wrong_account",
        "already_connected_by_another",
    }


def test_the_documents_status_has_the_four_keys(auth: UserAuth | AsyncUserAuth) -> None:
    """The names on the wire are the contract's."""
    schemas = _document(auth)["components"]["schemas"]
    assert set(schemas["Status"]["properties"]) == {"connected", "hasTokens", "domain", "accountId"}
    assert set(schemas["AuthorizeUrl"]["properties"]) == {"url", "state", "expiresIn"}
    assert schemas["Status"]["properties"]["accountId"]["type"] == "string"


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_traceback_with_local_variables_shows_no_code(kind: str) -> None:
    """Whatever fails below, no frame on the way shows the code or the state (but the failing function's own)."""

    class Broken(UserAuth):
        def connect(self, user_id: str, **given: Any) -> Any:
            given.clear()
            raise ZeroDivisionError

    class AsyncBroken(AsyncUserAuth):
        async def connect(self, user_id: str, **given: Any) -> Any:
            given.clear()
            raise ZeroDivisionError

    auth = (
        Broken(_INTEGRATION, MemoryTokenStore())
        if kind == "sync"
        else AsyncBroken(_INTEGRATION, AsyncMemoryTokenStore())
    )
    app = FastAPI()
    app.include_router(amocrm_router(auth, current_user=lambda: "anna"))
    body = {"code": "example-sesame", "state": "example-poppy"}
    with TestClient(app) as client, pytest.raises(ZeroDivisionError) as caught:
        client.post("/exchange-code", json=body)
    server = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    server = server[server.index("fastapi/applications.py") :]
    assert "amocrm_userauth/fastapi/_calls.py" in server
    assert "example-sesame" not in server
    assert "example-poppy" not in server


def test_an_access_log_shows_no_code(auth: UserAuth | AsyncUserAuth, caplog: pytest.LogCaptureFixture) -> None:
    """The server logs the callback's address without its query."""
    app = FastAPI()
    app.include_router(amocrm_router(auth, current_user=lambda: "anna", deep_link="app://x"))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, lifespan="off"))
    with caplog.at_level(logging.INFO, "uvicorn.access"), _running(server) as url:
        assert httpx.get(f"{url}/callback?code=example-code&state=example-state").status_code == 400
    lines = [record.getMessage() for record in caplog.records if record.name == "uvicorn.access"]
    assert len(lines) == 1
    assert lines[0].endswith('"GET /callback HTTP/1.1" 400')


@contextmanager
def _running(server: uvicorn.Server) -> Iterator[str]:
    with socket.socket() as listener, ThreadPoolExecutor(1) as pool:
        listener.bind(("127.0.0.1", 0))
        done = pool.submit(server.run, [listener])
        host, port = listener.getsockname()
        try:
            yield f"http://{host}:{port}"
        finally:
            server.should_exit = True
            done.result()
