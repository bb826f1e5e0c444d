"""The example backend: what a team writes to let its users connect their own amoCRM accounts."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any, NamedTuple

import httpx
from fastapi import Depends, FastAPI, HTTPException, Request
from pydantic import BaseModel
from sqlalchemy import MetaData, Table
from sqlalchemy.ext.asyncio import create_async_engine

from amocrm_userauth import AsyncUserAuth, Integration
from amocrm_userauth.crypto import FernetCipher
from amocrm_userauth.demo._log import Log
from amocrm_userauth.demo._users import USERS, Sessions, User
from amocrm_userauth.errors import AmoCRMUnavailable
from amocrm_userauth.fastapi import access_token, amocrm_client, amocrm_router, install_error_handlers
from amocrm_userauth.sqlalchemy import AsyncSQLAlchemyTokenStore, token_table
from amocrm_userauth.testing import FakeAmoCRM, fingerprint

__all__ = ["MOUNT", "Login", "Parts", "example_backend", "service"]

MOUNT = "/api/amo-crm"
_NO_CONTENT, _UNAUTHORIZED = 204, 401


class Parts(NamedTuple):
    """What the backend is built from."""

    fake: FakeAmoCRM
    log: Log
    sessions: Sessions
    transport: httpx.AsyncBaseTransport
    integration: Integration
    database: str
    deep_link: str


class Login(BaseModel):
    """Who logs in. The demo asks for no password."""

    user: str


class Session(BaseModel):
    """The application's own session; it has nothing to do with amoCRM."""

    session: str
    id: str
    name: str


class Lead(BaseModel):
    """A lead as the phone shows it."""

    id: int
    name: str
    price: int


def service(request: Request) -> AsyncUserAuth:
    """Return the service that the lifespan built."""
    auth: AsyncUserAuth = request.app.state.amocrm
    return auth


def example_backend(parts: Parts) -> FastAPI:
    """Return the application: its login, the library's endpoints, and endpoints that call amoCRM as the user."""
    app = FastAPI(title="Example backend", lifespan=_lifespan(parts, token_table(MetaData())), openapi_url=None)
    install_error_handlers(app)
    app.include_router(
        amocrm_router(service, current_user=parts.sessions.current_user, user_id=_id_of, deep_link=parts.deep_link),
        prefix=MOUNT,
    )
    _add_login(app, parts.sessions)
    _add_calls_to_amocrm(app, parts)
    return app


def _id_of(user: User) -> str:
    return user.id


def _lifespan(parts: Parts, table: Table) -> Callable[[FastAPI], Any]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        engine = create_async_engine(f"sqlite+aiosqlite:///{parts.database}")
        store = AsyncSQLAlchemyTokenStore(engine, cipher=FernetCipher([FernetCipher.generate_key()]), table=table)
        await store.create_schema()
        async with (
            httpx.AsyncClient(transport=parts.transport) as http,
            AsyncUserAuth(parts.integration, store, http=http, on_event=parts.log.event, clock=parts.fake.now) as auth,
        ):
            app.state.amocrm, app.state.engine, app.state.table = auth, engine, table
            yield
        await engine.dispose()

    return lifespan


def _add_login(app: FastAPI, sessions: Sessions) -> None:
    @app.post("/api/login")
    async def login(body: Login) -> Session:
        user = USERS.get(body.user)
        if user is None:
            raise HTTPException(404, "nobody of that name works here")
        return Session(session=sessions.open(user), id=user.id, name=user.name)


def _add_calls_to_amocrm(app: FastAPI, parts: Parts) -> None:
    current_user = parts.sessions.current_user
    amocrm_as_user = amocrm_client(service, current_user, _id_of, transport=parts.transport)
    token_of_user = access_token(service, current_user, _id_of)

    @app.get("/api/leads")
    async def leads(amocrm: Annotated[httpx.AsyncClient, Depends(amocrm_as_user)]) -> list[Lead]:
        return await _leads(lambda: amocrm.get("/api/v4/leads"))

    @app.get("/api/token-fingerprint")
    async def token_fingerprint(token: Annotated[str, Depends(token_of_user)]) -> dict[str, str]:
        return {"fingerprint": fingerprint(token)}


async def _leads(ask: Callable[[], Awaitable[httpx.Response]]) -> list[Lead]:
    try:
        response = await ask()
    except httpx.TransportError:
        raise AmoCRMUnavailable from None
    if response.status_code == _NO_CONTENT:
        return []
    if response.status_code == _UNAUTHORIZED:
        # One 401 a minute leads to a refresh, so the next call after that minute will tell.
        msg = "amoCRM does not accept the token; it is looked at again within a minute"
        raise AmoCRMUnavailable(msg, retry_after=60)
    if response.is_error:
        msg = f"amoCRM answered {response.status_code}"
        raise AmoCRMUnavailable(msg)
    return [Lead.model_validate(lead) for lead in response.json()["_embedded"]["leads"]]
