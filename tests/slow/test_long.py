"""The same in real time, with every default: amoCRM takes 15 seconds for each of 200 refreshes."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from amocrm_userauth import AsyncUserAuth, UserAuth
from amocrm_userauth.errors import TemporarilyUnavailable
from amocrm_userauth.sqlalchemy import AsyncSQLAlchemyTokenStore, SQLAlchemyTokenStore
from amocrm_userauth.testing import FakeAmoCRM
from tests.engines import async_engine, engine
from tests.races.kit import world
from tests.slow.kit import KINDS, POOL, USERS, Slow, database, due, reach

__all__ = ["reach"]

pytestmark = pytest.mark.long
Reach = Callable[[FakeAmoCRM], None]
_LATENCY = 15.0
_TEN = httpx.Limits(max_connections=10)
_PATIENCE = 900.0


@pytest.mark.parametrize("kind", KINDS)
def test_200_threads_are_refreshed_within_the_default_budgets(kind: str, reach: Reach, tmp_path: Path) -> None:
    """Every caller gets the new token, and every status call meanwhile its answer."""
    with world("strict") as fake, database(kind, tmp_path) as url:
        rows, made = due(fake), engine(url, **POOL)
        reach(fake)
        store = SQLAlchemyTokenStore(made)
        store.create_schema()
        for row in rows:
            store.put(row)
        fake.delay_next(None, _LATENCY, times=len(USERS))
        with UserAuth(fake.integration(), store) as auth, ThreadPoolExecutor(len(USERS)) as callers:
            calls, asked = [callers.submit(auth.access_token, user) for user in USERS], 0
            while not all(call.done() for call in calls):
                assert auth.status(USERS[asked % len(USERS)]).connected
                asked += 1
            answers = [call.result() for call in calls]
        assert asked > len(USERS)
        Slow(fake, USERS, ()).assert_stored([store.get(user) for user in USERS], answers)
        made.dispose()


@pytest.mark.parametrize("kind", KINDS)
async def test_200_tasks_are_refreshed_within_the_default_budgets(kind: str, reach: Reach, tmp_path: Path) -> None:
    """The same with tasks."""
    with world("strict") as fake, database(kind, tmp_path) as url:
        rows, made = due(fake), async_engine(url, **POOL)
        reach(fake)
        store = AsyncSQLAlchemyTokenStore(made)
        await store.create_schema()
        for row in rows:
            await store.put(row)
        fake.delay_next(None, _LATENCY, times=len(USERS))
        async with AsyncUserAuth(fake.integration(), store) as auth:
            calls, asked = [asyncio.ensure_future(auth.access_token(user)) for user in USERS], 0
            while not all(call.done() for call in calls):
                assert (await auth.status(USERS[asked % len(USERS)])).connected
                asked += 1
            answers = await asyncio.gather(*calls)
        assert asked > len(USERS)
        Slow(fake, USERS, ()).assert_stored([await store.get(user) for user in USERS], answers)
        await made.dispose()


async def test_ten_connections_work_off_200_who_come_again(reach: Reach, tmp_path: Path) -> None:
    """Callers who come again as ``retry_after`` says are all served in the end; nobody is in doubt at any time."""
    with world("strict") as fake, database("postgresql", tmp_path) as url:
        rows, made = due(fake), async_engine(url, **POOL)
        reach(fake)
        store = AsyncSQLAlchemyTokenStore(made)
        await store.create_schema()
        for row in rows:
            await store.put(row)
        fake.delay_next(None, _LATENCY, times=10 * len(USERS))
        until = time.monotonic() + _PATIENCE
        async with httpx.AsyncClient(limits=_TEN) as http, AsyncUserAuth(fake.integration(), store, http=http) as auth:

            async def persistent(user: str) -> str:
                while True:
                    try:
                        return await auth.access_token(user)
                    except TemporarilyUnavailable as error:
                        if time.monotonic() > until:
                            raise
                        await asyncio.sleep(max(error.retry_after or 0.0, 0.1))

            calls = [asyncio.ensure_future(persistent(user)) for user in USERS]
            while not all(call.done() for call in calls):
                for user in USERS:
                    row = await store.get(user, with_tokens=False)
                    assert row is not None
                    assert (row.in_doubt, row.reauth_reason) == (False, None)
                await asyncio.sleep(1)
            answers = await asyncio.gather(*calls)
        Slow(fake, USERS, ()).assert_stored([await store.get(user) for user in USERS], answers)
        await made.dispose()
