"""Fifty callers, one expired token: one call of the token endpoint, nobody fails, and the stored pair is alive."""

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from amocrm_userauth import MemoryTokenStore
from tests.races.kit import (
    PATIENCE,
    ROTATIONS,
    USER,
    AsAsync,
    Wrapped,
    assert_alive,
    assert_all_served,
    async_service,
    async_sqlite_store,
    connect_expired,
    in_threads,
    service,
    sqlite_store,
    world,
)

CALLERS = 50
pytestmark = pytest.mark.parametrize("rotation", ROTATIONS)


def run_loops(loops: int, main: Callable[[], Any]) -> list[Any]:
    """Run ``main`` in an event loop of its own in each of some threads; return what all of them gave, in one list."""

    def one() -> Any:
        return asyncio.run(asyncio.wait_for(main(), PATIENCE))

    gathered = in_threads([one] * loops)
    for batch in gathered:
        if isinstance(batch, BaseException):
            raise batch
    return [result for batch in gathered for result in batch]


def test_threads_share_one_refresh(rotation: str) -> None:
    """Fifty threads on one service object make one call."""
    store = MemoryTokenStore()
    with world(rotation) as fake, fake.http_client() as http, service(fake, store, http) as auth:
        connect_expired(fake, store)
        results = in_threads([lambda: auth.access_token(USER)] * CALLERS)
        assert_all_served(results, fake)
        assert_alive(store, fake)


def test_threads_with_a_service_each_share_one_refresh(rotation: str) -> None:
    """Fifty threads that each build a service object of their own, as web requests may, make one call."""
    store = MemoryTokenStore()
    with world(rotation) as fake, fake.http_client() as http, contextlib.ExitStack() as stack:
        connect_expired(fake, store)
        services = [stack.enter_context(service(fake, store, http)) for _ in range(CALLERS)]
        results = in_threads([lambda auth=auth: auth.access_token(USER) for auth in services])
        assert_all_served(results, fake)
        assert_alive(store, fake)


def test_threads_with_a_store_each_share_one_refresh(rotation: str) -> None:
    """With nothing shared in the process the lease alone keeps fifty threads to one call."""
    shared = MemoryTokenStore()
    with world(rotation) as fake, fake.http_client() as http, contextlib.ExitStack() as stack:
        connect_expired(fake, shared)
        services = [stack.enter_context(service(fake, Wrapped(shared), http)) for _ in range(CALLERS)]
        results = in_threads([lambda auth=auth: auth.access_token(USER) for auth in services])
        assert_all_served(results, fake)
        assert_alive(shared, fake)


def test_threads_with_a_store_each_on_one_file_share_one_refresh(rotation: str, tmp_path: Path) -> None:
    """Fifty threads with an engine each on one SQLite file make one call."""
    path = tmp_path / "tokens.db"
    with world(rotation) as fake, fake.http_client() as http, contextlib.ExitStack() as stack:
        stores = [stack.enter_context(sqlite_store(path)) for _ in range(CALLERS)]
        connect_expired(fake, stores[0])
        services = [stack.enter_context(service(fake, store, http)) for store in stores]
        results = in_threads([lambda auth=auth: auth.access_token(USER) for auth in services])
        assert_all_served(results, fake)
        assert_alive(stores[0], fake)


@pytest.mark.parametrize("own_service", [False, True])
def test_tasks_share_one_refresh(rotation: str, own_service: bool) -> None:
    """Fifty tasks of one event loop make one call, on one service object and on one each."""
    shared = MemoryTokenStore()
    with world(rotation) as fake:
        connect_expired(fake, shared)

        async def main() -> list[Any]:
            async with fake.async_http_client() as http, contextlib.AsyncExitStack() as stack:
                store = AsAsync(shared, steps=1)
                services = [
                    await stack.enter_async_context(async_service(fake, store, http))
                    for _ in range(CALLERS if own_service else 1)
                ]
                callers = (services[place % len(services)].access_token(USER) for place in range(CALLERS))
                return await asyncio.gather(*callers, return_exceptions=True)

        assert_all_served(run_loops(1, main), fake)
        assert_alive(shared, fake)


@pytest.mark.parametrize("own_store", [False, True])
def test_tasks_of_several_loops_share_one_refresh(rotation: str, own_store: bool) -> None:
    """Five event loops in five threads, ten tasks each, make one call; also with a store object for every task."""
    shared = MemoryTokenStore()
    with world(rotation) as fake:
        connect_expired(fake, shared)

        async def main() -> list[Any]:
            async with fake.async_http_client() as http, contextlib.AsyncExitStack() as stack:
                callers = [
                    await stack.enter_async_context(
                        async_service(fake, AsAsync(Wrapped(shared) if own_store else shared, steps=1), http)
                    )
                    for _ in range(10)
                ]
                return await asyncio.gather(*(auth.access_token(USER) for auth in callers), return_exceptions=True)

        assert_all_served(run_loops(5, main), fake)
        assert_alive(shared, fake)


def test_tasks_of_several_loops_on_one_file_share_one_refresh(rotation: str, tmp_path: Path) -> None:
    """Five event loops, each with an engine of its own on one SQLite file, ten tasks each, make one call."""
    path = tmp_path / "tokens.db"
    with world(rotation) as fake, sqlite_store(path) as store:
        connect_expired(fake, store)

        async def main() -> list[Any]:
            async with (
                async_sqlite_store(path) as own,
                fake.async_http_client() as http,
                async_service(fake, own, http) as auth,
            ):
                return await asyncio.gather(*(auth.access_token(USER) for _ in range(10)), return_exceptions=True)

        assert_all_served(run_loops(5, main), fake)
        assert_alive(store, fake)


# from 3.12 on Python warns of a fork beside threads, which is what this is about
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_starts_without_what_its_parent_had_under_way(rotation: str, tmp_path: Path) -> None:
    """Four children, forked while the parent has a refresh under way, wait for it instead of spending the token."""
    path = tmp_path / "tokens.db"
    with (
        world(rotation) as fake,
        sqlite_store(path) as store,
        fake.http_client() as http,
        service(fake, store, http) as auth,
    ):
        connect_expired(fake, store)
        hold = fake.hold_next(USER)
        first = threading.Thread(target=auth.access_token, args=(USER,))
        first.start()
        hold.wait_arrived()
        children = [_fork_and_ask(fake, auth, store) for _ in range(4)]
        hold.release()
        assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children] == [0] * 4
        first.join(PATIENCE)
        assert fake.token_calls(USER, "refresh_token") == 1
        assert_alive(store, fake)


def _fork_and_ask(fake: Any, auth: Any, store: Any) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        store.shared_scope()[0].dispose(close=False)  # as SQLAlchemy asks of whoever forks
        results = in_threads([lambda: auth.access_token(USER)] * 10)
        code = 0 if all(isinstance(result, str) for result in results) else 2
    finally:
        os._exit(code)
