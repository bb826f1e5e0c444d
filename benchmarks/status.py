"""``GET status`` under load, against the same application with a select written by hand.

The applications are called as servers call them, without a server: what HTTP parsing costs would be the same for both,
and would hide the difference.
"""

import asyncio
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal

from fastapi import Depends, FastAPI, Header, HTTPException
from pydantic import BaseModel, Field
from sqlalchemy import Engine, MetaData, bindparam, create_engine, select
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from amocrm_userauth import AsyncUserAuth, UserAuth
from amocrm_userauth.fastapi import amocrm_router
from amocrm_userauth.sqlalchemy import AsyncSQLAlchemyTokenStore, SQLAlchemyTokenStore, token_table
from benchmarks.figures import Figure, Length, at_least, compare_async, not_measured
from benchmarks.rows import INTEGRATION, names, row
from benchmarks.servers import Missing, database, on

__all__ = ["run"]

_BAR = 0.8
_AT_ONCE = 20
_PATH = "/api/amo-crm/status"


class _Status(BaseModel):
    connected: bool
    has_tokens: bool = Field(serialization_alias="hasTokens")
    domain: str
    account_id: str = Field(serialization_alias="accountId")


class _Reply(BaseModel):
    success: Literal[True] = True
    data: _Status


def _current_user(authorization: Annotated[str, Header()] = "") -> str:
    """Stand in for the application's login, which both have."""
    user = authorization.removeprefix("Bearer ")
    if not user:
        raise HTTPException(401)
    return user


_User = Annotated[str, Depends(_current_user)]
_table = token_table(MetaData())
_statement = select(
    _table.c.domain, _table.c.account_id, _table.c.expires_at, _table.c.pair_saved_at, _table.c.reauth_reason
).where(_table.c.user_id == bindparam("user"))


def run(length: Length) -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tokens.sqlite"
        yield from asyncio.run(_on_database("SQLite", f"sqlite:///{path}", f"sqlite+aiosqlite:///{path}", length))
    try:
        with database("postgresql") as url:
            yield from asyncio.run(_on_database("PostgreSQL", on(url, "psycopg"), on(url, "asyncpg"), length))
    except Missing as missing:
        yield not_measured("GET status, PostgreSQL / select by hand", str(missing))


async def _on_database(name: str, url: str, async_url: str, length: Length) -> list[Figure]:
    users = names(length.of(500, 20))
    repeats = length.of(15, 2)
    engine, async_engine = create_engine(url), create_async_engine(async_url)
    store = SQLAlchemyTokenStore(engine)
    store.create_schema()
    for user in users:
        store.put(row(user))
    with UserAuth(INTEGRATION, store) as auth:
        sync = await _figure(f"sync, {name}", _ours(auth), _by_hand(engine), users, repeats)
    async with AsyncUserAuth(INTEGRATION, AsyncSQLAlchemyTokenStore(async_engine)) as async_auth:
        asynchronous = await _figure(f"async, {name}", _ours(async_auth), _by_hand_async(async_engine), users, repeats)
    engine.dispose()
    await async_engine.dispose()
    return [sync, asynchronous]


def _ours(auth: UserAuth | AsyncUserAuth) -> FastAPI:
    app = FastAPI()
    app.include_router(amocrm_router(auth, current_user=_current_user), prefix="/api/amo-crm")
    return app


def _by_hand(engine: Engine) -> FastAPI:
    app = FastAPI()

    @app.get(_PATH)
    def status(user: _User) -> _Reply:
        with engine.connect() as connection:
            found = connection.execute(_statement, {"user": user}).first()
        return _reply(found)

    return app


def _by_hand_async(engine: AsyncEngine) -> FastAPI:
    app = FastAPI()

    @app.get(_PATH)
    async def status(user: _User) -> _Reply:
        async with engine.connect() as connection:
            found = (await connection.execute(_statement, {"user": user})).first()
        return _reply(found)

    return app


def _reply(found: tuple | None) -> _Reply:
    if found is None:
        return _Reply(data=_Status(connected=False, has_tokens=False, domain="", account_id=""))
    domain, account_id, expires_at, saved_at, refused = found
    now = datetime.now(UTC)
    alive = now < expires_at or now < saved_at + timedelta(days=90)
    status = _Status(connected=alive and refused is None, has_tokens=True, domain=domain, account_id=account_id)
    return _Reply(data=status)


async def _figure(name: str, ours: FastAPI, by_hand: FastAPI, users: list[str], repeats: int) -> Figure:
    times = await compare_async(
        lambda: _load(ours, users), lambda: _load(by_hand, users), repeats=repeats, per=len(users)
    )
    per_second = [1 / seconds for seconds in times]
    return at_least(f"GET status, {name} / select by hand", *per_second, _BAR, show=lambda rate: f"{rate:.0f} / s")


async def _load(app: FastAPI, users: list[str]) -> None:
    """Ask once for every user, so many at a time. Raises ``AssertionError`` if an answer is not what it should be."""
    waiting = iter(users)

    async def worker() -> None:
        for user in waiting:
            answer = await _get(app, user)
            assert b'"hasTokens":true' in answer, answer

    async with asyncio.TaskGroup() as group:
        for _ in range(_AT_ONCE):
            group.create_task(worker())


async def _get(app: FastAPI, user: str) -> bytes:
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": _PATH,
        "raw_path": _PATH.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"backend.example"), (b"authorization", b"Bearer " + user.encode())],
        "client": ("127.0.0.1", 50_000),
        "server": ("127.0.0.1", 80),
    }
    body = bytearray()

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, object]) -> None:
        body.extend(message.get("body", b""))

    await app(scope, receive, send)
    return bytes(body)
