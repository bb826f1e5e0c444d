"""The contract's application in FastAPI, with either service and either store."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager
from pathlib import Path
from typing import Annotated, Literal

import httpx
from anyio.from_thread import BlockingPortal, start_blocking_portal
from fastapi import FastAPI, Header, HTTPException, Request
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import create_async_engine

from amocrm_userauth import (
    AsyncMemoryTokenStore,
    AsyncUserAuth,
    ConnectionStatus,
    MemoryTokenStore,
    UserAuth,
    UserToken,
)
from amocrm_userauth.crypto import FernetCipher
from amocrm_userauth.fastapi import amocrm_router
from amocrm_userauth.sqlalchemy import AsyncSQLAlchemyTokenStore, SQLAlchemyTokenStore, create_schema
from amocrm_userauth.testing import FakeAmoCRM
from tests.contract.backend import DEEP_LINK, Ask, Backend, Clock, Reply

_HOST = "http://backend.example"


def current_user(authorization: Annotated[str, Header()] = "") -> str | None:
    """Stand in for the application's login."""
    user = authorization.removeprefix("Bearer ")
    if user == "nobody":
        raise HTTPException(403, "this user is locked", headers={"X-Why": "locked"})
    if user == "reauth":
        raise HTTPException(401, "the session is over", headers={"WWW-Authenticate": 'Bearer realm="app"'})
    return user or None


class FastAPIBackend(Backend):
    """Runs the application on an event loop of its own, in a thread."""

    def __init__(
        self,
        fake: FakeAmoCRM,
        clock: Clock,
        folder: Path,
        *,
        world: Literal["sync", "async"],
        store: Literal["memory", "sqlalchemy"],
        mount: str,
        integration: dict[str, object],
        options: dict[str, object],
    ) -> None:
        self.fake, self.clock, self.mount = fake, clock, mount
        self._options = {"clock": clock, "leeway": 0, **options}
        self._database = None if store == "memory" else folder / "tokens.sqlite"
        self._integration = fake.integration(**integration)
        self.app = FastAPI(lifespan=self._async_life if world == "async" else self._sync_life)
        router = amocrm_router(_service, current_user=current_user, deep_link=DEEP_LINK)
        self.app.include_router(router, prefix=mount)

    def running(self) -> AbstractContextManager["FastAPIBackend"]:
        """Start the loop and the application's lifespan for a ``with`` block."""
        return _Running(self)

    @asynccontextmanager
    async def _async_life(self, app: FastAPI) -> AsyncIterator[None]:
        async with self.fake.async_http_client() as http:
            if self._database is None:
                async with AsyncUserAuth(
                    self._integration, AsyncMemoryTokenStore(), http=http, **self._options
                ) as auth:
                    app.state.amocrm = auth
                    yield
                return
            engine = create_async_engine(f"sqlite+aiosqlite:///{self._database}")
            store = AsyncSQLAlchemyTokenStore(engine, cipher=FernetCipher([FernetCipher.generate_key()]))
            await store.create_schema()
            async with AsyncUserAuth(self._integration, store, http=http, **self._options) as auth:
                app.state.amocrm = auth
                yield
            await engine.dispose()

    @asynccontextmanager
    async def _sync_life(self, app: FastAPI) -> AsyncIterator[None]:
        with self.fake.http_client() as http, ExitStack() as stack:
            if self._database is None:
                store = MemoryTokenStore()
            else:
                engine = create_engine(f"sqlite:///{self._database}")
                stack.callback(engine.dispose)
                create_schema(engine)
                store = SQLAlchemyTokenStore(engine, cipher=FernetCipher([FernetCipher.generate_key()]))
            app.state.amocrm = stack.enter_context(UserAuth(self._integration, store, http=http, **self._options))
            yield

    def attach(self, portal: BlockingPortal) -> None:
        self._portal = portal

    def send(self, *asks: Ask) -> list[Reply]:
        return self._portal.call(self._send, asks)

    async def _send(self, asks: tuple[Ask, ...]) -> list[Reply]:
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url=_HOST) as client:
            return await asyncio.gather(*(self._one(client, ask) for ask in asks))

    async def _one(self, client: httpx.AsyncClient, ask: Ask) -> Reply:
        url = httpx.URL(f"{self.mount}/{ask.path}", params=list(ask.query) or None)
        if ask.raw_query is not None:
            url = url.copy_with(query=ask.raw_query.encode())
        response = await client.request(ask.method, url, content=ask.body, headers=ask.all_headers)
        return Reply(response.status_code, {k.lower(): v for k, v in response.headers.items()}, response.text)

    def row(self, user: str) -> UserToken | None:
        return self._run(lambda auth: auth.store.get(user))

    def access_token(self, user: str) -> str:
        return self._run(lambda auth: auth.access_token(user))

    def refresh(self, user: str) -> ConnectionStatus:
        return self._run(lambda auth: auth.refresh(user))

    def _run(self, work: Callable):
        auth = self.app.state.amocrm
        if isinstance(auth, UserAuth):
            return work(auth)

        async def run():
            return await work(auth)

        return self._portal.call(run)


class _Running(AbstractContextManager):
    def __init__(self, backend: FastAPIBackend) -> None:
        self._backend = backend
        self._stack = ExitStack()

    def __enter__(self) -> FastAPIBackend:
        portal = self._stack.enter_context(start_blocking_portal())
        self._stack.enter_context(
            portal.wrap_async_context_manager(self._backend.app.router.lifespan_context(self._backend.app))
        )
        self._backend.attach(portal)
        return self._backend

    def __exit__(self, *exc_info: object) -> None:
        self._stack.close()


def _service(request: Request) -> UserAuth | AsyncUserAuth:
    return request.app.state.amocrm
