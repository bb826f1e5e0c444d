"""A slow amoCRM does not take the application down: 200 users are due at once, and the pool has five connections."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from amocrm_userauth import AsyncUserAuth, UserAuth
from amocrm_userauth.errors import StoreUnavailable
from amocrm_userauth.sqlalchemy import AsyncSQLAlchemyTokenStore, SQLAlchemyTokenStore
from amocrm_userauth.testing import FakeAmoCRM
from tests.engines import async_engine, below, engine
from tests.races.kit import Wrapped, world
from tests.slow.kit import KINDS, POOL, USERS, Slow, async_prove, database, due, prove, reach

__all__ = ["reach"]

Reach = Callable[[FakeAmoCRM], None]


@pytest.mark.parametrize("kind", KINDS)
def test_200_threads_wait_for_amocrm_without_a_connection(kind: str, reach: Reach, tmp_path: Path) -> None:
    """Status, connect and disconnect are served by five connections while amoCRM keeps 200 refreshes; none is lost."""
    with world("strict") as fake, database(kind, tmp_path) as url:
        rows, made = due(fake), engine(url, **POOL, pool_timeout=20)
        reach(fake)
        store = SQLAlchemyTokenStore(made)
        store.create_schema()
        for row in rows:
            store.put(row)
        with UserAuth(fake.integration(), store) as auth:
            prove(auth, made, Slow.at(fake))
        made.dispose()


@pytest.mark.parametrize("kind", KINDS)
async def test_200_tasks_wait_for_amocrm_without_a_connection(kind: str, reach: Reach, tmp_path: Path) -> None:
    """The same with tasks."""
    with world("strict") as fake, database(kind, tmp_path) as url:
        rows, made = due(fake), async_engine(url, **POOL, pool_timeout=20)
        reach(fake)
        store = AsyncSQLAlchemyTokenStore(made)
        await store.create_schema()
        for row in rows:
            await store.put(row)
        async with AsyncUserAuth(fake.integration(), store) as auth:
            await async_prove(auth, below(made), Slow.at(fake))
        await made.dispose()


class Keeping(Wrapped):
    """A store that keeps a connection from the lease to the new pair, as a lock held by a transaction would."""

    def __init__(self, inner: SQLAlchemyTokenStore, made: Any) -> None:
        super().__init__(inner)
        self.made = made
        self.kept: dict[str, Any] = {}

    def take_lease(self, user_id: str, **more: Any) -> Any:
        row = self.inner.take_lease(user_id, **more)
        self.kept[user_id] = self.made.connect()
        self.kept[user_id].execute(text("SELECT 1"))
        return row

    def commit(self, token: Any, **more: Any) -> Any:
        self.kept.pop(token.user_id).close()
        return self.inner.commit(token, **more)


class AsyncKeeping(Wrapped):
    """The async twin of :class:`Keeping`."""

    def __init__(self, inner: AsyncSQLAlchemyTokenStore, made: Any) -> None:
        super().__init__(inner)
        self.made = made
        self.kept: dict[str, Any] = {}

    async def take_lease(self, user_id: str, **more: Any) -> Any:
        row = await self.inner.take_lease(user_id, **more)
        self.kept[user_id] = await self.made.connect()
        await self.kept[user_id].execute(text("SELECT 1"))
        return row

    async def commit(self, token: Any, **more: Any) -> Any:
        await self.kept.pop(token.user_id).close()
        return await self.inner.commit(token, **more)


@pytest.mark.parametrize("kind", KINDS)
def test_threads_that_kept_their_connection_would_be_found(kind: str, reach: Reach, tmp_path: Path) -> None:
    """Five users suffice then: their refreshes have the whole pool, and a status call waits for it in vain."""
    with world("strict") as fake, database(kind, tmp_path) as url:
        rows, made = due(fake, USERS[:5]), engine(url, **POOL, pool_timeout=0.2)
        reach(fake)
        store = SQLAlchemyTokenStore(made)
        store.create_schema()
        for row in rows:
            store.put(row)
        with (
            UserAuth(fake.integration(), Keeping(store, made)) as auth,
            pytest.raises(StoreUnavailable, match="TimeoutError"),
        ):
            prove(auth, made, Slow.at(fake, USERS[:5]))
        made.dispose()


@pytest.mark.parametrize("kind", KINDS)
async def test_tasks_that_kept_their_connection_would_be_found(kind: str, reach: Reach, tmp_path: Path) -> None:
    """The same with tasks."""
    with world("strict") as fake, database(kind, tmp_path) as url:
        rows, made = due(fake, USERS[:5]), async_engine(url, **POOL, pool_timeout=0.2)
        reach(fake)
        store = AsyncSQLAlchemyTokenStore(made)
        await store.create_schema()
        for row in rows:
            await store.put(row)
        async with AsyncUserAuth(fake.integration(), AsyncKeeping(store, made)) as auth:
            with pytest.raises(StoreUnavailable, match="TimeoutError"):
                await async_prove(auth, below(made), Slow.at(fake, USERS[:5]))
        await made.dispose()
