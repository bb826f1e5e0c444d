"""What an application's own endpoints in FastAPI get."""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Depends, FastAPI, Header
from fastapi.testclient import TestClient

from amocrm_userauth import (
    AsyncMemoryTokenStore,
    AsyncUserAuth,
    MemoryTokenStore,
    TokenPair,
    UserAuth,
    UserToken,
    errors,
)
from amocrm_userauth.fastapi import access_token, amocrm_client, amocrm_router, install_error_handlers
from amocrm_userauth.fastapi._callers import Caller
from amocrm_userauth.testing import FakeAmoCRM, async_http_transport, http_transport
from tests.contract.fastapi_apps import INTEGRATION


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
    with UserAuth(INTEGRATION, MemoryTokenStore()) as auth:
        auth.store.put(_row("anna"))
        await _opened_and_closed(amocrm_client(auth, lambda: "anna")(Caller(auth, "anna")))
    auth = AsyncUserAuth(INTEGRATION, AsyncMemoryTokenStore())
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
        with UserAuth(INTEGRATION, MemoryTokenStore()) as auth:
            auth.store.put(_row("anna"))
            steps = amocrm_client(auth, lambda: "anna", transport=httpx.AsyncHTTPTransport())(Caller(auth, "anna"))
            client = await anext(steps)
            with pytest.raises(errors.ConfigurationError, match="transport"):
                client.get("/")
    else:
        auth = AsyncUserAuth(INTEGRATION, AsyncMemoryTokenStore())
        await auth.store.put(_row("anna"))
        steps = amocrm_client(auth, lambda: "anna", transport=httpx.HTTPTransport())(Caller(auth, "anna"))
        client = await anext(steps)
        with pytest.raises(errors.ConfigurationError, match="transport"):
            await client.get("/")
    await steps.aclose()
