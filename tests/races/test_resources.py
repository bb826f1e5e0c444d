"""Two thousand refreshes leave nothing behind: threads, tasks, descriptors and what is under way stay flat."""

import asyncio
import gc
import threading
from pathlib import Path
from typing import Any

import pytest
from httpx import AsyncClient

from amocrm_userauth import MemoryTokenStore
from tests.races.kit import DAY, PATIENCE, USER, AsAsync, Clock, assert_alive, async_service, connect, service, world
from tests.races.test_interruption import Stepwise

REFRESHES = 2_000


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def assert_nothing_under_way(auth: Any) -> None:
    scope = auth._scope
    assert (scope.unsaved, scope.saving, auth._mine) == ({}, set(), set())


def test_refreshes_in_threads_leave_nothing_behind() -> None:
    """Each refresh has a thread of its own, which is gone with it."""
    clock, store = Clock(), MemoryTokenStore()
    with world("strict", clock) as fake, fake.http_client() as http, service(fake, store, http, clock=clock) as auth:
        connect(auth, fake)
        before = (0, 0)
        for count in range(REFRESHES):
            if count == 50:
                before = (threading.active_count(), descriptors())
            clock.advance(DAY + 60)
            auth.access_token(USER)
        assert threading.active_count() <= before[0] + 2
        assert descriptors() <= before[1] + 2
        assert_nothing_under_way(auth)
        assert auth._scope.flights._flights == {}
        assert_alive(store, fake)


@pytest.mark.parametrize(("over_the_socket", "refreshes"), [(True, 400), (False, REFRESHES)])
def test_refreshes_in_tasks_leave_nothing_behind(over_the_socket: bool, refreshes: int) -> None:
    """Each refresh has a task of its own, which is gone with it."""
    clock, store = Clock(), MemoryTokenStore()

    async def main() -> None:
        with world("strict", clock) as fake, fake.http_client() as sync_http:
            with service(fake, store, sync_http, clock=clock) as sync:
                connect(sync, fake)
            own = fake.async_http_client() if over_the_socket else AsyncClient(transport=Stepwise(fake, sync_http))
            async with own as http, async_service(fake, AsAsync(store), http, clock=clock) as auth:
                before = (0, 0, 0)
                for count in range(refreshes):
                    if count == 50:
                        before = (threading.active_count(), descriptors(), len(asyncio.all_tasks()))
                    clock.advance(DAY + 60)
                    await auth.access_token(USER)
                assert threading.active_count() <= before[0]
                assert descriptors() <= before[1] + 2
                assert len(asyncio.all_tasks()) <= before[2]
                assert_nothing_under_way(auth)
                assert_alive(store, fake)

    asyncio.run(asyncio.wait_for(main(), PATIENCE * 2))


def test_event_loops_leave_nothing_behind() -> None:
    """Two hundred loops, one after the other, on one store object: the work of a loop is forgotten with it."""
    clock, store = Clock(), MemoryTokenStore()
    shared = AsAsync(store)
    with world("strict", clock) as fake, fake.http_client() as sync_http:
        with service(fake, store, sync_http, clock=clock) as sync:
            connect(sync, fake)

        async def main() -> Any:
            async with fake.async_http_client() as http, async_service(fake, shared, http, clock=clock) as auth:
                await auth.access_token(USER)
                return auth._scope.flights._loops

        loops, before = {}, 0
        for count in range(200):
            clock.advance(DAY + 60)
            loops = asyncio.run(main())
            if count == 20:
                before = descriptors()
        gc.collect()
        assert len(loops) == 0
        assert descriptors() <= before + 2
