"""Errors in FastAPI: one envelope, whoever raised them."""

import logging
import math
import traceback
from collections.abc import Callable
from typing import Annotated, Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI, Header, HTTPException
from fastapi.testclient import TestClient

from amocrm_userauth import (
    AsyncMemoryTokenStore,
    AsyncUserAuth,
    MemoryTokenStore,
    UserAuth,
    errors,
)
from amocrm_userauth.fastapi import amocrm_router, install_error_handlers
from tests.contract.fastapi_apps import INTEGRATION, served, serving, status


def test_validation_errors_of_the_applications_dependency_are_in_the_envelope(auth: UserAuth | AsyncUserAuth) -> None:
    """A missing or malformed header of the login is a 422 that names it and does not quote it."""

    def current_user(x_tenant: Annotated[int, Header()]) -> str:
        return "anna"

    with serving(("", amocrm_router(auth, current_user=current_user))) as client:
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

    reply = status(auth, current_user)
    assert (reply.status_code, reply.headers["x-tea"]) == (418, "green")
    assert reply.json() == {"success": False, "error": {"code": "http_error", "message": message}}


def test_a_redirect_to_the_login_stays_the_applications(auth: UserAuth | AsyncUserAuth) -> None:
    """An ``HTTPException`` that is no error is left to the application."""

    def current_user() -> str:
        raise HTTPException(303, headers={"Location": "/login"})

    with serving(("", amocrm_router(auth, current_user=current_user))) as client:
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

    for reply in (status(find), _own_endpoint(find)):
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
        Broken(INTEGRATION, MemoryTokenStore()) if kind == "sync" else AsyncBroken(INTEGRATION, AsyncMemoryTokenStore())
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
    with caplog.at_level(logging.INFO, "uvicorn.access"), served(server) as url:
        assert httpx.get(f"{url}/callback?code=example-code&state=example-state").status_code == 400
    lines = [record.getMessage() for record in caplog.records if record.name == "uvicorn.access"]
    assert len(lines) == 1
    assert lines[0].endswith('"GET /callback HTTP/1.1" 400')
