"""``GET status`` of the FastAPI router is served while amoCRM keeps the refreshes of 200 requests to the same application."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import httpx
from fastapi import Depends, FastAPI, Header
from sqlalchemy import Engine

from amocrm_userauth import AsyncUserAuth, UserAuth
from amocrm_userauth.fastapi import access_token, amocrm_router
from amocrm_userauth.sqlalchemy import AsyncSQLAlchemyTokenStore, SQLAlchemyTokenStore
from amocrm_userauth.testing import FakeAmoCRM
from tests.engines import async_engine, below, engine
from tests.races.kit import world
from tests.slow.kit import PATIENCE, POOL, USERS, Slow, assert_pool_idle, database, due, reach, slow_ends

__all__ = ["reach"]

Reach = Callable[[FakeAmoCRM], None]


def _current_user(user: Annotated[str, Header()]) -> str:
    return user


def _application(auth: UserAuth | AsyncUserAuth) -> FastAPI:
    app = FastAPI()
    app.include_router(amocrm_router(auth, current_user=_current_user), prefix="/amo-crm")

    @app.get("/leads")
    async def leads(token: Annotated[str, Depends(access_token(auth, _current_user))]) -> str:
        return token

    @app.get("/ping")
    def ping() -> str:
        return "an endpoint of the application, in FastAPI's thread pool"

    return app


async def _prove(auth: UserAuth | AsyncUserAuth, made: Engine, slow: Slow) -> list[str]:
    """Ask for every user's leads, which need a refresh, and for every status meanwhile; return the tokens."""
    transport = httpx.ASGITransport(_application(auth))
    async with httpx.AsyncClient(transport=transport, base_url="http://backend.example", timeout=PATIENCE) as app:
        with slow_ends(slow):
            calls = [asyncio.ensure_future(app.get("/leads", headers={"user": user})) for user in slow.users]
            try:
                await asyncio.to_thread(slow.wait_all)
                async with asyncio.timeout(PATIENCE):
                    asked = (app.get("/amo-crm/status", headers={"user": user}) for user in slow.users)
                    statuses = await asyncio.gather(*asked)
                    assert (await app.get("/ping")).status_code == 200
                assert all(answer.json()["data"]["connected"] is True for answer in statuses)
                assert_pool_idle(made)
                assert not any(call.done() for call in calls)
            finally:
                slow.release()
                answers = await asyncio.wait_for(asyncio.gather(*calls), PATIENCE)
    return [answer.json() for answer in answers]


async def test_status_of_an_async_service_is_served(reach: Reach, tmp_path: Path) -> None:
    """The 200 wait in tasks; a pool of five is enough for everybody else."""
    with world("strict") as fake, database("postgresql", tmp_path) as url:
        rows, made = due(fake), async_engine(url, **POOL, pool_timeout=20)
        reach(fake)
        store, slow = AsyncSQLAlchemyTokenStore(made), Slow.at(fake)
        await store.create_schema()
        for row in rows:
            await store.put(row)
        async with AsyncUserAuth(fake.integration(), store) as auth:
            answers = await _prove(auth, below(made), slow)
        slow.assert_stored([await store.get(user) for user in USERS], answers)
        await made.dispose()


async def test_status_of_a_sync_service_is_served(reach: Reach, tmp_path: Path) -> None:
    """The 200 wait in threads, and FastAPI's forty are left to the other endpoints."""
    with world("strict") as fake, database("postgresql", tmp_path) as url:
        rows, made = due(fake), engine(url, **POOL, pool_timeout=20)
        reach(fake)
        store, slow = SQLAlchemyTokenStore(made), Slow.at(fake)
        store.create_schema()
        for row in rows:
            store.put(row)
        with UserAuth(fake.integration(), store) as auth:
            answers = await _prove(auth, made, slow)
        slow.assert_stored([store.get(user) for user in USERS], answers)
        made.dispose()
