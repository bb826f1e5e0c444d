"""The application.

    uvicorn --factory examples.fastapi_app.main:create_app

It needs the packages ``amocrm_userauth[fastapi,crypto,sqlalchemy-async]``, ``aiosqlite`` and ``uvicorn``, and the
environment that ``settings.py`` reads. ``GET /docs`` shows every endpoint.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import httpx
from fastapi import Depends, FastAPI, HTTPException, Request
from sqlalchemy.ext.asyncio import create_async_engine

from amocrm_userauth import AsyncUserAuth
from amocrm_userauth.crypto import FernetCipher
from amocrm_userauth.fastapi import amocrm_client, amocrm_router, install_error_handlers
from amocrm_userauth.sqlalchemy import AsyncSQLAlchemyTokenStore
from examples.fastapi_app import login
from examples.fastapi_app.settings import Settings


def create_app(
    settings: Settings | None = None,
    *,
    http: httpx.AsyncClient | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
) -> FastAPI:
    """Build the application; tests hand in the client and the transport of a fake amoCRM."""
    settings = settings or Settings.from_env()
    transport = transport or httpx.AsyncHTTPTransport()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        engine = create_async_engine(settings.database_url)
        store = AsyncSQLAlchemyTokenStore(engine, cipher=FernetCipher(settings.token_keys))
        await store.create_schema()  # an application with Alembic puts the two tables into its migrations instead
        async with transport, AsyncUserAuth(settings.integration, store, http=http) as auth:
            app.state.amocrm = auth
            yield
        await engine.dispose()

    app = FastAPI(title="Example backend", lifespan=lifespan)
    app.state.sessions = {}
    install_error_handlers(app)
    app.include_router(login.router)
    amocrm = amocrm_router(_service, current_user=login.current_user, user_id=_user_id, deep_link=settings.deep_link)
    app.include_router(amocrm, prefix="/api/amo-crm")
    app.include_router(amocrm, prefix="/api/v1/integrations/amo-crm")  # where the older app looks for them
    _add_leads(app, transport)
    return app


def _add_leads(app: FastAPI, transport: httpx.AsyncBaseTransport) -> None:
    client = amocrm_client(_service, login.current_user, _user_id, transport=transport)

    @app.get("/leads")
    async def leads(amocrm: Annotated[httpx.AsyncClient, Depends(client)], page: int = 1) -> list[dict[str, Any]]:
        """Return a page of the leads that the logged-in user sees at amoCRM."""
        response = await amocrm.get("/api/v4/leads", params={"page": page, "limit": 50})
        if response.status_code == httpx.codes.NO_CONTENT:
            return []
        if response.is_error:
            raise HTTPException(502, "amoCRM refused the request")
        found = response.json()["_embedded"]["leads"]
        return [{"id": lead["id"], "name": lead["name"], "price": lead["price"]} for lead in found]


def _service(request: Request) -> AsyncUserAuth:
    service: AsyncUserAuth = request.app.state.amocrm
    return service


def _user_id(user: login.User) -> str:
    return user.id
