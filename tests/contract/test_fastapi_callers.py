"""How FastAPI's requests lead to the service and the user."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Annotated, Any
from uuid import UUID

import pytest
from fastapi import Depends, FastAPI, Header, Request, Security
from fastapi.testclient import TestClient
from pydantic import BaseModel

from amocrm_userauth import (
    AsyncUserAuth,
    MemoryTokenStore,
    UserAuth,
)
from amocrm_userauth.fastapi import amocrm_router
from tests.contract.fastapi_apps import INTEGRATION, OFF, serving, status


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
    reply = status(_sources(auth)[kind])
    assert reply.json() == {"success": True, "data": OFF}


def test_a_service_that_is_none_is_a_developers_job() -> None:
    """A lifespan that did not run is told, not crashed on."""
    reply = status(lambda: None)
    assert reply.status_code == 500
    assert reply.json()["error"]["code"] == "configuration_error"
    assert "NoneType" in reply.json()["error"]["message"]


def test_a_service_of_ones_own_making_is_one() -> None:
    """A subclass of either service is taken as it is."""

    class Own(UserAuth):
        pass

    assert status(Own(INTEGRATION, MemoryTokenStore())).status_code == 200


class _Model(BaseModel):
    id: int


@dataclass
class _Data:
    id: int


class _Named:
    def __str__(self) -> str:
        return "named"


@pytest.mark.parametrize("user", ["anna", 7, UUID(int=1), _Named()], ids=lambda user: type(user).__name__)
def test_users_that_are_their_id_need_no_mapping(auth: UserAuth | AsyncUserAuth, user: object) -> None:
    """Texts, numbers, UUIDs and what says so itself."""
    assert status(auth, lambda: user).status_code == 200


@pytest.mark.parametrize(
    "user",
    [_Model(id=1), _Data(id=1), {"sub": "1"}, True, SimpleNamespace(id=1), ["anna"]],
    ids=lambda user: type(user).__name__,
)
def test_other_users_need_a_mapping(auth: UserAuth | AsyncUserAuth, user: object) -> None:
    """The text of an object is no id: it changes with its fields or its address in memory."""
    reply = status(auth, lambda: user)
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

    assert status(auth, current_user, user_id=user_id).status_code == 200
    assert seen == [_Model(id=42)]


@pytest.mark.parametrize("empty", ["", None])
def test_an_empty_id_is_nobody(auth: UserAuth | AsyncUserAuth, empty: str | None) -> None:
    """A user object without an id is not logged in."""
    reply = status(auth, lambda: "anna", user_id=lambda _: empty)
    assert (reply.status_code, reply.json()["error"]["code"]) == (401, "not_authenticated")


@pytest.mark.parametrize("wrong", [7, "x" * 256, "a\0b", "\ud800", UUID(int=1)], ids=ascii)
def test_an_id_that_cannot_be_one_is_a_developers_job(auth: UserAuth | AsyncUserAuth, wrong: object) -> None:
    """What ``user_id`` gives must be a user id."""
    reply = status(auth, lambda: "anna", user_id=lambda _: wrong)
    assert (reply.status_code, reply.json()["error"]["code"]) == (500, "configuration_error")


def test_an_id_that_the_store_cannot_have_is_a_developers_job() -> None:
    """A store with UUIDs for ids refuses other text; that is not the client's doing."""

    class Numbers(MemoryTokenStore):
        def canonical_user_id(self, user_id: str) -> str:
            return str(int(user_id))

    auth = UserAuth(INTEGRATION, Numbers())
    assert status(auth, lambda: "007").status_code == 200
    reply = status(auth, lambda: "anna")
    assert (reply.status_code, reply.json()["error"]["code"]) == (500, "configuration_error")


def test_security_dependencies_work(auth: UserAuth | AsyncUserAuth) -> None:
    """``current_user`` may have dependencies and scopes of its own."""

    def login(x_user: Annotated[str, Header()]) -> str:
        return x_user

    def current_user(user: Annotated[str, Security(login, scopes=["crm"])]) -> str:
        return user

    with serving(("", amocrm_router(auth, current_user=current_user))) as client:
        assert client.get("/status", headers={"X-User": "anna"}).status_code == 200


def test_the_login_is_asked_before_the_body_is_looked_at(auth: UserAuth | AsyncUserAuth) -> None:
    """Nobody learns about the format without being logged in."""
    with serving(("", amocrm_router(auth, current_user=lambda: None))) as client:
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
